"""Whether the gateway would serve a client, and whether speech is recognised; the servers are scripted ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from config.sections import ServerConfig
from gateway.app import make_app
from gateway.health import DeepCheck, HealthCheck, Readiness, SpeechCheck, State
from gateway.services import services_for
from gateway.upstream import Address, Upstream
from gateway.watching import make_watching_app
from protocol.data import Cause, UtteranceDone
from protocol.packets import ErrorCode
from server.clip import vowels
from service.checks import Checked
from tests.harness.http import Exchange, Reply
from tests.harness.scripted import Serve, says, serving, session, until_it_leaves
from util import (
    END_PACKET,
    AudioReceived,
    Event,
    StatusRequested,
    error_packet,
    event_packet,
    status_packet,
)

DONE = event_packet(UtteranceDone(0.0, 1.0, Cause.FINISH, False))
BUSY = says(error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET)
NOBODY = Address("127.0.0.1", 9)


def engines(*states: str) -> Serve:
    return says(b"".join(status_packet(slot, state) for slot, state in enumerate(states)) + END_PACKET)


def ready(serve: Serve, drains: bool = False, has_room: bool = True) -> Readiness:
    async def main(port: int) -> Readiness:
        health = HealthCheck(Upstream([NOBODY, Address("127.0.0.1", port)]))
        if drains:
            health.drain()
        return await health.ready(has_room)

    with serving(serve) as port:
        return asyncio.run(main(port))


# --- ready


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("sleeping",), State.READY),
        (("running", "sleeping"), State.READY),
        (("running", "running"), State.BUSY),
        (("starting",), State.BUSY),
    ],
)
def test_a_gateway_is_ready_while_an_engine_is_free(states: tuple[str, ...], state: State) -> None:
    assert ready(engines(*states)) == Readiness(state, len(states), states.count("sleeping"))


def test_without_a_server_that_answers_it_is_not() -> None:
    assert asyncio.run(HealthCheck(Upstream([NOBODY])).ready(True)) == Readiness(State.UNREACHABLE, 0, 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_who_answers_in_another_language_is_no_server(answer: bytes) -> None:
    assert ready(says(answer)).state is State.UNREACHABLE


def test_whatever_is_free_it_is_not_while_it_stops_or_has_no_room() -> None:
    assert ready(engines("sleeping"), has_room=False) == Readiness(State.FULL, 1, 1)
    assert ready(engines("sleeping"), drains=True) == Readiness(State.DRAINING, 1, 1)


def test_however_many_ask_at_once_a_server_is_asked_once() -> None:
    async def main(port: int) -> list[Readiness]:
        health = HealthCheck(Upstream([Address("127.0.0.1", port)]))
        return await asyncio.gather(*(health.ready(True) for _ in range(100)))

    with serving(engines("sleeping")) as port:  # a second connection would not be accepted
        assert set(asyncio.run(main(port))) == {Readiness(State.READY, 1, 1)}


def test_a_server_that_is_found_silent_is_asked_last_by_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream._LOOK_S", 0.2)

    async def main(frozen: int, port: int) -> str:
        upstream = Upstream([Address("127.0.0.1", frozen), Address("127.0.0.1", port)])
        readiness = await HealthCheck(upstream).ready(True)
        assert readiness == Readiness(State.READY, 1, 1)
        opened = await SpeechCheck(upstream)()
        return opened.line

    looks = says(status_packet(0, "sleeping") + END_PACKET)
    with serving(until_it_leaves, until_it_leaves) as frozen, serving(
        looks, looks, session(at_finish=DONE + END_PACKET)
    ) as port:
        assert f"port {port} recognised" in asyncio.run(main(frozen, port))


# --- deep


def deep(*serves: Serve, limit_s: float = 30) -> Checked:
    """Of a check before a server whose connections get these in turn; the first is a look."""

    async def main(port: int) -> Checked:
        return await SpeechCheck(Upstream([Address("127.0.0.1", port)]), limit_s)()

    with serving(*serves) as port:
        return asyncio.run(main(port))


LOOK = engines("sleeping")


def test_a_server_that_hears_the_sound_is_good_and_the_line_says_what_was_checked() -> None:
    said: list[Event] = []
    checked = deep(LOOK, session(at_finish=DONE + END_PACKET, hear=said.extend))
    assert checked.is_good
    assert "recognised 1.0 s of built-in sound in 0.0" in checked.line
    assert "no speech" in checked.line
    assert b"".join(event.pcm for event in said if isinstance(event, AudioReceived)) == vowels()
    assert not any(isinstance(event, StatusRequested) for event in said)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (session(at_finish=END_PACKET), "did not hear the sound"),
        (session(at_audio=error_packet(ErrorCode.ENGINE_FAILED, "it died") + END_PACKET), "ENGINE_FAILED it died"),
        (says(b""), "closed the connection"),
    ],
)
def test_one_that_does_not_is_not(serve: Serve, reason: str) -> None:
    checked = deep(LOOK, serve)
    assert not checked.is_good
    assert checked.line.startswith("no speech is recognised: ")
    assert reason in checked.line


def test_one_that_says_nothing_is_not_waited_for() -> None:
    assert deep(LOOK, until_it_leaves, limit_s=0.3) == Checked(
        False, "no speech is recognised: a server has given no answer for 0.3 s"
    )


def test_without_a_server_nothing_is_recognised() -> None:
    checked = asyncio.run(SpeechCheck(Upstream([NOBODY]))())
    assert not checked.is_good
    assert "no server answers at 127.0.0.1 port 9" in checked.line


@pytest.mark.parametrize("serves", [(engines("running"),), (LOOK, BUSY)])
def test_where_no_engine_is_free_nothing_is_checked_and_nothing_is_wrong(serves: tuple[Serve, ...]) -> None:
    assert deep(*serves) == Checked(True, "nothing was checked: no engine is free", has_run=False)


# --- how often


class Check:
    """Counts how often it is made; each waits until it may end."""

    def __init__(self) -> None:
        self.count = 0
        self.at_once = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> Checked:
        self.count += 1
        self.at_once += 1
        assert self.at_once == 1
        await self.may_end.wait()
        self.at_once -= 1
        return Checked(True, f"check {self.count}")


def test_a_flood_of_questions_costs_one_check_also_where_who_asked_first_leaves() -> None:
    async def main() -> tuple[Check, set[str]]:
        check = Check()
        deep_check = DeepCheck(check)
        asking = [asyncio.ensure_future(deep_check.ask()) for _ in range(1000)]
        await asyncio.sleep(0)
        asking[0].cancel()
        check.may_end.set()
        answers = await asyncio.gather(*asking[1:])
        return check, {checked.line for checked, _ in answers}

    check, lines = asyncio.run(main())
    assert (check.count, lines) == (1, {"check 1"})


def test_while_a_check_is_under_way_others_get_the_last_one_at_once() -> None:
    async def main() -> list[tuple[str, float]]:
        now_s = [0.0]
        check = Check()
        deep_check = DeepCheck(check, lambda: now_s[0])
        check.may_end.set()
        asked = [await deep_check.ask()]
        now_s[0] = 9.0
        asked.append(await deep_check.ask())
        now_s[0] = 11.0
        check.may_end.clear()
        second = asyncio.ensure_future(deep_check.ask())
        await asyncio.sleep(0)
        asked.append(await deep_check.ask())
        check.may_end.set()
        asked.append(await second)
        return [(checked.line, age_s) for checked, age_s in asked]

    assert asyncio.run(main()) == [("check 1", 0.0), ("check 1", 9.0), ("check 1", 11.0), ("check 2", 0.0)]


def test_a_check_that_fails_in_itself_is_made_again() -> None:
    async def broken() -> Checked:
        raise ZeroDivisionError("a fault of the program")

    async def main() -> None:
        deep_check = DeepCheck(broken)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await deep_check.ask()

    asyncio.run(asyncio.wait_for(main(), 30))


# --- over HTTP


def replies(
    paths: list[str], headers: dict[str, str] | None = None, watching: bool = False, **gateway: Any
) -> list[Reply]:
    settings = {"gateway": {"servers": ["127.0.0.1:9"], **gateway}}
    services = services_for(ServerConfig.model_validate(settings))

    async def main() -> list[Reply]:
        app = make_watching_app(services) if watching else make_app(services)
        return [await Exchange("GET", path, (), headers).run(app) for path in paths]

    return asyncio.run(main())


@pytest.mark.parametrize("watching", [True, False])
def test_health_and_figures_stand_at_their_paths(watching: bool) -> None:
    alive, not_ready, figures = replies(["/healthz", "/readyz", "/metrics"], watching=watching)
    assert (alive.status, alive.text) == (200, "ok\n")
    assert (not_ready.status, not_ready.json) == (503, {"state": "unreachable", "engines": 0, "free": 0})
    assert figures.status == 200
    assert figures.headers["content-type"].startswith("text/plain; version=")
    assert "stt_gateway_sessions_total{" in figures.text
    assert all(reply.headers["cache-control"] == "no-store" for reply in (alive, not_ready, figures))


def test_figures_are_told_as_the_client_wants_them() -> None:
    (figures,) = replies(["/metrics"], {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert figures.headers["content-type"].startswith("application/openmetrics-text")
    assert figures.text.endswith("# EOF\n")


def test_figures_need_a_key_where_there_are_keys() -> None:
    assert [reply.status for reply in replies(["/metrics", "/healthz"], api_keys=["secret"])] == [401, 200]
    (figures,) = replies(["/metrics"], {"Authorization": "Bearer secret"}, api_keys=["secret"])
    assert figures.status == 200


def test_with_a_port_of_their_own_figures_stand_there_alone_and_need_no_key() -> None:
    settings: dict[str, Any] = {"metrics_port": 9101, "api_keys": ["secret"]}
    assert [reply.status for reply in replies(["/metrics", "/healthz"], **settings)] == [404, 200]
    assert [reply.status for reply in replies(["/metrics", "/readyz"], watching=True, **settings)] == [200, 503]
