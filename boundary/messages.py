"""What crosses the boundary between the server and an engine process."""

import logging
from typing import NamedTuple, Optional, Union

from boundary.settings import SessionSettings
from protocol.data import Cause, Detail, Partial, SpeechStarted, SpeechStopped


class Open(NamedTuple):
    """Command: a session begins."""

    session: int


class EndOfUtterance(NamedTuple):
    """What is open ends here."""


# Audio as the client encodes it, or how it is heard (before the first of it), or where an utterance ends.
Content = Union[bytes, SessionSettings, EndOfUtterance]


class Input(NamedTuple):
    """Command: more of what the session's client sends."""

    session: int
    content: Content


class Finish(NamedTuple):
    """Command: recognise what is open, then the session is over."""

    session: int


class Abort(NamedTuple):
    """Command: the session is over, nobody wants its results."""

    session: int


class Ping(NamedTuple):
    """Command: say that you are there."""


class Lend(NamedTuple):
    """Command to the process that owns the weights: an engine in this slot is to compute with them."""

    slot: int


class Lent(NamedTuple):
    """Answer to Lend: a loan (`recognizer.loading.Loan`) that one process can unpickle, once."""

    slot: int
    loan: bytes


class Owns(NamedTuple):
    """Answer: the weights are loaded, and can be lent."""


class OwnsNothing(NamedTuple):
    """Answer: the engines need no loan, as they are forked with the model, or will say why they have none."""


class Ready(NamedTuple):
    """Answer: the model is loaded, on this device and in these numbers."""

    device: str
    compute: str


class StartFailed(NamedTuple):
    """Answer: there will be no engine; one line says why."""

    reason: str


class Pong(NamedTuple):
    """Answer to Ping."""


class Opened(NamedTuple):
    """Answer to Open."""

    session: int


class Consumed(NamedTuple):
    """Answer to Input: the engine has dealt with it (`cost_bytes` of it), and is or is not in an utterance."""

    session: int
    cost_bytes: int
    in_utterance: bool


class Working(NamedTuple):
    """A recognition takes its time, and goes on."""


class Happened(NamedTuple):
    """Something has happened to an utterance of a session that wants to know."""

    session: int
    event: Union[SpeechStarted, SpeechStopped]


class Heard(NamedTuple):
    """The open utterance so far, of a session that wants to know.

    `came_s`: when the last of the sound that it covers came to the engine, by the machine's monotonic clock.
    """

    session: int
    partial: Partial
    came_s: float


class Recognized(NamedTuple):
    """An utterance of the session.

    `text` is empty when nothing was said, `busy_s` what the recogniser took, `detail` there where the session wants it.
    `is_suppressed`: a text was recognised, and taken for noise. `ended_s`: when what ended the utterance came to the
    engine, by the machine's monotonic clock, which all its processes share.
    Where nothing was open when the client ended an utterance, it begins and ends at that time.
    """

    session: int
    start_s: float
    end_s: float
    cause: Cause
    text: str
    busy_s: float
    detail: Optional[Detail]
    is_suppressed: bool
    ended_s: float


class Closed(NamedTuple):
    """Answer to Finish and Abort: the engine knows nothing of the session any more."""

    session: int


class Logged(NamedTuple):
    """A log record of the engine process."""

    record: logging.LogRecord


Command = Union[Open, Input, Finish, Abort, Ping]
Answer = Union[Ready, StartFailed, Pong, Opened, Consumed, Working, Happened, Heard, Recognized, Closed, Logged]
OwnersAnswer = Union[Owns, OwnsNothing, StartFailed, Lent, Logged]

# What an engine may have waiting. It fits into a pipe, so that handing over a command does not block even when the
# engine is frozen. A pipe has 16 pages on Linux (pipe(7)), and a write may need whole ones; two are left for
# Open, Finish and Abort. A Ping goes to an idle engine only.
_PAGE_BYTES = 4096
WINDOW_BYTES = 14 * _PAGE_BYTES
CHUNK_BYTES = 15 * 1024  # with its overhead, four pages in one write
_COMMAND_OVERHEAD_BYTES = 128
_SETTINGS_BYTES = 256  # without the prompt


def cost_bytes(content: Content) -> int:
    """What an Input of it takes of the window: whole pages."""
    n_bytes = _COMMAND_OVERHEAD_BYTES
    if isinstance(content, bytes):
        n_bytes += len(content)
    elif isinstance(content, SessionSettings):
        n_bytes += _SETTINGS_BYTES + len(content.prompt.encode())
    return -(-n_bytes // _PAGE_BYTES) * _PAGE_BYTES
