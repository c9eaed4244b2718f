"""A client's line through the gateway, and the servers behind it: scripted ones, on real sockets."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from contextlib import closing
from typing import Awaitable, Callable, Iterator, TypeVar

import pytest

from gateway.errors import BadRequest, Busy, NoServer, SessionLost
from gateway.line import Line
from gateway.metrics import DoorFigures, Metrics
from gateway.upstream import Address, SpeechEvent, Upstream
from protocol.data import Cause, Detail, DetailedResult, SessionOptions, SpeechStarted, UtteranceDone, Word
from protocol.packets import ErrorCode
from tests.harness.scripted import says, serving, session, until_it_leaves
from util import (
    END_PACKET,
    AudioReceived,
    Event,
    OptionsReceived,
    Result,
    detailed_result_packet,
    error_packet,
    event_packet,
    result_packet,
    status_packet,
    welcome_packet,
)

SECOND = bytes(32000)
PCM = SessionOptions(sample_rate=16000)
BUSY = says(error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET)
DETAIL = Detail("ko", Cause.SILENCE, -0.3, 0.0, 0.9, (Word("네", 0.2, 0.4, 0.9),))
FIGURES = DoorFigures(Metrics(["vosk"], []), "vosk")
T = TypeVar("T")


def run(
    ports: list[int],
    act: Callable[[Line], Awaitable[T]],
    options: SessionOptions = PCM,
    idle_s: float = 60,
    patience_s: float = 60,
) -> T:
    async def main() -> T:
        upstream = Upstream([Address("127.0.0.1", port) for port in ports], patience_s=patience_s)
        line = Line(upstream, options, "test", FIGURES, idle_s)
        try:
            return await asyncio.wait_for(act(line), 30)
        finally:
            await line.close()

    return asyncio.run(main())


async def said_and_heard(line: Line) -> list[SpeechEvent]:
    await line.audio(SECOND)
    await line.finish()
    return [event async for event in line.events()]


async def heard(line: Line, count: int) -> list[SpeechEvent]:
    events: list[SpeechEvent] = []
    async for event in line.events():
        events.append(event)
        if len(events) == count:
            break
    return events


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """Where nobody listens, and nobody else can."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


# --- which server


def test_a_session_goes_to_the_next_server_where_one_is_busy_or_gone(refusing_port: int) -> None:
    with serving(BUSY) as busy, serving(session(at_finish=result_packet(0.1, 0.9, "네") + END_PACKET)) as free:
        assert run([refusing_port, busy, free], said_and_heard) == [Result(0.1, 0.9, "네")]


def test_servers_that_are_all_busy_are_told_as_busy_although_one_is_gone(refusing_port: int) -> None:
    with serving(BUSY) as busy, pytest.raises(Busy):
        run([busy, refusing_port], said_and_heard)


def test_no_server_at_all_is_told_with_the_address(refusing_port: int) -> None:
    with pytest.raises(NoServer, match=f"127.0.0.1 port {refusing_port}"):
        run([refusing_port], said_and_heard)


def test_a_server_that_is_stopping_is_busy() -> None:
    with serving(says(error_packet(ErrorCode.SERVER_STOPPING) + END_PACKET)) as port, pytest.raises(Busy):
        run([port], said_and_heard)


def test_what_answers_in_another_language_is_no_server() -> None:
    with serving(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port, pytest.raises(
        NoServer, match="broke the protocol"
    ):
        run([port], said_and_heard)


def test_a_server_that_is_frozen_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream._WELCOME_S", 0.2)
    free = session(at_finish=result_packet(0.1, 0.9, "네") + END_PACKET)
    with serving(until_it_leaves) as frozen, serving(free) as port:
        assert run([frozen, port], said_and_heard) == [Result(0.1, 0.9, "네")]


def test_a_session_goes_to_a_server_with_a_free_engine_where_another_would_let_it_wait() -> None:
    busy = says(status_packet(0, "running") + END_PACKET)
    free = session(at_finish=result_packet(0.1, 0.9, "네") + END_PACKET)
    with serving(busy, until_it_leaves) as first, serving(free, free) as second:

        async def main() -> list[SpeechEvent]:
            servers = [Address("127.0.0.1", port) for port in (first, second)]
            line = Line(Upstream(servers, engine_wait_s=60), PCM, "test", FIGURES)
            try:
                return await asyncio.wait_for(said_and_heard(line), 30)
            finally:
                await line.close()

        events = asyncio.run(main())
        with socket.create_connection(("127.0.0.1", first)):  # nobody else has come
            pass
    assert events == [Result(0.1, 0.9, "네")]


def test_a_server_that_says_nothing_is_looked_at_once_by_all_who_look_for_a_free_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.upstream._LOOK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as frozen, serving(*[session()] * 4) as port:
        servers = [Address("127.0.0.1", frozen.getsockname()[1]), Address("127.0.0.1", port)]

        async def main() -> None:
            upstream = Upstream(servers, engine_wait_s=60)
            await asyncio.gather(open_and_close(upstream), open_and_close(upstream))
            await open_and_close(upstream)

        asyncio.run(asyncio.wait_for(main(), 30))
        frozen.setblocking(False)
        frozen.accept()[0].close()
        with pytest.raises(BlockingIOError):
            frozen.accept()


async def open_and_close(upstream: Upstream) -> None:
    opened = await upstream.open(PCM, "test")
    opened.close()


# --- how a session ends


@pytest.mark.parametrize(
    ("code", "failure"), [(ErrorCode.ILLEGAL_PACKET, BadRequest), (ErrorCode.ENGINE_FAILED, SessionLost)]
)
def test_what_ends_a_session_is_told_to_who_listens_and_then_to_who_speaks(
    code: ErrorCode, failure: type[Exception]
) -> None:
    async def act(line: Line) -> None:
        await line.audio(SECOND)
        with pytest.raises(failure, match="why"):
            await heard(line, 1)
        with pytest.raises(failure, match="why"):
            await line.audio(SECOND)

    with serving(session(at_audio=error_packet(code, "why") + END_PACKET)) as port:
        run([port], act)


def test_a_server_that_goes_away_is_a_lost_session() -> None:
    def leave(connection: socket.socket) -> None:
        served = session(hear=lambda events: connection.shutdown(socket.SHUT_RDWR) if _audio(events) else None)
        served(connection)

    with serving(leave) as port, pytest.raises(SessionLost):
        run([port], said_and_heard)


def test_a_line_that_is_closed_leaves_the_server_at_once() -> None:
    async def act(line: Line) -> None:
        await line.audio(SECOND)

    with serving(session()) as port:  # leaving waits until the server has seen the end of the stream
        run([port], act)


def test_a_server_that_freezes_before_it_has_said_all_is_a_lost_session() -> None:
    with serving(session()) as port, pytest.raises(SessionLost, match="says nothing any more"):
        run([port], said_and_heard, patience_s=0.2)


def test_a_server_that_freezes_and_takes_no_audio_is_a_lost_session() -> None:
    is_lost = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(welcome_packet("engine 0 is yours"))
        is_lost.wait(60)

    async def act(line: Line) -> None:
        try:
            await line.audio(SECOND * 500)
        finally:
            is_lost.set()

    with serving(serve) as port, pytest.raises(SessionLost):
        run([port], act, patience_s=0.2)


def test_audio_that_a_line_leaves_behind_when_it_is_closed_keeps_no_engine_busy() -> None:
    speaks = threading.Event()
    happened: list[tuple[int, int]] = []

    def serve(connection: socket.socket) -> None:
        connection.sendall(welcome_packet("engine 0 is yours"))
        for _ in range(10):
            connection.recv(len(SECOND))
        speaks.set()
        poll = select.poll()
        poll.register(connection, select.POLLRDHUP)
        happened.extend(poll.poll(30_000))  # although there is much to read before

    async def act(line: Line) -> None:
        speaking = asyncio.ensure_future(line.audio(SECOND * 500))
        await asyncio.get_running_loop().run_in_executor(None, speaks.wait)
        assert not speaking.done()
        speaking.cancel()

    with serving(serve) as port:
        run([port], act)
    assert happened


# --- over several sessions


def test_times_count_from_the_first_byte_over_all_sessions() -> None:
    result = event_packet(SpeechStarted(0.1)) + detailed_result_packet(DetailedResult(0.1, 0.9, "네", DETAIL))
    done = event_packet(UtteranceDone(0.1, 0.9, Cause.FINISH, True))
    serve = session(at_finish=result + done + END_PACKET)

    async def act(line: Line) -> list[SpeechEvent]:
        await line.audio(SECOND)
        first = await heard(line, 3)  # it rests by itself
        await line.audio(SECOND)
        return first + await heard(line, 3)

    with serving(serve, serve) as port:
        events = run([port], act, idle_s=0.05)
    assert events[:3] == [
        SpeechStarted(0.1),
        Result(0.1, 0.9, "네", DETAIL),
        UtteranceDone(0.1, 0.9, Cause.FINISH, True),
    ]
    word = Word("네", 1.2, 1.4, 0.9)
    assert events[3:] == [
        SpeechStarted(1.1),
        Result(1.1, 1.9, "네", DETAIL._replace(words=(word,))),
        UtteranceDone(1.1, 1.9, Cause.FINISH, True),
    ]


def test_a_change_ends_the_session_and_the_next_audio_is_asked_for_anew() -> None:
    told: list[Event] = []
    serve = session(at_finish=END_PACKET, hear=told.extend)

    async def act(line: Line) -> None:
        await line.audio(SECOND)
        await line.configure(SessionOptions(sample_rate=8000, language="ko"))
        await line.configure(SessionOptions(sample_rate=8000, language="en"))
        await line.audio(SECOND)
        await line.finish()

    with serving(serve, serve) as port:
        run([port], act)
    options = [event.fields for event in told if isinstance(event, OptionsReceived)]
    assert options == [{"sample_rate": 16000}, {"sample_rate": 8000, "language": "en"}]


def test_a_sample_that_the_end_of_a_session_has_torn_is_left_out() -> None:
    told: list[Event] = []
    serve = session(at_finish=END_PACKET, hear=told.extend)

    async def act(line: Line) -> None:
        await line.audio(b"\1\0\2")
        await line.configure(SessionOptions(sample_rate=16000, language="ko"))
        await line.audio(b"")
        await line.audio(b"\0\3\0")
        await line.finish()

    with serving(serve, serve) as port:
        run([port], act)
    assert b"".join(_audio(told)) == b"\1\0\2" + b"\3\0"


def test_an_utterance_that_is_ended_without_a_session_is_done_at_once() -> None:
    async def act(line: Line) -> list[SpeechEvent]:
        await line.audio(SECOND)
        await line.configure(SessionOptions(sample_rate=16000, language="ko"))
        await line.end_utterance()
        await line.finish()
        return [event async for event in line.events()]

    with serving(session(at_finish=END_PACKET)) as port:
        assert run([port], act) == [UtteranceDone(1.0, 1.0, Cause.ASKED, False)]


def test_a_line_that_says_nothing_holds_no_engine(refusing_port: int) -> None:
    async def act(line: Line) -> list[SpeechEvent]:
        await line.finish()
        return [event async for event in line.events()]

    assert run([refusing_port], act) == []


@pytest.mark.parametrize(
    ("options", "seconds"),
    [(PCM, 1.0), (SessionOptions(sample_rate=8000, encoding="mulaw"), 4.0), (SessionOptions(sample_rate=32000), 0.5)],
)
def test_the_clock_of_a_line_counts_samples(options: SessionOptions, seconds: float) -> None:
    async def act(line: Line) -> float:
        await line.audio(SECOND)
        return line.now_s

    with serving(session()) as port:
        assert run([port], act, options) == seconds


def _audio(events: list[Event]) -> list[bytes]:
    return [event.pcm for event in events if isinstance(event, AudioReceived)]
