"""A client at a door: who says what in which order, and how it ends. The server is a scripted one."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import Optional, Sequence

import pytest

from gateway.conversation import (
    Action,
    Answer,
    Audio,
    Close,
    Conversation,
    EndUtterance,
    Finish,
    Message,
    Say,
    Stream,
    Translator,
)
from gateway.errors import GatewayError
from gateway.line import Line
from gateway.metrics import DoorFigures, Metrics
from gateway.upstream import Address, SpeechEvent, Upstream
from protocol.data import SessionOptions
from protocol.packets import ErrorCode
from tests.harness.scripted import Serve, says, serving, session, until_it_leaves
from util import END_PACKET, error_packet, result_packet, welcome_packet

RESULT = result_packet(0.1, 0.9, "네")


class Script(Stream):
    """A client that says these, and leaves after them or, with `stays`, when the connection is closed."""

    def __init__(self, messages: Sequence[Message], stays: bool = True) -> None:
        self._messages = list(messages)
        self._stays = stays
        self.told: list[Message] = []
        self.closed: list[tuple[int, str]] = []
        self.accepts: Optional[asyncio.Event] = None  # where there is one, nothing is taken before it is set
        self.is_gone = False

    async def receive(self) -> Optional[Message]:
        if self._messages:
            return self._messages.pop(0)
        if self._stays:
            await asyncio.Event().wait()
        return None

    def has_left(self) -> bool:
        return self.is_gone

    async def send(self, message: Message) -> None:
        if self.closed:
            raise RuntimeError("nothing can be said behind a close")
        if self.accepts is not None:
            await self.accepts.wait()
        self.told.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))
        await asyncio.sleep(0)  # as one that waits for its turn to be sent


class Plain(Translator):
    """Bytes are audio; the words end and finish mean these; anything else is said back twice."""

    def opened(self) -> Sequence[Action]:
        return [Say("hello")]

    def received(self, message: Message) -> Sequence[Action]:
        if isinstance(message, bytes):
            return [Audio(message)]
        if message == "bug":
            raise ZeroDivisionError("a fault of the program")
        known: dict[str, list[Action]] = {"end": [EndUtterance()], "finish": [Finish()]}
        return known.get(message, [Say(message), Say(message)])

    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        return [Say(f"heard {getattr(event, 'text', event)}")]

    def ended(self) -> Sequence[Answer]:
        return [Say("all heard"), Close()]

    def failed(self, error: GatewayError) -> Sequence[Answer]:
        return [Say(f"failed: {type(error).__name__}"), Close(1013, "later")]

    def quiet(self) -> Sequence[Action]:
        return [Close(1011, "quiet")]


def line_to(servers: Sequence[Address]) -> Line:
    figures = DoorFigures(Metrics(["vosk"], []), "vosk")
    return Line(Upstream(servers), SessionOptions(sample_rate=16000), "test", figures)


def converse(script: Script, *serves: Serve, translator: Optional[Translator] = None) -> Script:
    async def main(port: int) -> None:
        line = line_to([Address("127.0.0.1", port)])
        await asyncio.wait_for(Conversation(script, line, translator or Plain()).run(), 30)

    with serving(*serves) as port:
        asyncio.run(main(port))
    return script


def welcomes(connection: socket.socket) -> None:
    """Serve as one that takes no audio."""
    connection.sendall(welcome_packet("engine 0 is yours"))
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll(30_000)


def test_everything_that_was_heard_is_told_before_the_end() -> None:
    script = converse(Script([bytes(320), "finish"]), session(at_finish=RESULT + END_PACKET))
    assert script.told == ["hello", "heard 네", "all heard"]
    assert script.closed == [(1000, "")]


def test_a_client_that_floods_with_messages_without_sound_is_told_so_and_closed() -> None:
    script = converse(Script([b""] * 5_000))
    assert script.told == ["hello", "failed: BadRequest"]
    assert script.closed == [(1013, "later")]


def test_a_client_without_an_engine_is_told_so_and_closed() -> None:
    script = converse(Script([bytes(320)]), says(error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET))
    assert script.told == ["hello", "failed: Busy"]
    assert script.closed == [(1013, "later")]


def test_a_session_that_is_lost_is_told_once_although_it_is_noticed_twice() -> None:
    failing = session(at_audio=error_packet(ErrorCode.ENGINE_FAILED) + END_PACKET)
    script = converse(Script([bytes(320)] * 1000), failing)
    assert script.told == ["hello", "failed: SessionLost"]
    assert len(script.closed) == 1


def test_a_client_that_leaves_takes_its_session_with_it() -> None:
    script = converse(Script([bytes(320)], stays=False), session())  # waits until the server has seen it leave
    assert script.closed == []


@pytest.mark.parametrize("serve", [until_it_leaves, welcomes])
def test_a_client_that_leaves_while_a_server_is_waited_for_is_noticed_although_nobody_reads_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first no engine is free, then the server takes no more."""
    monkeypatch.setattr("gateway.conversation._LOOK_S", 0.01)
    script = Script([bytes(16_000_000), "never received"])
    script.is_gone = True
    converse(script, serve)
    assert script.told == ["hello"]
    assert script.closed == []


def test_nothing_is_said_behind_a_close() -> None:
    class Leaving(Plain):
        quiet_limit_s = 0.0

        def opened(self) -> Sequence[Action]:
            return [Say("hello"), Finish()]

    async def main() -> Script:
        script = Script([])
        script.accepts = asyncio.Event()
        running = asyncio.ensure_future(Conversation(script, line_to([]), Leaving()).run())
        for _ in range(3):  # until the close, and what was heard behind it, wait for the client to read
            await asyncio.sleep(0)
        script.accepts.set()
        await asyncio.wait_for(running, 30)
        return script

    script = asyncio.run(main())
    assert script.told == ["hello"]
    assert script.closed == [(1011, "quiet")]


def test_a_fault_of_the_program_closes_the_connection_and_is_raised() -> None:
    script = Script([bytes(320), "bug"])
    with pytest.raises(ZeroDivisionError):
        converse(script, session())
    assert script.closed == [(1011, "internal error")]


def test_what_is_said_at_once_is_sent_at_once_however_slow_the_client_reads() -> None:
    async def main() -> list[Message]:
        script = Script(["a", "b", "finish"])
        script.accepts = asyncio.Event()
        line = line_to([])
        running = asyncio.ensure_future(Conversation(script, line, Plain()).run())
        await asyncio.sleep(0)
        script.accepts.set()
        await asyncio.wait_for(running, 30)
        return script.told

    assert asyncio.run(main()) == ["hello", "a", "a", "b", "b", "all heard"]


def test_a_client_that_says_nothing_for_too_long_is_told_so() -> None:
    class Impatient(Plain):
        quiet_limit_s = 0.01

    script = converse(Script([]), translator=Impatient())
    assert script.closed == [(1011, "quiet")]


def test_a_client_does_not_say_nothing_while_a_slow_server_keeps_it_from_being_heard() -> None:
    class Impatient(Plain):
        quiet_limit_s = 0.05

    def slow(connection: socket.socket) -> None:
        time.sleep(0.3)
        session(at_finish=RESULT + END_PACKET)(connection)

    script = converse(Script([bytes(320), "finish"]), slow, translator=Impatient())
    assert script.told[1:] == ["heard 네", "all heard"]
    assert script.closed == [(1000, "")]


def test_what_a_client_says_may_limit_how_long_it_may_be_silent_and_silence_may_do_something() -> None:
    class Patient(Plain):
        def received(self, message: Message) -> Sequence[Action]:
            self.quiet_limit_s = 0.01
            return [Say("heard you")]

        def quiet(self) -> Sequence[Action]:
            self.quiet_limit_s = None
            return [Say("quiet"), Finish()]

    script = converse(Script(["a"]), translator=Patient())
    assert script.told == ["hello", "heard you", "quiet", "all heard"]
