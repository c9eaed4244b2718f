"""How busy the engines are, for each other to see: shared memory, of which each engine writes its own part."""

import enum
from typing import Any

from engine.cores import usable_cores

CORES = usable_cores()

_FORGOTTEN_S = 2.0  # who has waited longer than this for its turn is not there to take it


class Work(enum.IntEnum):
    """What an engine does, the less urgent first."""

    NONE = 0
    LIVE_TEXT = 1  # of an utterance that goes on
    AHEAD = 2  # on an utterance that may go on
    BEHIND = 3  # on an utterance of a client that sends faster than people speak
    LIVE = 4  # on an utterance that somebody waits for


class Board:
    """What every engine does, and since when it waits for a turn at live text.

    Args:
        context: of multiprocessing; the board goes to each engine as an argument of its process.
        n_engines: how many there are.
    """

    def __init__(self, context: Any, n_engines: int) -> None:
        self._marks = context.RawArray("B", n_engines)
        self._waiting_since_s = context.RawArray("d", n_engines)

    def mark(self, engine: int, work: Work) -> None:
        """The engine begins another work, and waits for no turn."""
        self._marks[engine] = work
        self._waiting_since_s[engine] = 0.0

    def wait(self, engine: int, since_s: float) -> None:
        """The engine wants a turn at live text since then, by the machine's monotonic clock; 0: it does not."""
        self._waiting_since_s[engine] = since_s

    def is_next(self, engine: int, now_s: float) -> bool:
        """Whether no other engine has waited longer for a turn at live text."""
        since_s = list(self._waiting_since_s)
        return not any(now_s - _FORGOTTEN_S < other_s < since_s[engine] for other_s in since_s if other_s)

    def others(self, engine: int, least: Work) -> int:
        """How many others do something at least that urgent."""
        marks = bytes(self._marks)
        return sum(mark >= least for mark in marks) - (marks[engine] >= least)

    def ahead_before(self, engine: int) -> int:
        """How many of the engines before this one work ahead: they go first."""
        return bytes(self._marks)[:engine].count(Work.AHEAD)
