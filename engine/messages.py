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
    """Answer to Audio: the engine has dealt with `cost` bytes (see `cost_bytes`)."""

    session: int
    cost: int


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
Answer = Union[Ready, StartFailed, Opened, Consumed, Recognized, Closed, Logged]

# Bytes of commands that an engine may have waiting, about a second of audio. They fit into a pipe (64 KiB on
# Linux), so that handing over a command does not block even when the engine is frozen.
WINDOW_BYTES = 48 * 1024
CHUNK_BYTES = 16 * 1024
_COMMAND_OVERHEAD_BYTES = 128


def cost_bytes(pcm: bytes) -> int:
    """What an Audio command takes of the window."""
    return len(pcm) + _COMMAND_OVERHEAD_BYTES
