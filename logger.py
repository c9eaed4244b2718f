"""One log for all processes: console and a file that turns at midnight.

    engine process ── queue ──▶ server process ── queue ──▶ one writer thread ──▶ console, file

Only the server writes. An engine hands its records to its own queue (`forward_records`), the server passes them on
(`handle_forwarded`), and no caller ever waits for a disk.
"""

import contextlib
import logging
import logging.handlers
import queue
import sys
from pathlib import Path
from typing import Callable

_FORMAT = "%(asctime)s %(levelname)-7s %(processName)s: %(message)s"
_KEPT_FILES = 30  # one a day


class LogError(Exception):
    """The log file cannot be written; the text is one line for the person who configured it."""


class ServerLog:
    """The server's end: everything logged in this process goes through a queue to console and file.

    Raises:
        LogError: when `path` cannot be written.
    """

    def __init__(self, level: str, path: str) -> None:
        formatter = logging.Formatter(_FORMAT)
        console, file = _ConsoleHandler(), _open_file(path)
        for handler in (console, file):
            handler.setFormatter(formatter)
        self._file = file
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._listener = logging.handlers.QueueListener(records, console, file)
        self._handler = logging.handlers.QueueHandler(records)
        _install(self._handler, level)
        self._listener.start()

    def stop(self) -> None:
        """Write what is waiting and let go of the file."""
        logging.getLogger().removeHandler(self._handler)
        self._listener.stop()
        self._file.close()


def forward_records(level: str, send: Callable[[logging.LogRecord], None]) -> None:
    """An engine's end: everything logged in this process is given to `send`, ready to be pickled."""
    _install(_ForwardingHandler(send), level)


def handle_forwarded(record: logging.LogRecord) -> None:
    """Log a record of another process as if it had been made here; the level was its own process's matter."""
    logging.getLogger(record.name).handle(record)


def _install(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level.upper())
    for chatty in ("numba", "filelock", "urllib3"):  # their debug output says nothing about a session
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _open_file(path: str) -> logging.handlers.TimedRotatingFileHandler:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return _FileHandler(path, when="midnight", backupCount=_KEPT_FILES, encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise LogError(f"logging.log_path: cannot write {path!r}: {reason}") from error


class _ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Stderr; a console that has gone away is no reason to fail."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: there is nowhere left to say it, and the file has the record."""


class _FileHandler(logging.handlers.TimedRotatingFileHandler):
    """Says once on the console when the file cannot be written (disk full), and again only after it could."""

    _failing = False
    _said = False

    def emit(self, record: logging.LogRecord) -> None:
        self._failing = False
        super().emit(record)
        self._said = self._said and self._failing

    def close(self) -> None:
        with contextlib.suppress(OSError):  # said when it was written
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self._failing = True
        if not self._said:
            self._said = True
            print(f"the log file {self.baseFilename} cannot be written: {sys.exc_info()[1]}", file=sys.stderr)


class _ForwardingHandler(logging.handlers.QueueHandler):
    def __init__(self, send: Callable[[logging.LogRecord], None]) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self._send = send

    def enqueue(self, record: logging.LogRecord) -> None:
        self._send(record)
