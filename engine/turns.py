"""How busy the engines are, for each other to see: one byte of shared memory each, written by nobody but its owner."""

import enum
from typing import Any

from engine.cores import usable_cores

CORES = usable_cores()


class Work(enum.IntEnum):
    """What an engine does, the less urgent first."""

    NONE = 0
    AHEAD = 1  # on an utterance that may go on
    BEHIND = 2  # on an utterance of a client that sends faster than people speak
    LIVE = 3  # on an utterance that somebody waits for


class Board:
    """What every engine does.

    Args:
        context: of multiprocessing; the board goes to each engine as an argument of its process.
        n_engines: how many there are.
    """

    def __init__(self, context: Any, n_engines: int) -> None:
        self._marks = context.RawArray("B", n_engines)

    def mark(self, engine: int, work: Work) -> None:
        """The engine begins another work."""
        self._marks[engine] = work

    def others(self, engine: int, least: Work) -> int:
        """How many others do something at least that urgent."""
        marks = bytes(self._marks)
        return sum(mark >= least for mark in marks) - (marks[engine] >= least)

    def ahead_before(self, engine: int) -> int:
        """How many of the engines before this one work ahead: they go first."""
        return bytes(self._marks)[:engine].count(Work.AHEAD)
