"""What runs in an engine process."""

import logging
import os
import queue
import signal
import threading
import time
from typing import Any, Iterator, Optional

import logger
from engine.config import ASRConfig
from engine.messages import (
    Abort,
    Audio,
    Closed,
    Command,
    Consumed,
    Finish,
    Logged,
    Open,
    Opened,
    Ready,
    Recognized,
    StartFailed,
    Working,
    cost_bytes,
)
from engine.segmenter import Segmenter, Utterance
from recognizer import RecognizerError
from recognizer.audio import to_samples
from recognizer.recognizer import Cancelled, Recognizer, RecognizerSettings

_log = logging.getLogger(__name__)

_SIGN_OF_LIFE_S = 1.0


class EngineWorker:
    """What runs in the engine process: commands in, answers out, one session after the other."""

    def __init__(self, config: ASRConfig, commands: Any, answers: Any) -> None:
        self._config = config
        self._commands = commands
        self._answers = answers
        self._pending: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._aborted: Optional[int] = None
        self._session: Optional[int] = None
        self._sign_of_life_s = 0.0
        self._segmenter = Segmenter(config)
        self._recognizer: Recognizer

    def run(self) -> None:
        """Load the model, then serve until the server goes away."""
        threading.Thread(target=self._receive, name="receiver", daemon=True).start()
        try:
            self._recognizer = _load_recognizer(self._config)
        except RecognizerError as error:
            self._answers.put(StartFailed(str(error)))
            return
        self._answers.put(Ready())
        while True:
            self._obey(self._pending.get())

    def _receive(self) -> None:
        """Take commands over at once: an abort is seen in mid-recognition, and so is the server's death."""
        try:
            while True:
                command: Command = self._commands.get()
                if isinstance(command, Abort):
                    self._aborted = command.session
                self._pending.put(command)
        except (EOFError, OSError):
            os._exit(0)

    def _obey(self, command: Command) -> None:
        if isinstance(command, Open):
            self._session = command.session
            self._segmenter = Segmenter(self._config)
            self._answers.put(Opened(command.session))
        elif isinstance(command, Audio):
            if command.session == self._session:
                self._recognize_all(self._segmenter.feed(command.pcm))
            self._answers.put(Consumed(command.session, cost_bytes(command.pcm)))
        elif command.session == self._session:
            if isinstance(command, Finish):
                self._recognize_all(self._segmenter.finish())
            self._session = None
            self._answers.put(Closed(command.session))

    def _recognize_all(self, utterances: Iterator[Utterance]) -> None:
        for utterance in utterances:
            if not self._is_aborted():
                self._recognize(utterance)

    def _recognize(self, utterance: Utterance) -> None:
        assert self._session is not None
        started = time.monotonic()
        try:
            samples = to_samples(utterance.pcm, self._config.audio.sample_rate)
            recognition = self._recognizer.recognize(samples, self._is_cancelled)
        except Cancelled:
            return
        _log.debug("%.1f-%.1f s: %s", utterance.start_s, utterance.end_s, recognition)
        busy_s = time.monotonic() - started
        self._answers.put(Recognized(self._session, utterance.start_s, utterance.end_s, recognition.text, busy_s))

    def _is_cancelled(self) -> bool:
        """Asked many times during a recognition, so also the place to tell the watchdog that it goes on."""
        now_s = time.monotonic()
        if now_s - self._sign_of_life_s >= _SIGN_OF_LIFE_S:
            self._sign_of_life_s = now_s
            self._answers.put(Working())
        return self._is_aborted()

    def _is_aborted(self) -> bool:
        return self._aborted == self._session


def _load_recognizer(config: ASRConfig) -> Recognizer:
    model = config.model
    threads = max(1, len(os.sched_getaffinity(0)) // model.channel)
    settings = RecognizerSettings(**model.model_dump(exclude={"channel", "hang_timeout"}))
    return Recognizer(settings, threads)


def engine_main(config: ASRConfig, log_level: str, commands: Any, answers: Any) -> None:
    """The engine process: `commands` and `answers` are its pair of queues."""
    # The server alone decides when an engine ends: Ctrl-C and a service manager signal every process.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    # The server's ends came along; while this process holds them, it would never read that the server has died.
    commands._writer.close()
    answers._reader.close()
    logger.forward_records(log_level, lambda record: answers.put(Logged(record)))
    try:
        EngineWorker(config, commands, answers).run()
    except Exception:
        _log.exception("the engine fails")
        os._exit(1)
