"""Who has which engine: the server's state of an engine, a session's hold on one, a place in the queue for one.

Guarded by the pool's lock (`asr_process.EnginePool`).

Errors:
    LeaseOver   the engine is no longer the session's: it failed, or the session has ended
"""

import enum
import threading
import time
from typing import Callable, Optional, Union

from typing_extensions import Protocol

from boundary.messages import (
    WINDOW_BYTES,
    Abort,
    Answer,
    Audio,
    Closed,
    Command,
    Consumed,
    Finish,
    Open,
    Opened,
    Recognized,
    cost_bytes,
)


class LeaseOver(Exception):
    """The engine is no longer this session's: it failed, or the session has ended."""


class EngineState(enum.Enum):
    """What `%c` tells of an engine."""

    STARTING = "starting"
    SLEEPING = "sleeping"
    RUNNING = "running"


class SessionSink(Protocol):
    """Where a session's results go. Called from the engine's keeper thread: must not block."""

    def on_room(self) -> None:
        """Audio that was refused may be offered again."""

    def on_segment(self, segment: Recognized) -> None:
        """A segment was recognised; its text may be empty."""

    def on_finished(self) -> None:
        """All results are out; the engine is free again."""

    def on_engine_failed(self, reason: str) -> None:
        """There will be no more results."""


class EngineProcess(Protocol):
    """The process of an engine (`asr_process.ASRProcess`)."""

    def send(self, command: Command) -> None:
        """Hand over a command; to a process that is gone, it goes nowhere."""

    def kill(self) -> None:
        """End the process at once, also a frozen one."""

    def close(self) -> str:
        """Let go of the process, ending it if need be; returns how it ended."""


class Engine:
    """One place for an engine: the process in it changes when one dies. Guarded by the pool's lock."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.state = EngineState.STARTING
        self.process: Optional[EngineProcess] = None
        self.lease: Optional[Lease] = None
        self.owed_answers = 0
        self.owed_since_s = 0.0
        self.was_hung = False
        self.starts = 0

    def owe(self, now_s: float) -> None:
        """The process has been asked something."""
        if not self.owed_answers:
            self.owed_since_s = now_s
        self.owed_answers += 1

    def hear(self, answer: Answer, now_s: float) -> None:
        """It has said something, so it is alive: what it still owes counts from now."""
        self.owed_since_s = now_s
        if isinstance(answer, (Opened, Consumed, Closed)):
            self.owed_answers -= 1

    def overdue_s(self, now_s: float) -> float:
        """For how long an answer is owed; 0 when none is."""
        return now_s - self.owed_since_s if self.owed_answers else 0.0

    def reset(self) -> None:
        """Nothing runs here."""
        self.state = EngineState.STARTING
        self.process = None
        self.lease = None
        self.owed_answers = 0
        self.was_hung = False


class Lease:
    """One session's hold on one engine. For the session's threads; every method may be called in any order."""

    def __init__(self, lock: threading.RLock, engine: Engine, session: int, sink: SessionSink) -> None:
        self.engine_index = engine.index
        self.session = session
        self.sink = sink
        self.released = False
        self.in_utterance = False  # as far as the engine has said
        self._lock = lock
        self._engine = engine
        self._waiting_bytes = 0
        self._refused = False
        self._ending = False

    def offer_audio(self, pcm: bytes) -> bool:
        """Hand over at most CHUNK_BYTES of audio; never blocks.

        Returns:
            False when the engine has about a second of audio waiting: offer it again when the sink's `on_room` comes.

        Raises:
            LeaseOver: the engine takes no more audio of this session.
        """
        with self._lock:
            if self._ending:
                raise LeaseOver
            self._refused = self._waiting_bytes + cost_bytes(pcm) > WINDOW_BYTES
            if self._refused:
                return False
            self._waiting_bytes += cost_bytes(pcm)
            process = self._ask()
        process.send(Audio(self.session, pcm))
        return True

    def finish(self) -> None:
        """No more audio: the sink gets what is left, then `on_finished`."""
        self._end(Finish(self.session))

    def release(self) -> None:
        """The client is gone: nothing more reaches the sink. Also after `finish`, or when all is over."""
        self.released = True
        self._end(Abort(self.session))

    def _end(self, command: Union[Finish, Abort]) -> None:
        with self._lock:
            process = self._engine.process
            if self._engine.lease is not self or process is None or (self._ending and not self.released):
                return
            if not self._ending:  # one answer, Closed, is owed to either command or both
                self._engine.owe(time.monotonic())
            self.cut_off()
        process.send(command)

    def _ask(self) -> EngineProcess:
        assert self._engine.process is not None
        self._engine.owe(time.monotonic())
        return self._engine.process

    # The pool's side, with its lock held.

    def open(self) -> None:
        """The session begins."""
        self._ask().send(Open(self.session))

    def consumed(self, answer: Consumed) -> bool:
        """The engine has dealt with some of the audio; returns whether the session waits for that."""
        self.in_utterance = answer.in_utterance
        self._waiting_bytes -= answer.cost
        refused, self._refused = self._refused, False
        return refused

    def cut_off(self) -> None:
        """The engine takes no more audio of this session."""
        self._ending = True


class Ticket:
    """A place in the queue for an engine; `lease` is set when it is this client's turn."""

    def __init__(self, sink: SessionSink, on_granted: Callable[[], object]) -> None:
        self.sink = sink
        self.on_granted = on_granted
        self.lease: Optional[Lease] = None
