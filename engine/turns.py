"""How busy the engines are, for each other to see: shared memory, of which each engine writes its own part.

Each has a bell, too (bells.py), which is rung by whoever leaves its turn to it.
"""

import enum
from typing import Any, Callable, Iterator, List, Optional, Tuple

from engine.bells import Bells
from engine.cores import usable_cores

CORES = usable_cores()
# On a card only one process computes at a time, and each for less than half of the time: between its kernels it waits
# for its own host. (Computed, docs/gpu.md; each needs a core to tell the card what to do.)
_CARD_SEATS = 4

_FORGOTTEN_S = 2.0  # who has waited longer than this for its turn is not there to take it
_UNSEEN_S = 1.0  # who computes and has not asked for so long whether it may go on does not compute


class Work(enum.IntEnum):
    """What an engine does, the less urgent first."""

    NONE = 0
    LIVE_TEXT = 1  # of an utterance that goes on
    AHEAD = 2  # on an utterance that may go on
    BEHIND = 3  # on an utterance of a client that sends faster than people speak
    LIVE = 4  # on an utterance that somebody waits for


class Board:
    """Where every engine computes, what it does, and since when it waits for a turn.

    An engine shares turns with those that compute where it does: on the processor, or on the same card.

    Args:
        context: of multiprocessing; the board goes to each engine as an argument of its process.
        n_engines: how many there are.
    """

    def __init__(self, context: Any, n_engines: int) -> None:
        self._marks = context.RawArray("B", n_engines)
        self._waiting_since_s = context.RawArray("d", n_engines)
        self._asked_since_s = context.RawArray("d", n_engines)  # for a result that is waited for, or will be
        self._seen_s = context.RawArray("d", n_engines)
        self._places = context.RawArray("B", n_engines)  # 0: the processor, else the card's index and 1
        self._resting = context.RawArray("B", n_engines)  # until its bell rings
        self._bells = Bells()

    def settle(self, engine: int, card: Optional[int]) -> None:
        """The engine computes on that card, or on the processor."""
        self._places[engine] = 0 if card is None else 1 + card

    def seats(self, engine: int) -> int:
        """How many engines may compute at once where this one does, without each being slower."""
        return CORES if self._places[engine] == 0 else min(_CARD_SEATS, CORES)

    def mark(self, engine: int, work: Work) -> None:
        """The engine begins another work, and waits for no turn."""
        before, self._marks[engine] = self._marks[engine], work
        self._waiting_since_s[engine] = 0.0
        if work < before and before >= Work.AHEAD:
            self._ring(engine)

    def rest(self, engine: int, timeout_s: float, may_go: Callable[[], bool]) -> None:
        """Sleep so long, or until one that was before this engine is done, unless it `may_go` by now."""
        self._bells.forget(engine)
        self._resting[engine] = 1  # before it asks: who is done from now on rings
        if not may_go():
            self._bells.wait(engine, timeout_s)
        self._resting[engine] = 0

    def wait(self, engine: int, since_s: float) -> None:
        """The engine wants a turn at live text since then, by the machine's monotonic clock; 0: it does not."""
        self._waiting_since_s[engine] = since_s

    def is_next(self, engine: int, now_s: float) -> bool:
        """Whether no other engine has waited longer for a turn at live text."""
        own_s = self._waiting_since_s[engine]
        return not any(now_s - _FORGOTTEN_S < since_s < own_s for since_s in self._waiting(engine))

    def is_waited_for(self, engine: int, now_s: float) -> bool:
        """Whether an engine waits for a turn at live text where this one computes."""
        return any(now_s - _FORGOTTEN_S < since_s for since_s in self._waiting(engine))

    def others(self, engine: int, least: Work) -> int:
        """How many others do something at least that urgent."""
        marks = self._marks_beside(engine)
        return sum(map(marks.count, range(least, Work.LIVE + 1))) - int(self._marks[engine] >= least)

    def work_for(self, engine: int, since_s: float, now_s: float) -> None:
        """The engine is about to begin work for somebody who waits since then, or will wait from then on."""
        self._asked_since_s[engine], self._seen_s[engine] = since_s, now_s

    def live_before(self, engine: int, now_s: float) -> int:
        """How many engines do LIVE work for who has waited longer; notes that this one is still at its own."""
        return self._before(engine, Work.LIVE, now_s)

    def ahead_before(self, engine: int, now_s: float) -> int:
        """How many engines work ahead for who will wait sooner; notes that this one is still at its own."""
        return self._before(engine, Work.AHEAD, now_s)

    def _before(self, engine: int, work: Work, now_s: float) -> int:
        self._seen_s[engine] = now_s
        own = (self._asked_since_s[engine], engine)
        return sum(
            turn < own and now_s - self._seen_s[turn[1]] < _UNSEEN_S for turn in self._turns(work, self._places[engine])
        )

    def _ring(self, engine: int) -> None:
        """Wake those whose turn it may be where this engine has computed."""
        place, n_free = self._places[engine], self.seats(engine)
        for work in (Work.LIVE, Work.BEHIND, Work.AHEAD):
            for _, index in sorted(self._turns(work, place))[: max(0, n_free)]:
                n_free -= 1
                if self._resting[index]:
                    self._bells.ring(index)

    def _turns(self, work: Work, place: int) -> List[Tuple[float, int]]:
        """Since when those who do it there are waited for, and their numbers."""
        at_work = self._engines_at(work)
        return [(self._asked_since_s[index], index) for index in at_work if self._places[index] == place]

    def _engines_at(self, work: Work) -> Iterator[int]:
        """All that do it, wherever they compute; asked for each token, so what they do is not looked at one by one."""
        marks = bytes(self._marks)
        index = marks.find(work)
        while index >= 0:
            yield index
            index = marks.find(work, index + 1)

    def _marks_beside(self, engine: int) -> bytes:
        """What engines do that compute where this one does."""
        marks, places, place = bytes(self._marks), bytes(self._places), self._places[engine]
        if places.count(place) == len(places):
            return marks
        return bytes(mark for mark, its_place in zip(marks, places) if its_place == place)

    def _waiting(self, engine: int) -> Iterator[float]:
        place = self._places[engine]
        return (
            since_s for since_s, its_place in zip(self._waiting_since_s, self._places) if since_s and its_place == place
        )
