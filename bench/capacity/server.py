"""One server under clients that speak, simulated: when its cores have time for which utterance.

Each client has an engine. An engine begins with an utterance in a pause of at least 90 ms, as long as fewer engines
work than there are cores, and drops that work when speech goes on; utterances that have ended go first and share them.
"""

import heapq
from enum import IntEnum
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench.capacity.traffic import Pause, Utterance

_ALONE = 1.25  # times as fast is an engine that works alone: the encoder, 40 % of the work, has two threads


class Cost(NamedTuple):
    """What recognising takes, in seconds of one core.

    Attributes:
        each: for an utterance.
        per_second: for each second of it.
        streaming: cores for a client that is connected, whatever it says.
    """

    each: float
    per_second: float
    streaming: float

    def of(self, seconds: float) -> float:
        """An utterance of that length."""
        return self.each + self.per_second * seconds


class Outcome(NamedTuple):
    """What came out.

    Attributes:
        latencies_s: from the end of each utterance that silence ended to its text.
        cores: that were at work, mean.
        thrown_away: share of the work that was begun ahead in vain.
    """

    latencies_s: List[float]
    cores: float
    thrown_away: float


class _Kind(IntEnum):
    """Of what happens; at the same moment in this order."""

    RESUME = 0
    OVER = 1
    PAUSE = 2


class _Job:
    """Work of one engine."""

    def __init__(self, begin_s: float, work_s: float, over_s: Optional[float]) -> None:
        self.utterance_begin_s = begin_s
        self.work_s = work_s
        self.done_s = 0.0
        self.over_s = over_s  # when the utterance ended; None: it has not, the work is ahead of time
        self.counts = False


def simulate(
    clients: Sequence[Tuple[float, Sequence[Utterance]]],
    cores: int,
    cost: Cost,
    window_s: Tuple[float, float],
    ahead: bool = True,
) -> Outcome:
    """Let clients speak to a server.

    Args:
        clients: when each begins, and what it says.
        cores: of the machine.
        cost: of recognising.
        window_s: what ends in this time counts.
        ahead: engines begin in pauses.
    """
    return _Simulation(clients, cores, cost, window_s, ahead).run()


class _Simulation:
    def __init__(
        self,
        clients: Sequence[Tuple[float, Sequence[Utterance]]],
        cores: int,
        cost: Cost,
        window_s: Tuple[float, float],
        ahead: bool,
    ) -> None:
        self._cost = cost
        self._window_s = window_s
        self._clients = len(clients)
        self._cores = cores - cost.streaming * len(clients)
        self._places = cores
        self._jobs: Dict[int, _Job] = {}  # what each engine works at
        self._waiting: Dict[int, List[_Job]] = {}  # what has ended while it was at work
        self._pausing: Dict[int, Tuple[Utterance, Pause]] = {}
        self._ready: Dict[int, float] = {}  # start of the utterance whose text is there already
        self._now = 0.0
        self._worked = self._wasted = 0.0
        self._latencies_s: List[float] = []
        self._events: List[Tuple[float, int, int, Utterance, Optional[Pause]]] = []
        for client, (offset_s, spoken) in enumerate(clients):
            for utterance in (one.shifted(offset_s) for one in spoken):
                if ahead:
                    for pause in utterance.pauses:
                        self._events.append((pause.begin_s, _Kind.PAUSE, client, utterance, pause))
                        if pause.end_s < utterance.over_s:
                            self._events.append((pause.end_s, _Kind.RESUME, client, utterance, pause))
                self._events.append((utterance.over_s, _Kind.OVER, client, utterance, None))
        heapq.heapify(self._events)

    def run(self) -> Outcome:
        while self._events or self._jobs:
            time_s = self._events[0][0] if self._events else float("inf")
            finished = self._work_until(time_s)
            if finished is not None:
                self._finish(finished)
            else:
                _, kind, client, utterance, pause = heapq.heappop(self._events)
                self._happen(_Kind(kind), client, utterance, pause)
            self._begin_ahead()
        span_s = self._window_s[1] - self._window_s[0]
        cores = self._worked / span_s + self._cost.streaming * self._clients
        return Outcome(self._latencies_s, cores, self._wasted / self._worked if self._worked else 0.0)

    # --- time

    def _work_until(self, time_s: float) -> Optional[int]:
        """Go on to that time, or to where an engine is done before it; returns that engine."""
        rates = self._rates()
        first, at_s = None, time_s
        for engine, rate in rates.items():
            job = self._jobs[engine]
            if rate > 0:
                done_s = self._now + (job.work_s - job.done_s) / rate
                if done_s <= at_s:
                    first, at_s = engine, done_s
        if at_s == float("inf"):
            raise RuntimeError("engines with work have no core")
        counted_s = max(0.0, min(at_s, self._window_s[1]) - max(self._now, self._window_s[0]))
        for engine, rate in rates.items():
            self._jobs[engine].done_s += rate * (at_s - self._now)
            self._worked += rate * counted_s
        self._now = at_s
        return first

    def _rates(self) -> Dict[int, float]:
        """How much of the cores each engine has: who recognises what has ended goes first."""
        if len(self._jobs) == 1:
            return dict.fromkeys(self._jobs, min(_ALONE, self._cores))
        firm = [engine for engine, job in self._jobs.items() if job.over_s is not None]
        early = [engine for engine, job in self._jobs.items() if job.over_s is None]
        each = min(1.0, self._cores / len(firm)) if firm else 0.0
        left = max(0.0, self._cores - each * len(firm))
        rest = min(1.0, left / len(early)) if early else 0.0
        return {**dict.fromkeys(firm, each), **dict.fromkeys(early, rest)}

    # --- what happens

    def _happen(self, kind: _Kind, client: int, utterance: Utterance, pause: Optional[Pause]) -> None:
        if kind is _Kind.PAUSE and pause is not None:
            self._pausing[client] = (utterance, pause)
        elif kind is _Kind.RESUME:
            self._pausing.pop(client, None)
            self._ready.pop(client, None)
            job = self._jobs.get(client)
            if job is not None and job.over_s is None:
                self._throw_away(client)
        else:
            self._pausing.pop(client, None)
            self._end(client, utterance)

    def _end(self, client: int, utterance: Utterance) -> None:
        counts = not utterance.is_cut and self._window_s[0] <= utterance.over_s < self._window_s[1]
        if self._ready.pop(client, None) == utterance.start_s:
            if counts:
                self._latencies_s.append(0.0)
            return
        job = self._jobs.get(client)
        if job is not None and job.over_s is None and job.utterance_begin_s == utterance.start_s:
            job.over_s, job.counts = utterance.over_s, counts
            return
        end_s = utterance.pauses[-1].begin_s if utterance.pauses and not utterance.is_cut else utterance.over_s
        new = _Job(utterance.start_s, self._cost.of(end_s - utterance.start_s), utterance.over_s)
        new.counts = counts
        if job is None:
            self._jobs[client] = new
        else:
            self._waiting.setdefault(client, []).append(new)

    def _finish(self, engine: int) -> None:
        job = self._jobs.pop(engine)
        if job.over_s is None:
            self._ready[engine] = job.utterance_begin_s
        elif job.counts:
            self._latencies_s.append(self._now - job.over_s)
        if self._waiting.get(engine):
            self._jobs[engine] = self._waiting[engine].pop(0)

    def _throw_away(self, engine: int) -> None:
        job = self._jobs.pop(engine)
        self._wasted += job.done_s
        if self._waiting.get(engine):
            self._jobs[engine] = self._waiting[engine].pop(0)

    def _begin_ahead(self) -> None:
        for engine, (utterance, pause) in list(self._pausing.items()):
            if len(self._jobs) >= self._places:
                return
            if engine not in self._jobs and self._ready.get(engine) != utterance.start_s:
                work_s = self._cost.of(pause.begin_s - utterance.start_s)
                self._jobs[engine] = _Job(utterance.start_s, work_s, None)
