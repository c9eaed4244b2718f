"""What the server says to an engine → the utterances that it has to recognise, in order."""

import contextlib
import os
import queue
import threading
import time
from dataclasses import replace
from typing import Any, Iterator, NamedTuple, Optional, Union

from boundary.messages import (
    Abort,
    Closed,
    Command,
    Consumed,
    Content,
    EndOfUtterance,
    Finish,
    Happened,
    Input,
    Open,
    Opened,
    Ping,
    Pong,
    cost_bytes,
)
from boundary.settings import EngineSettings, SessionSettings, default_session
from engine.segmenter import Segmenter, Utterance
from protocol.data import SpeechStarted, SpeechStopped

_AHEAD_OF_TIME_S = 2.0


class _Arrived(NamedTuple):
    """A command, and when it came."""

    command: Command
    came_s: float


class Listener:
    """Takes commands over at once, and deals with them when asked for the next utterance.

    Its own thread only receives: an abort is seen in mid-recognition, and so is the server's death.

    Args:
        settings: of the engine.
        commands: queue from the server.
        answers: queue to the server.
    """

    def __init__(self, settings: EngineSettings, commands: Any, answers: Any) -> None:
        self._settings = settings
        self._commands = commands
        self._answers = answers
        self._pending: queue.SimpleQueue[_Arrived] = queue.SimpleQueue()
        self._next: Optional[_Arrived] = None  # taken from the pending ones, and not yet dealt with
        self._current: Optional[Command] = None  # is being dealt with
        self._came_s = 0.0  # that one
        self._ended: Iterator[Utterance] = iter(())  # what it has ended and was not taken yet
        self._waiting: Optional[Utterance] = None  # has ended while another was recognised
        self._aborted: Optional[int] = None
        self._opened_s = 0.0
        self._audio_bytes = 0
        self.session: Optional[int] = None
        self.settings = default_session(settings)  # of the session
        self._segmenter = Segmenter(settings, self.settings)
        self._is_speaking = False  # an utterance has begun, and its end was not told
        threading.Thread(target=self._receive, name="receiver", daemon=True).start()

    @property
    def is_aborted(self) -> bool:
        """Whether nobody wants the results of the session."""
        return self._aborted == self.session

    @property
    def is_ahead_of_time(self) -> bool:
        """Whether the client has sent more than anybody can have said since the session began."""
        audio_s = self._audio_bytes / self.settings.bytes_per_second
        return audio_s - (time.monotonic() - self._opened_s) > _AHEAD_OF_TIME_S

    @property
    def pauses(self) -> bool:
        """Whether there is an `ending`."""
        return self._segmenter.pauses

    @property
    def ending(self) -> Optional[Utterance]:
        """The utterance that has been followed by a little silence, as it will be if that goes on."""
        return self._dated(self._segmenter.ending())

    def goes_on(self, ending: Utterance) -> bool:
        """Whether an `ending` has turned out to be none."""
        return not self._segmenter.is_ending_at(ending.end_s)

    @property
    def open_since_s(self) -> Optional[float]:
        """Where the sound of the open utterance begins, in seconds of the session's audio; None where none is open."""
        return self._segmenter.open_since_s

    @property
    def earliest_cut_s(self) -> float:
        """Where the open utterance is cut at the earliest if it gets too long, as far as its pauses tell."""
        return self._segmenter.earliest_cut_s

    @property
    def heard_s(self) -> float:
        """Seconds of audio that was heard so far."""
        return self._segmenter.heard_s

    @property
    def so_far(self) -> Optional[Utterance]:
        """The open utterance, with all that has been heard of it."""
        return self._dated(self._segmenter.so_far())

    @property
    def waiting(self) -> Optional[Utterance]:
        """What `listen_on` has found; `poll` gives it."""
        return self._waiting

    def next(self, timeout_s: Optional[float] = None) -> Optional[Utterance]:
        """As `poll`, but where there is nothing to deal with wait for a command."""
        if self._waiting is None and self._next is None:
            with contextlib.suppress(queue.Empty):
                self._next = self._pending.get(timeout=timeout_s)
        return self.poll()

    def poll(self) -> Optional[Utterance]:
        """The next utterance that has ended within what has come so far; never waits."""
        utterance, self._waiting = self._waiting or self._next_ended(), None
        while utterance is None and self._take_next():
            self._begin_next()
            utterance = self._next_ended()
        return utterance

    def listen_on(self, utterance_is_open: bool) -> None:
        """Deal with what the client has sent while an utterance is recognised, up to the end of the next one.

        Where none is open, the end of the session waits: what it answers comes after the results.
        """
        kinds = (Input, Finish) if utterance_is_open else (Input,)
        if self._waiting is None and isinstance(self._current, kinds):
            self._waiting = self._next_ended()
        while self._waiting is None and self._take_next() and self._next and isinstance(self._next.command, kinds):
            self._begin_next()
            self._waiting = self._next_ended()

    def _take_next(self) -> bool:
        """Whether there is a command to deal with."""
        if self._next is None:
            with contextlib.suppress(queue.Empty):
                self._next = self._pending.get_nowait()
        return self._next is not None

    def _begin_next(self) -> None:
        assert self._next is not None
        (self._current, self._came_s), self._next = self._next, None
        self._ended = self._deal_with(self._current)

    def _next_ended(self) -> Optional[Utterance]:
        return next((utterance for utterance in self._ended if not self.is_aborted), None)

    def _receive(self) -> None:
        try:
            while True:
                command: Command = self._commands.get()
                if isinstance(command, Abort):
                    self._aborted = command.session
                self._pending.put(_Arrived(command, time.monotonic()))
        except (EOFError, OSError):
            os._exit(0)

    def _deal_with(self, command: Command) -> Iterator[Utterance]:
        """Utterances that the command ends; it is answered when they have been taken."""
        if isinstance(command, Open):
            self.session = command.session
            self._opened_s = time.monotonic()
            self._audio_bytes = 0
            self._hear_as(default_session(self._settings))
            self._answers.put(Opened(command.session))
        elif isinstance(command, Ping):
            self._answers.put(Pong())
        elif isinstance(command, Input):
            if command.session == self.session:
                yield from self._tell(self._take_in(command.content))
            cost = cost_bytes(command.content)
            self._answers.put(Consumed(command.session, cost, self._segmenter.in_utterance))
        elif command.session == self.session:
            if isinstance(command, Finish):
                yield from self._tell(self._segmenter.finish())
            self.session = None
            self._hear_as(default_session(self._settings))
            self._answers.put(Closed(command.session))

    def _take_in(self, content: Content) -> Iterator[Union[SpeechStarted, Utterance]]:
        if isinstance(content, SessionSettings):
            self._hear_as(content)
            return iter(())
        if isinstance(content, EndOfUtterance):
            return self._segmenter.end()
        self._audio_bytes += len(content)
        return self._segmenter.feed(content)

    def _hear_as(self, settings: SessionSettings) -> None:
        self.settings = settings
        self._segmenter = Segmenter(self._settings, settings)
        self._is_speaking = False

    def _tell(self, happened: Iterator[Union[SpeechStarted, Utterance]]) -> Iterator[Utterance]:
        """The utterances; a session that wants events is told of each before it is recognised."""
        for one in happened:
            if isinstance(one, SpeechStarted):
                self._is_speaking = True
                self._tell_event(one)
                continue
            if self._is_speaking:  # else nothing was open
                self._tell_event(SpeechStopped(one.end_s, one.cause))
            self._is_speaking = False
            yield replace(one, came_s=self._came_s)

    def _dated(self, utterance: Optional[Utterance]) -> Optional[Utterance]:
        return None if utterance is None else replace(utterance, came_s=self._came_s)

    def _tell_event(self, event: Union[SpeechStarted, SpeechStopped]) -> None:
        if self.settings.events and self.session is not None and not self.is_aborted:
            self._answers.put(Happened(self.session, event))
