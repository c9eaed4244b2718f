"""Whether a client would be served now, and whether speech is recognised."""

import asyncio
import enum
import time
from typing import Awaitable, Callable, NamedTuple, Optional, Sequence, Tuple

from gateway.errors import Busy, GatewayError
from gateway.upstream import Upstream, count_free
from protocol.data import SessionOptions, UtteranceDone
from server.clip import SAMPLE_RATE, vowels
from service.checks import LIMIT_S, Checked, CheckTimes
from util import EngineStatus

_CHUNK_BYTES = 3200


class State(enum.Enum):
    """What a client that came now would find."""

    READY = "ready"
    BUSY = "busy"  # no engine is free
    UNREACHABLE = "unreachable"  # no server answers
    FULL = "full"  # `gateway.max_connections`
    DRAINING = "draining"  # the gateway stops


class Readiness(NamedTuple):
    """What a client that came now would find, and the engines of all servers that answer."""

    state: State
    engines: int
    free: int


class HealthCheck:
    """Answers for the gateway.

    Args:
        upstream: the servers.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._deep = DeepCheck(SpeechCheck(upstream))
        self._is_draining = False

    def drain(self) -> None:
        """From now on nobody new is taken in."""
        self._is_draining = True

    async def ready(self, has_room: bool) -> Readiness:
        """Whether a client would be served now; `has_room`: whether the gateway may take one more."""
        engines = await self._upstream.engines()
        free = count_free(engines)
        return Readiness(self._state(engines, free, has_room), len(engines), free)

    async def deep(self) -> Tuple[bool, str]:
        """Whether a server recognises a sound, good also where no engine is free; and a line that says what came of it.

        At most once in 10 s: others are told the last answer.
        """
        checked, age_s = await self._deep.ask()
        return checked.is_good, f"{checked.line}; {age_s:.1f} s ago"

    def _state(self, engines: Sequence[EngineStatus], free: int, has_room: bool) -> State:
        if self._is_draining:
            return State.DRAINING
        if not has_room:
            return State.FULL
        if not engines:
            return State.UNREACHABLE
        return State.READY if free else State.BUSY


class DeepCheck:
    """Checks when it is asked, but not too often.

    Args:
        check: does it.
        now_s: a monotonic clock.
    """

    def __init__(self, check: Callable[[], Awaitable[Checked]], now_s: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._times = CheckTimes(now_s)
        self._running: Optional[asyncio.Future[Checked]] = None

    async def ask(self) -> Tuple[Checked, float]:
        """A check of now, or the last one where that is new enough or another is under way; and its age in seconds."""
        while self._times.must_wait and self._running is not None:
            await asyncio.wait([self._running])
        known = self._times.begin()
        if known is not None:
            return known
        self._running = asyncio.ensure_future(self._run())
        return await asyncio.shield(self._running), 0.0  # whoever asked may leave: others wait for it too

    async def _run(self) -> Checked:
        checked = None
        try:
            checked = await self._check()
            return checked
        finally:
            self._times.end(checked)


class SpeechCheck:
    """Lets a server hear a sound that is built in, in a session like any client's.

    Args:
        upstream: the servers; the next one with a free engine is checked.
        limit_s: for the whole.
    """

    def __init__(self, upstream: Upstream, limit_s: float = LIMIT_S) -> None:
        self._upstream = upstream
        self._limit_s = limit_s
        self._pcm = vowels()
        # The server says that an utterance has ended; vowels are no speech, so there may be no text.
        self._options = SessionOptions(language="en", sample_rate=SAMPLE_RATE, events=True)

    async def __call__(self) -> Checked:
        """Check once."""
        try:
            return await asyncio.wait_for(self._checked(), self._limit_s)
        except Busy:
            return _NOT_CHECKED
        except GatewayError as error:
            return Checked(False, f"no speech is recognised: {error}")
        except asyncio.TimeoutError:
            return Checked(False, f"no speech is recognised: a server has given no answer for {self._limit_s:g} s")

    async def _checked(self) -> Checked:
        engines = await self._upstream.engines()
        if engines and not count_free(engines):
            return _NOT_CHECKED  # it does not wait in a queue, as clients may
        began_s = time.monotonic()
        session = await self._upstream.open(self._options, "the gateway's deep check")
        try:
            for start in range(0, len(self._pcm), _CHUNK_BYTES):
                await session.send(self._pcm[start : start + _CHUNK_BYTES])
            await session.finish()
            utterances = [event async for event in session.events() if isinstance(event, UtteranceDone)]
        finally:
            session.close()
        if not utterances:
            return Checked(False, f"no speech is recognised: {session.server} did not hear the sound")
        sound_s, took_s = len(self._pcm) / 2 / SAMPLE_RATE, time.monotonic() - began_s
        return Checked(
            True,
            f"{session.server} recognised {sound_s:.1f} s of built-in sound in {took_s:.2f} s "
            f"(vowels, no speech: that it answers is checked, not what)",
        )


_NOT_CHECKED = Checked(True, "nothing was checked: no engine is free", has_run=False)
