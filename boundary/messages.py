"""What crosses the boundary between the server and an engine process."""

import logging
from typing import NamedTuple, Union


class Open(NamedTuple):
    """Command: a session begins."""

    session: int


class Audio(NamedTuple):
    """Command: more of the session's audio."""

    session: int
    pcm: bytes


class Finish(NamedTuple):
    """Command: recognise what is open, then the session is over."""

    session: int


class Abort(NamedTuple):
    """Command: the session is over, nobody wants its results."""

    session: int


class Ready(NamedTuple):
    """Answer: the model is loaded."""


class StartFailed(NamedTuple):
    """Answer: there will be no engine; one line says why."""

    reason: str


class Opened(NamedTuple):
    """Answer to Open."""

    session: int


class Consumed(NamedTuple):
    """Answer to Audio: the engine has dealt with `cost` bytes (see `cost_bytes`), and is or is not in an utterance."""

    session: int
    cost: int
    in_utterance: bool


class Working(NamedTuple):
    """A recognition takes its time, and goes on."""


class Recognized(NamedTuple):
    """A segment of the session; `text` is empty when nothing was said, `busy_s` what the recogniser took."""

    session: int
    start_s: float
    end_s: float
    text: str
    busy_s: float


class Closed(NamedTuple):
    """Answer to Finish and Abort: the engine knows nothing of the session any more."""

    session: int


class Logged(NamedTuple):
    """A log record of the engine process."""

    record: logging.LogRecord


Command = Union[Open, Audio, Finish, Abort]
Answer = Union[Ready, StartFailed, Opened, Consumed, Working, Recognized, Closed, Logged]

# What an engine may have waiting. It fits into a pipe, so that handing over a command does not block even when the
# engine is frozen. A pipe has 16 pages on Linux (pipe(7)), and a write may need whole ones; two are left for
# Open, Finish and Abort.
_PAGE_BYTES = 4096
WINDOW_BYTES = 14 * _PAGE_BYTES
CHUNK_BYTES = 15 * 1024  # with its overhead, four pages in one write
_COMMAND_OVERHEAD_BYTES = 128


def cost_bytes(n_bytes: int) -> int:
    """What an Audio command of so much PCM takes of the window: whole pages."""
    return -(-(n_bytes + _COMMAND_OVERHEAD_BYTES) // _PAGE_BYTES) * _PAGE_BYTES
