"""One client at one door: what it says, what is heard in it, and what it is told.

    client ─▶ Translator.received ─▶ actions ─▶ Line ─▶ Translator.heard ─▶ actions ─▶ client

A Translator is a door's protocol and knows no socket, task or clock. Everything that it says is sent in the order in
which it said it.
"""

import abc
import asyncio
import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Coroutine, Iterator, List, Optional, Sequence, Union

from gateway.errors import BadRequest, Busy, GatewayError, NoServer
from gateway.line import Line
from gateway.trickle import Trickle
from gateway.upstream import SpeechEvent
from protocol.data import SessionOptions

_log = logging.getLogger(__name__)

_LOOK_S = 1.0  # between looks whether a client is still there while a server is waited for

Message = Union[str, bytes]


@dataclass(frozen=True)
class Say:
    """Send this to the client."""

    message: Message


@dataclass(frozen=True)
class Close:
    """End the connection; code and reason as in RFC 6455, section 7.4.

    Attributes:
        cause: why the client is sent away; None where it is not.
    """

    code: int = 1000
    reason: str = ""
    cause: Optional[GatewayError] = field(default=None, compare=False)


@dataclass(frozen=True)
class Audio:
    """What the client has said, in the form that the line's options name."""

    data: bytes


@dataclass(frozen=True)
class EndUtterance:
    """The utterance ends here; one UtteranceDone will follow."""


@dataclass(frozen=True)
class Configure:
    """From the next audio on, ask for something else."""

    options: SessionOptions


@dataclass(frozen=True)
class Finish:
    """No more audio will come: `ended` follows when what is left has been heard."""


Answer = Union[Say, Close]
Action = Union[Answer, Audio, EndUtterance, Configure, Finish]


class Translator(abc.ABC):
    """A door's protocol for one client.

    Attributes:
        quiet_limit_s: how long the client may say nothing at all before `quiet` is asked; None for ever. What the
            client says may change it.
    """

    quiet_limit_s: Optional[float] = None

    def opened(self) -> Sequence[Action]:
        """The client is there."""
        return ()

    @abc.abstractmethod
    def received(self, message: Message) -> Sequence[Action]:
        """The client says something."""

    @abc.abstractmethod
    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        """What is heard in what it said."""

    @abc.abstractmethod
    def ended(self) -> Sequence[Answer]:
        """After Finish: everything has been heard."""

    @abc.abstractmethod
    def failed(self, error: GatewayError) -> Sequence[Answer]:
        """The client is not served, or not any longer. The last answer is a Close."""

    def quiet(self) -> Sequence[Action]:
        """The client has said nothing for `quiet_limit_s`."""
        return ()


class Stream(abc.ABC):
    """A connection with a client, in whole messages."""

    @abc.abstractmethod
    async def receive(self) -> Optional[Message]:
        """The next message; None when the client has left."""

    @abc.abstractmethod
    def has_left(self) -> bool:
        """Whether the client has left, also where messages of it that nobody has received hide that."""

    @abc.abstractmethod
    async def send(self, message: Message) -> None:
        """Raises ConnectionError when the client has left."""

    @abc.abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Say goodbye; harmless when the client has left."""


def goodbye(error: GatewayError) -> Close:
    """The Close that fits why a client is not served, or not any longer."""
    if isinstance(error, BadRequest):
        return Close(1008, str(error), error)
    return Close(1013 if isinstance(error, (Busy, NoServer)) else 1011, str(error), error)


class _Closed(Exception):
    """The conversation is over: the translator has closed it, or the client has left."""


class Conversation:
    """One client at one door, until one of both leaves."""

    def __init__(self, stream: Stream, line: Line, translator: Translator) -> None:
        self._stream = stream
        self._line = line
        self._translator = translator
        self._sending = asyncio.Lock()  # what is said at once is sent at once, first said first sent
        self._silent_since_s: Optional[float] = None  # on the loop's clock; None while what it has said is being done
        self._has_limit = asyncio.Event()  # for how long the client may be silent
        self._has_failed = False
        self._is_closed = False
        self._tellings = 0  # that wait for the line
        self._look_at: Optional[asyncio.TimerHandle] = None  # while there are some
        self._trickle: Trickle
        self._left: asyncio.Future[None]  # raises when the client has left without being read

    async def run(self) -> None:
        """Returns when it is over; nothing of it is left then."""
        loop = asyncio.get_running_loop()
        self._left, self._trickle = loop.create_future(), Trickle(loop.time())
        tasks: List[asyncio.Future[None]] = [self._left]
        tasks += [asyncio.ensure_future(self._guarded(part)) for part in (self._take(), self._hear(), self._watch())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            await self._line.close()
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, (_Closed, ConnectionError)):
                await self._stream.close(1011, "internal error")
                raise end

    async def _guarded(self, part: Coroutine[None, None, None]) -> None:
        """A part of it; where that fails, the client is told in the door's own words."""
        try:
            await part
        except GatewayError as error:
            if not self._has_failed:  # what ended the session reaches who speaks and who listens
                self._has_failed = True
                _log.info("%s is not served: %s", self._line.user, error)
                await self._answer(self._translator.failed(error))

    async def _take(self) -> None:
        await self._do(self._translator.opened())
        while True:
            await self._do(await self._said())

    async def _said(self) -> Sequence[Action]:
        """What the next message asks for; it may be long, and is not kept while that is done."""
        self._silent_since_s = asyncio.get_running_loop().time()
        message = await self._stream.receive()
        self._silent_since_s = None
        if message is None:
            raise _Closed
        self._trickle.take(len(message), asyncio.get_running_loop().time())
        actions = self._translator.received(message)
        if self._translator.quiet_limit_s is not None:
            self._has_limit.set()
        return actions

    async def _hear(self) -> None:
        async for event in self._line.events():
            await self._answer(self._translator.heard(event))
        await self._answer(self._translator.ended())

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            limit_s = self._translator.quiet_limit_s
            now_s = loop.time()
            since_s = now_s if self._silent_since_s is None else self._silent_since_s
            if limit_s is None:
                self._has_limit.clear()
                await self._has_limit.wait()
            elif now_s < since_s + limit_s:
                await asyncio.sleep(since_s + limit_s - now_s)
            else:
                await self._do(self._translator.quiet())
                if self._silent_since_s is not None:
                    self._silent_since_s = loop.time()

    async def _do(self, actions: Sequence[Action]) -> None:
        answers: List[Answer] = []
        for action in actions:
            if isinstance(action, (Say, Close)):
                answers.append(action)
                continue
            await self._answer(answers)
            answers = []
            await self._tell_the_line(action)
        await self._answer(answers)

    async def _tell_the_line(self, action: Union[Audio, EndUtterance, Configure, Finish]) -> None:
        with self._looking():
            if isinstance(action, Audio):
                await self._line.audio(action.data)
            elif isinstance(action, EndUtterance):
                await self._line.end_utterance()
            elif isinstance(action, Configure):
                await self._line.configure(action.options)
            else:
                await self._line.finish()

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Notice meanwhile that the client leaves: the line may have to wait for long, and nobody reads."""
        self._tellings += 1
        if self._look_at is None:
            self._look_again()
        try:
            yield
        finally:
            self._tellings -= 1
            if not self._tellings and self._look_at is not None:
                self._look_at.cancel()
                self._look_at = None

    def _look_again(self) -> None:
        self._look_at = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def _look(self) -> None:
        if not self._stream.has_left():
            self._look_again()
        elif not self._left.done():
            self._left.set_exception(_Closed())

    async def _answer(self, answers: Sequence[Answer]) -> None:
        async with self._sending:
            if self._is_closed:
                raise _Closed
            for answer in answers:
                if isinstance(answer, Close):
                    self._is_closed = True
                    if answer.cause is not None:
                        self._line.figures.refused(answer.cause)
                    await self._stream.close(answer.code, answer.reason)
                    raise _Closed
                await self._stream.send(answer.message)
