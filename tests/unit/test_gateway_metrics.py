"""What is measured of the gateway: its names, and that each client and each session is counted once and rightly."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from contextlib import closing, suppress
from typing import Any, Awaitable, Callable

import pytest

from config.sections import ServerConfig
from gateway import errors
from gateway.app import make_app
from gateway.doors.vosk import Vosk
from gateway.errors import BadRequest, Busy, Full, GatewayError, NoServer, SessionLost, TooLarge, WrongKey
from gateway.line import Line
from gateway.metrics import OUTCOMES, REFUSALS, DoorFigures, Metrics
from gateway.services import Services, services_for
from gateway.upstream import Address, Failure, ServerSession, Upstream
from protocol.data import SessionOptions
from protocol.packets import ErrorCode
from tests.harness.http import Exchange
from tests.harness.markdown import Document
from tests.harness.metrics import Figures, assert_all_explained, assert_well_named
from tests.harness.scripted import Serve, says, serving, session, until_it_leaves
from tests.harness.server import PROJECT
from tests.unit.test_gateway_conversation import Script
from util import END_PACKET, error_packet, welcome_packet

SECOND = bytes(32000)
PCM = SessionOptions(sample_rate=16000)
BUSY = says(error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET)


def services(*ports: int, **gateway: Any) -> Services:
    settings = {"gateway": {"servers": [f"127.0.0.1:{port}" for port in ports or (9,)], **gateway}}
    return services_for(ServerConfig.model_validate(settings))


def figures(metrics: Metrics) -> Figures:
    return Figures(metrics.told(None)[0].decode())


def moved(metrics: Metrics, before: Figures) -> dict[str, float]:
    """What has changed, without the process's own figures and times."""
    changes = figures(metrics).since(before)
    return {
        name: by for name, by in changes.items() if not name.startswith("stt_gateway_process") and "_sum" not in name
    }


# --- names


def test_names_are_as_prometheus_wants_them() -> None:
    assert_well_named(services().metrics.told(None)[0].decode(), "stt_gateway_")


def test_every_figure_is_explained_and_no_other() -> None:
    assert_all_explained(services().metrics.told(None)[0].decode(), "stt_gateway_", "figure of the gateway")


def test_every_value_of_a_label_is_explained() -> None:
    text = Document(PROJECT / "docs" / "operations.md").text
    values = {*OUTCOMES, *REFUSALS, *(failure.value for failure in Failure)}
    assert [value for value in sorted(values) if f"`{value}`" not in text] == []


def test_labels_have_the_values_that_the_configuration_names_and_no_others() -> None:
    told = figures(services(5000, 5001, doors=["vosk", "page"]).metrics).values
    assert {match[1] for match in (re.search('door="([^"]*)"', name) for name in told) if match} == {"vosk", "page"}
    servers = {match[1] for match in (re.search('server="([^"]*)"', name) for name in told) if match}
    assert servers == {"127.0.0.1:5000", "127.0.0.1:5001"}


@pytest.mark.parametrize("setting", ["127.0.0.1:5000", "[::1]:5000", "stt.example:5000"])
def test_a_server_is_called_as_the_configuration_calls_it(setting: str) -> None:
    config = ServerConfig.model_validate({"gateway": {"servers": [setting]}})
    assert [Address(*address).setting for address in config.gateway.addresses] == [setting]


# --- who is sent away


def test_every_reason_why_a_client_is_sent_away_has_a_name_but_that_of_a_session() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GatewayError)]
    for kind in set(kinds) - {GatewayError, SessionLost}:
        metrics = Metrics(["rest"], [])
        before = figures(metrics)
        DoorFigures(metrics, "rest").refused(kind("why"))
        (name,) = moved(metrics, before)
        assert re.fullmatch(r'stt_gateway_refusals_total\{door="rest",reason="\w+"\}', name)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Full("why"), "full"),
        (Busy("why"), "busy"),
        (NoServer("why"), "no_server"),
        (TooLarge("why"), "too_large"),
        (BadRequest("why"), "bad_request"),
        (WrongKey("why"), "wrong_key"),
    ],
)
def test_who_is_sent_away_is_counted_once_however_often_it_is_said(error: GatewayError, reason: str) -> None:
    at_door = services().at("deepgram")
    before = figures(at_door.metrics)
    for _ in range(2):
        with pytest.raises(type(error)), at_door.admission():
            raise error
        at_door.figures.refused(error)
    assert moved(at_door.metrics, before) == {f'stt_gateway_refusals_total{{door="deepgram",reason="{reason}"}}': 1}


def test_where_there_is_no_room_nobody_is_let_in() -> None:
    made = services(max_connections=7)
    at_door = Services(**{**vars(made), "has_room": lambda: False}).at("vosk")
    with pytest.raises(Full, match="7 clients are served already"), at_door.admission():
        pytest.fail("it was let in")
    assert figures(made.metrics)['stt_gateway_refusals_total{door="vosk",reason="full"}'] == 1


# --- sessions


def spoken(act: Callable[[Line], Awaitable[object]], *serves: Serve, refusing: int = 0) -> dict[str, float]:
    """What a line moves that does this, before a server whose connections get these in turn.

    `refusing`: servers before it at whose ports nobody listens; `dead` in the names.
    """

    async def main(made: Services) -> dict[str, float]:
        before = figures(made.metrics)
        line = made.at("vosk").line(PCM, "test")
        try:
            with suppress(GatewayError):
                await asyncio.wait_for(act(line), 30)
        finally:
            assert figures(made.metrics)['stt_gateway_sessions_active{door="vosk"}'] <= 1
            await line.close()
        return moved(made.metrics, before)

    with closing(socket.socket()) as held, serving(*serves) as port:  # held, or the server might get the same one
        held.bind(("127.0.0.1", 0))
        dead = held.getsockname()[1]
        changes = asyncio.run(main(services(*[dead] * refusing, port)))
    return {name.replace(str(dead), "dead").replace(str(port), "port"): by for name, by in changes.items()}


async def say_a_second_and_finish(line: Line) -> None:
    await line.audio(SECOND)
    await line.finish()


async def say_a_second_and_listen(line: Line) -> None:
    await line.audio(SECOND)
    async for _ in line.events():
        pass


SESSIONS = "stt_gateway_sessions_total"
FAILURES = "stt_gateway_server_failures_total"
HEARD = {"stt_gateway_open_seconds_count": 1.0, 'stt_gateway_audio_seconds_total{door="vosk"}': 1.0}


def test_a_session_that_ends_as_it_should_is_completed_and_its_audio_counted() -> None:
    changes = spoken(say_a_second_and_finish, session(at_finish=END_PACKET))
    assert changes == {**HEARD, f'{SESSIONS}{{door="vosk",outcome="completed"}}': 1}


def test_one_whose_client_leaves_is_left() -> None:
    changes = spoken(lambda line: line.audio(SECOND), session())
    assert changes == {**HEARD, f'{SESSIONS}{{door="vosk",outcome="left"}}': 1}


def test_each_session_of_a_line_is_counted() -> None:
    async def act(line: Line) -> None:
        await line.audio(SECOND)
        await line.configure(SessionOptions(sample_rate=8000))
        await line.audio(SECOND[:16000])
        await line.finish()

    changes = spoken(act, *[session(at_finish=END_PACKET)] * 2)
    assert changes == {
        "stt_gateway_open_seconds_count": 2,
        'stt_gateway_audio_seconds_total{door="vosk"}': 2,
        f'{SESSIONS}{{door="vosk",outcome="completed"}}': 2,
    }


def ends(code: ErrorCode) -> Serve:
    return session(at_audio=error_packet(code, "why") + END_PACKET)


@pytest.mark.parametrize(
    ("serve", "outcome", "failure"),
    [
        (ends(ErrorCode.ENGINE_FAILED), "lost", "ended"),
        (ends(ErrorCode.SERVER_STOPPING), "lost", None),
        (ends(ErrorCode.ILLEGAL_PACKET), "rejected", None),
        (session(at_audio=b"nonsense"), "lost", "protocol"),
    ],
)
@pytest.mark.parametrize("act", [say_a_second_and_listen, say_a_second_and_finish])
def test_one_that_the_server_ends_is_no_refusal_and_counted_once(
    act: Callable[[Line], Awaitable[object]], serve: Serve, outcome: str, failure: str | None
) -> None:
    changes = spoken(act, serve)
    failures = {} if failure is None else {f'{FAILURES}{{reason="{failure}",server="127.0.0.1:port"}}': 1.0}
    assert changes == {**HEARD, f'{SESSIONS}{{door="vosk",outcome="{outcome}"}}': 1, **failures}


async def say_much_at_once(line: Line) -> None:
    await line.audio(SECOND * 1000)


@pytest.mark.parametrize("act", [say_a_second_and_listen, say_much_at_once])
def test_a_server_that_goes_away_has_lost_the_session(act: Callable[[Line], Awaitable[object]]) -> None:
    changes = spoken(act, hangs_up)
    assert changes.pop(f'{SESSIONS}{{door="vosk",outcome="lost"}}') == 1
    assert changes.pop(f'{FAILURES}{{reason="lost",server="127.0.0.1:port"}}') == 1
    assert changes.pop("stt_gateway_open_seconds_count") == 1


def hangs_up(connection: socket.socket) -> None:
    session()(HungUp(connection))  # type: ignore[arg-type]


class HungUp:
    """A connection whose server leaves when it has granted an engine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._has_answered = False

    def recv(self, size: int) -> bytes:
        return b"" if self._has_answered else self._connection.recv(size)

    def sendall(self, data: bytes) -> None:
        self._has_answered = True
        self._connection.sendall(data)


def test_a_server_that_is_not_there_is_a_failure_and_the_next_one_serves() -> None:
    changes = spoken(say_a_second_and_finish, session(at_finish=END_PACKET), refusing=1)
    assert changes.pop(f'{FAILURES}{{reason="unreachable",server="127.0.0.1:dead"}}') == 1
    assert changes == {**HEARD, f'{SESSIONS}{{door="vosk",outcome="completed"}}': 1}


def test_one_that_gives_no_welcome_is_a_failure_and_the_client_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream._WELCOME_S", 0.2)
    silent = {f'{FAILURES}{{reason="silent",server="127.0.0.1:port"}}': 1.0}
    assert spoken(lambda line: line.audio(SECOND), until_it_leaves) == silent


def test_a_session_whose_server_falls_silent_at_its_end_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.services._PATIENCE", 0.003)  # times 60 s
    assert spoken(say_a_second_and_finish, session()) == {
        **HEARD,
        f'{SESSIONS}{{door="vosk",outcome="lost"}}': 1,
        f'{FAILURES}{{reason="silent",server="127.0.0.1:port"}}': 1,
    }


def test_one_whose_server_takes_no_audio_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.services._PATIENCE", 0.003)  # times 60 s
    is_lost = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(welcome_packet("engine 0 is yours"))
        is_lost.wait(60)

    async def act(line: Line) -> None:
        try:
            await say_much_at_once(line)
        finally:
            is_lost.set()

    assert spoken(act, serve) == {
        "stt_gateway_open_seconds_count": 1,
        f'{SESSIONS}{{door="vosk",outcome="lost"}}': 1,
        f'{FAILURES}{{reason="silent",server="127.0.0.1:port"}}': 1,
    }


def test_where_no_engine_is_free_there_is_no_session_and_no_failure() -> None:
    assert spoken(lambda line: line.audio(SECOND), BUSY) == {}


# --- through a door


def conversed(messages: list[str | bytes], *serves: Serve) -> dict[str, float]:
    """What a client of Vosk moves that says these, without audio and times."""

    async def main(made: Services) -> dict[str, float]:
        before, vosk = figures(made.metrics), Vosk()
        conversing = made.at("vosk").converse(Script(messages), vosk, vosk.options, "test")
        await asyncio.wait_for(conversing, 30)
        return moved(made.metrics, before)

    with serving(*serves) as port:
        changes = asyncio.run(main(services(port)))
    return {name.replace(str(port), "port"): by for name, by in changes.items() if name.startswith((SESSIONS, *SENT))}


REFUSALS_AT_VOSK = 'stt_gateway_refusals_total{door="vosk",reason='
SENT = (FAILURES, "stt_gateway_refusals_total")
FRAME = bytes(3200)


def test_a_client_that_is_told_that_no_engine_is_free_is_a_refusal() -> None:
    assert conversed([FRAME], BUSY) == {f'{REFUSALS_AT_VOSK}"busy"}}': 1}


def test_one_that_says_what_is_nonsense_is_a_refusal_and_its_session_left() -> None:
    assert conversed([FRAME, "nonsense"], session()) == {
        f'{REFUSALS_AT_VOSK}"bad_request"}}': 1,
        f'{SESSIONS}{{door="vosk",outcome="left"}}': 1,
    }


def test_one_whose_session_is_rejected_is_no_refusal() -> None:
    rejecting = ends(ErrorCode.ILLEGAL_PACKET)
    assert conversed([FRAME], rejecting) == {f'{SESSIONS}{{door="vosk",outcome="rejected"}}': 1}


def test_a_session_that_is_lost_is_counted_once_although_who_speaks_and_who_listens_notice() -> None:
    assert conversed([FRAME] * 1000, ends(ErrorCode.ENGINE_FAILED)) == {
        f'{SESSIONS}{{door="vosk",outcome="lost"}}': 1,
        f'{FAILURES}{{reason="ended",server="127.0.0.1:port"}}': 1,
    }


async def send_without_end(session: ServerSession) -> None:
    while True:
        await session.send(SECOND)


def test_a_server_that_breaks_off_is_counted_once_although_both_directions_notice() -> None:
    failures: list[Failure] = []

    async def main(port: int) -> None:
        upstream = Upstream([Address("127.0.0.1", port)], failed=lambda _, how: failures.append(how))
        opened = await upstream.open(PCM, "test")
        with pytest.raises(SessionLost):
            async for _ in opened.events():
                pass
        with pytest.raises(SessionLost):
            await send_without_end(opened)
        opened.close()

    with serving(hangs_up) as port:
        asyncio.run(asyncio.wait_for(main(port), 30))
    assert failures == [Failure.LOST]


def test_a_request_that_is_sent_away_is_counted_at_its_door() -> None:
    made = services(api_keys=["secret"])
    before = figures(made.metrics)

    async def main() -> None:
        app = make_app(made)
        for path in ("/v1/models", "/page/access"):
            assert (await Exchange("GET", path).run(app)).status == 401
        assert (await Exchange("POST", "/v1/realtime/client_secrets").run(app)).status == 401
        assert (await Exchange("GET", "/metrics").run(app)).status == 401

    asyncio.run(main())
    assert moved(made.metrics, before) == {
        f'stt_gateway_refusals_total{{door="{door}",reason="wrong_key"}}': 1 for door in ("rest", "page", "realtime")
    }
