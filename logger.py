"""One log for all processes: console and a file that turns at midnight, and before when it has got too long.

    engine process ── queue ──▶ server process ── queue ──▶ one writer thread ──▶ console, file

Only the server writes. An engine hands its records to its own queue (`forward_records`), the server passes them on
(`handle_forwarded`), and no caller ever waits for a disk.
"""

import contextlib
import datetime
import json
import logging
import logging.handlers
import os
import queue
import re
import stat
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

_FORMAT = "%(asctime)s %(levelname)-7s %(processName)s: %(message)s"
_KEPT_FILES = 30  # one a day, or as many as a day has
_FIELDS = "fields"  # of a record, as an attribute
_TURNED = re.compile(r"\.(\d{4}-\d{2}-\d{2})(?:\.(\d+))?")  # what is added to the name of a file that was turned


class LogError(Exception):
    """The log file cannot be written; the text is one line for the person who configured it."""


def fields(**values: Any) -> Dict[str, Any]:
    """`extra` of a log call: what its line says, for programs. They stand in the line where the log is JSON."""
    return {_FIELDS: values}


class ServerLog:
    """The server's end: everything logged in this process goes through a queue to console and file.

    Args:
        level: below which nothing is logged.
        path: of the file.
        form: `text`, or `json` for one object a line.
        max_mb: that the file may have before it is turned; 0 for any.

    Raises:
        LogError: when `path` cannot be written.
    """

    def __init__(self, level: str, path: str, form: str = "text", max_mb: int = 0) -> None:
        formatter = _JsonFormatter() if form == "json" else logging.Formatter(_FORMAT)
        console, file = _ConsoleHandler(), _open_file(path, max_mb)
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


def _open_file(path: str, max_mb: int) -> logging.handlers.TimedRotatingFileHandler:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return _FileHandler(path, max_mb * 1_000_000)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise LogError(f"logging.log_path: cannot write {path!r}: {reason}") from error


class _JsonFormatter(logging.Formatter):
    """One object a line, with the fields of the record behind what every line has."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created).astimezone()
        line = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.processName,
            "logger": record.name,
            "message": super().format(record),
            **getattr(record, _FIELDS, {}),
        }
        return json.dumps(line, ensure_ascii=False)


class _ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Stderr; a console that has gone away is no reason to fail."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: there is nowhere left to say it, and the file has the record."""


class _FileHandler(logging.handlers.TimedRotatingFileHandler):
    """Turns at midnight, and from `max_bytes` on (0: never). Turned files are called `.DATE`, or `.DATE.001` and so on.

    Says once on the console when the file cannot be written (disk full), and again only after it could.
    """

    _failing = False
    _said = False

    def __init__(self, path: str, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        super().__init__(path, when="midnight", backupCount=_KEPT_FILES, encoding="utf-8")

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        """At midnight, or when it has got too long."""
        return bool(super().shouldRollover(record)) or self._is_long()

    def _is_long(self) -> bool:
        if not self._max_bytes or self.stream is None:
            return False
        status = os.fstat(self.stream.fileno())
        return stat.S_ISREG(status.st_mode) and status.st_size >= self._max_bytes

    def rotation_filename(self, default_name: str) -> str:
        """As it would be, with a number behind it where the day has several files."""
        parts = [int(part or 0) for turned, part in self._turned() if default_name == f"{self.baseFilename}.{turned}"]
        return f"{default_name}.{max(parts, default=0) + 1:03d}" if self._max_bytes or parts else default_name

    def getFilesToDelete(self) -> List[str]:  # noqa: N802 - logging's name
        """The oldest of those that are too many."""
        turned = sorted(self._turned(), key=lambda one: (one[0], int(one[1] or 0)))
        names = [f"{self.baseFilename}.{date}" + (f".{part}" if part else "") for date, part in turned]
        return names[: max(0, len(names) - _KEPT_FILES)]

    def _turned(self) -> List[Tuple[str, str]]:
        """Date and number of the files that there are."""
        path = Path(self.baseFilename)
        behind = (name.name[len(path.name) :] for name in path.parent.iterdir() if name.name.startswith(path.name))
        matches = [match for match in map(_TURNED.fullmatch, behind) if match]
        return [(match[1], match[2] or "") for match in matches]

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
