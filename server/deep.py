"""Whether an engine recognises: one that is idle hears a sound that is built in, in a session of its own.

The sound is no speech, so its text says nothing and is not looked at. What is checked is all the way from the pool
through an engine's process, VAD, endpointing, encoder and decoder, and back: an answer, and that it is a number.
"""

import itertools
import logging
import math
import queue
import threading
import time
from typing import Callable, Optional, Tuple

from asr_process import EnginePool
from boundary.messages import CHUNK_BYTES, Closed, Recognized
from boundary.settings import asked_session
from config.sections import ServerConfig
from server.clip import SAMPLE_RATE, vowels
from server.supervision import EngineFailed, Granted, Refused, SessionMessage
from service.checks import LIMIT_S, Checked, CheckTimes

_log = logging.getLogger(__name__)


class _Failed(Exception):
    """The engine does not recognise; the text says why."""


class DeepCheck:
    """Checks when it is asked, but not too often; for several threads.

    Args:
        check: does it.
        now_s: a monotonic clock.
    """

    def __init__(self, check: Callable[[], Checked], now_s: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._times = CheckTimes(now_s)
        self._changed = threading.Condition()

    def ask(self) -> Tuple[Checked, float]:
        """A check of now, or the last one where that is new enough or another is under way; and its age in seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._times.must_wait)
            known = self._times.begin()
        if known is not None:
            return known
        checked = None
        try:
            checked = self._check()
        finally:
            with self._changed:
                self._times.end(checked)
                self._changed.notify_all()
        return checked, 0.0


class EngineCheck:
    """Lets an idle engine hear the sound. A client that comes meanwhile gets that engine.

    Args:
        config: of the server.
        pool: the engines.
    """

    def __init__(self, config: ServerConfig, pool: EnginePool) -> None:
        # Half of a multilingual model's languages would do; one that is known needs not be found out.
        language = "en" if config.model.language == "auto" else config.model.language
        asked = {"sample_rate": SAMPLE_RATE, "language": language, "task": "transcribe", "prompt": "", "detail": True}
        self._settings = asked_session(config, asked)
        self._limit_s = min(LIMIT_S, config.model.hang_timeout)
        self._pool = pool
        self._numbers = itertools.count(-1, -1)  # no client's session has such a one
        self._pcm = vowels()

    def __call__(self) -> Checked:
        """Check one engine."""
        session = next(self._numbers)
        said: queue.SimpleQueue[SessionMessage] = queue.SimpleQueue()
        self._pool.borrow(session, said.put)
        try:
            granted = said.get()
            if not isinstance(granted, Granted):
                return Checked(True, "nothing was checked: no engine is idle", has_run=False)
            return self._check(session, said, granted.slot)
        finally:
            self._pool.release(session)

    def _check(self, session: int, said: "queue.SimpleQueue[SessionMessage]", slot: int) -> Checked:
        _log.debug("the deep check has engine %d", slot)
        began_s = time.monotonic()
        self._speak(session)
        try:
            recognized = self._listen(slot, said, began_s + self._limit_s)
        except _Failed as error:
            return Checked(False, f"an engine does not recognise: {error}")
        if recognized is None:
            return Checked(True, "nothing was checked: a client came, and was given the engine")
        sound_s, took_s = len(self._pcm) / 2 / SAMPLE_RATE, time.monotonic() - began_s
        return Checked(
            True,
            f"engine {slot} recognised {sound_s:.1f} s of built-in sound in {took_s:.2f} s "
            f"(vowels, no speech: that it answers is checked, not what)",
        )

    def _speak(self, session: int) -> None:
        self._pool.hand_on(session, self._settings)
        for start in range(0, len(self._pcm), CHUNK_BYTES):
            self._pool.hand_on(session, self._pcm[start : start + CHUNK_BYTES])
        self._pool.finish(session)

    def _listen(self, slot: int, said: "queue.SimpleQueue[SessionMessage]", due_s: float) -> Optional[Recognized]:
        """What was recognised; None when the engine was taken back. Raises _Failed."""
        recognized = None
        while True:
            try:
                message = said.get(timeout=max(0.0, due_s - time.monotonic()))
            except queue.Empty:
                raise _Failed(f"engine {slot}: it has given no answer for {self._limit_s:g} s") from None
            if isinstance(message, Refused):
                return None
            if isinstance(message, EngineFailed):
                raise _Failed(message.reason)
            if isinstance(message, Recognized):
                recognized = message
            if isinstance(message, Closed):
                return _checked(slot, recognized)


def _checked(slot: int, recognized: Optional[Recognized]) -> Recognized:
    if recognized is None or recognized.detail is None:
        raise _Failed(f"engine {slot}: it did not hear the sound")
    if not math.isfinite(recognized.detail.avg_logprob):
        raise _Failed(f"engine {slot}: what it computes are no numbers")
    return recognized
