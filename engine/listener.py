"""What the server says to an engine → the utterances that it has to recognise, in order."""

import os
import queue
import threading
import time
from typing import Any, Iterator, Optional

from boundary.messages import Abort, Audio, Closed, Command, Consumed, Finish, Open, Opened, cost_bytes
from boundary.settings import EngineSettings
from engine.segmenter import Segmenter, Utterance

_AHEAD_OF_TIME_S = 2.0


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
        self._pending: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._ended: Iterator[Utterance] = iter(())  # of the command that is being dealt with
        self._aborted: Optional[int] = None
        self._opened_s = 0.0
        self._audio_bytes = 0
        self._segmenter = Segmenter(settings)
        self.session: Optional[int] = None
        threading.Thread(target=self._receive, name="receiver", daemon=True).start()

    @property
    def is_aborted(self) -> bool:
        """Whether nobody wants the results of the session."""
        return self._aborted == self.session

    @property
    def is_ahead_of_time(self) -> bool:
        """Whether the client has sent more than anybody can have said since the session began."""
        audio_s = self._audio_bytes / self._settings.audio.bytes_per_second
        return audio_s - (time.monotonic() - self._opened_s) > _AHEAD_OF_TIME_S

    @property
    def ending(self) -> Optional[Utterance]:
        """The utterance that has been followed by a little silence, as it will be if that goes on."""
        return self._segmenter.ending()

    def goes_on(self, ending: Utterance) -> bool:
        """Whether an `ending` has turned out to be none."""
        return not self._segmenter.is_ending_at(ending.end_s)

    def next(self) -> Optional[Utterance]:
        """Wait for a command; the utterance that it has ended, if any."""
        self._ended = self._deal_with(self._pending.get())
        return self.poll()

    def poll(self) -> Optional[Utterance]:
        """The next utterance that has ended within what has come so far; never waits."""
        while True:
            for utterance in self._ended:
                if not self.is_aborted:
                    return utterance
            try:
                self._ended = self._deal_with(self._pending.get_nowait())
            except queue.Empty:
                return None

    def _receive(self) -> None:
        try:
            while True:
                command: Command = self._commands.get()
                if isinstance(command, Abort):
                    self._aborted = command.session
                self._pending.put(command)
        except (EOFError, OSError):
            os._exit(0)

    def _deal_with(self, command: Command) -> Iterator[Utterance]:
        """Utterances that the command ends; it is answered when they have been taken."""
        if isinstance(command, Open):
            self.session = command.session
            self._opened_s = time.monotonic()
            self._audio_bytes = 0
            self._segmenter = Segmenter(self._settings)
            self._answers.put(Opened(command.session))
        elif isinstance(command, Audio):
            if command.session == self.session:
                self._audio_bytes += len(command.pcm)
                yield from self._segmenter.feed(command.pcm)
            self._answers.put(Consumed(command.session, cost_bytes(len(command.pcm)), self._segmenter.in_utterance))
        elif command.session == self.session:
            if isinstance(command, Finish):
                yield from self._segmenter.finish()
            self.session = None
            self._segmenter = Segmenter(self._settings)
            self._answers.put(Closed(command.session))
