"""A client's line: one stream of speech and what was heard in it, over as many sessions as that takes.

    audio, end_utterance, configure, finish ─▶ ┌──────┐ ─▶ ServerSession (one at a time)
                                               │ Line │
                           events ◀─────────── └──────┘ ◀─ its events, their times shifted

A session holds an engine, so it begins with the first audio and ends when none has come for a while, or when something
else is asked for. The client notices nothing of it: times count from its first byte, `end_utterance` gets its one
UtteranceDone.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import AsyncIterator, Awaitable, Optional, Union

from gateway.errors import GatewayError
from gateway.metrics import COMPLETED, LEFT, DoorFigures
from gateway.upstream import ServerSession, SpeechEvent, Upstream
from protocol.data import Cause, Partial, SessionOptions, SpeechStarted, SpeechStopped, UtteranceDone
from util import Result

IDLE_S = 10.0  # without audio, after which the engine is given back
_WAITING_EVENTS = 256  # that the client has yet to take; then the server is not read either
_LAST_WORDS_S = 2.0  # for what the server said before it closed to arrive
_G711_BYTES = 1  # of a sample
_PCM_BYTES = 2

_Ended = Optional[GatewayError]  # None: it ended as it should


class Line:
    """One task speaks (`audio` … `finish`) while another iterates over `events`; `close` ends both.

    Args:
        upstream: where the servers are.
        options: what is asked for; `sample_rate` has to be named.
        user: who speaks; goes to the server's log.
        figures: of the door that it is at.
        idle_s: seconds without audio after which the engine is given back; the next audio asks for one anew.

    Every method that speaks raises GatewayError: Busy and NoServer where no session can begin; what ended a session
    otherwise is raised by `events`, and from then on by all.
    """

    def __init__(
        self, upstream: Upstream, options: SessionOptions, user: str, figures: DoorFigures, idle_s: float = IDLE_S
    ) -> None:
        self._upstream = upstream
        self.user = user
        self.figures = figures
        self._idle_s = idle_s
        self._options = options
        self._session: Optional[ServerSession] = None
        self._listener: Optional[asyncio.Task[None]] = None  # hands on what the session says
        self._rester: Optional[asyncio.Task[None]] = None  # ends the session when no audio comes
        self._speaking = asyncio.Lock()
        self._offset_s = 0.0  # where the session began, on the client's clock
        self._sent_bytes = 0  # of audio in the session
        self._torn_bytes = 0  # of the next audio: the rest of a sample that the session before has begun
        self._spoken_at_s = 0.0  # when audio came last, on the loop's clock
        self._events: asyncio.Queue[Union[SpeechEvent, _Ended]] = asyncio.Queue(_WAITING_EVENTS)
        self._failure: Optional[GatewayError] = None

    @property
    def options(self) -> SessionOptions:
        """What is asked for."""
        return self._options

    @property
    def now_s(self) -> float:
        """Seconds of audio so far."""
        return self._offset_s + self._sent_bytes / self._bytes_per_second

    @property
    def _sample_rate(self) -> int:
        assert self._options.sample_rate is not None  # every door names it
        return self._options.sample_rate

    @property
    def _sample_bytes(self) -> int:
        return _G711_BYTES if self._options.encoding in ("mulaw", "alaw") else _PCM_BYTES

    @property
    def _bytes_per_second(self) -> int:
        return self._sample_bytes * self._sample_rate

    # --- speaking

    async def audio(self, data: bytes) -> None:
        """Mono audio in the form that the options name; waits while the server is behind."""
        if not data:
            return
        async with self._speaking:
            session = await self._begun()
            data, self._torn_bytes = data[self._torn_bytes :], max(0, self._torn_bytes - len(data))
            self._sent_bytes += len(data)
            await self._said(session.send(data))
            self.figures.heard(len(data) / self._bytes_per_second)
            self._spoken_at_s = asyncio.get_running_loop().time()  # a server that is behind may take long to take it

    async def end_utterance(self) -> None:
        """What was said so far is an utterance. An UtteranceDone follows, whether or not something was said."""
        async with self._speaking:
            self._check()
            if self._session is not None:
                await self._said(self._session.end_utterance())
            else:
                await self._events.put(UtteranceDone(self.now_s, self.now_s, Cause.ASKED, False))

    async def configure(self, options: SessionOptions) -> None:
        """Ask for something else, from the next audio on; what was said so far is recognised as it was asked for."""
        async with self._speaking:
            if options != self._options:
                await self._end_session()
                self._options = options

    async def finish(self) -> None:
        """No more audio will come: `events` ends when what is left has been recognised."""
        async with self._speaking:
            self._check()
            await self._end_session()
            await self._events.put(self._failure)

    # --- listening

    async def events(self) -> AsyncIterator[SpeechEvent]:
        """What is heard, in order, until the line has been finished. Raises GatewayError, see above."""
        while True:
            event = await self._events.get()
            if event is None:
                return
            if isinstance(event, GatewayError):
                raise event
            yield event

    # --- its end

    async def close(self) -> None:
        """Leave at once; harmless when already closed."""
        tasks = [task for task in (self._rester, self._listener) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            self._session.close()
            self._session = None
            if self._failure is None:
                self.figures.ended(LEFT)

    # --- sessions

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _begun(self) -> ServerSession:
        self._check()
        if self._session is None:
            asked_s = asyncio.get_running_loop().time()
            self._session = await self._upstream.open(self._options, self.user)
            self.figures.began(asyncio.get_running_loop().time() - asked_s)
            self._listener = asyncio.ensure_future(self._listen(self._session, self._offset_s))
            self._rester = asyncio.ensure_future(self._rest(self._session))
        return self._session

    async def _said(self, words: Awaitable[None]) -> None:
        """Say it; where that fails, raise what the server said before it left."""
        try:
            await words
        except GatewayError as error:
            if self._listener is not None:
                await asyncio.wait([self._listener], timeout=_LAST_WORDS_S)
            self._fail(error)
            self._check()

    async def _listen(self, session: ServerSession, offset_s: float) -> None:
        try:
            async for event in session.events():
                await self._events.put(_shifted(event, offset_s))
        except GatewayError as error:
            self._fail(error)
            await self._events.put(error)

    def _fail(self, error: GatewayError) -> None:
        """The session is over because of that, unless it was already."""
        if self._failure is None:
            self._failure = error
            self.figures.failed(error)

    async def _end_session(self) -> None:
        """Let the session recognise what it has, and wait for that."""
        session, listener, rester = self._session, self._listener, self._rester
        if session is None or listener is None or rester is None:
            return
        await self._said(session.finish())
        await self._heard_out(session, listener)
        session.close()
        if rester is not asyncio.current_task():
            rester.cancel()
        self._torn_bytes = -self._sent_bytes % self._sample_bytes
        self._offset_s, self._sent_bytes = self.now_s, 0
        self._session = self._listener = self._rester = None
        self._check()
        self.figures.ended(COMPLETED)

    async def _heard_out(self, session: ServerSession, listener: "asyncio.Task[None]") -> None:
        """Wait until all has come that the session says, unless the server has fallen silent."""
        while not listener.done():
            await asyncio.wait([listener], timeout=self._upstream.patience_s)
            if session.silent_s >= self._upstream.patience_s:
                session.give_up()
        listener.result()

    async def _rest(self, session: ServerSession) -> None:
        """Give the engine back when no audio has come for a while."""
        loop = asyncio.get_running_loop()
        self._spoken_at_s = loop.time()
        while True:
            await asyncio.sleep(self._spoken_at_s + self._idle_s - loop.time())
            async with self._speaking:
                if loop.time() >= self._spoken_at_s + self._idle_s and self._session is session:
                    with suppress(GatewayError):  # whoever listens is told it
                        await self._end_session()
                    return


def _shifted(event: SpeechEvent, by_s: float) -> SpeechEvent:
    """The same event on the client's clock."""
    if by_s == 0.0:
        return event
    if isinstance(event, (SpeechStarted, SpeechStopped)):
        return replace(event, at_s=event.at_s + by_s)
    if isinstance(event, UtteranceDone):
        return replace(event, start_s=event.start_s + by_s, end_s=event.end_s + by_s)
    if isinstance(event, Partial):
        return event._replace(start_s=event.start_s + by_s, end_s=event.end_s + by_s)
    return _shifted_result(event, by_s)


def _shifted_result(result: Result, by_s: float) -> Result:
    detail = result.detail
    if detail is not None:
        words = tuple(word._replace(start_s=word.start_s + by_s, end_s=word.end_s + by_s) for word in detail.words)
        detail = detail._replace(words=words)
    return result._replace(start_s=result.start_s + by_s, end_s=result.end_s + by_s, detail=detail)
