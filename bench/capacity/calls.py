"""Sessions that come and go over many servers, simulated."""

import heapq
import random
from collections import deque
from typing import Deque, List, NamedTuple, Optional, Sequence, Tuple


class Fleet(NamedTuple):
    """What serves.

    Attributes:
        engines: of each server.
        queue: how long a client waits for a free engine, in mean lengths of a session; 0: it is refused at once.
        balanced: a client gets the server with the fewest sessions; otherwise any one, whatever it has to do.
    """

    engines: Sequence[int]
    queue: float = 0.0
    balanced: bool = True


class Outcome(NamedTuple):
    """What became of the sessions.

    Attributes:
        offered: all that came.
        refused: that found no engine.
        waited: that had to wait for one.
        in_use: engines at work, mean over time.
    """

    offered: int
    refused: int
    waited: int
    in_use: float

    @property
    def refused_share(self) -> float:
        """Of all that came."""
        return self.refused / self.offered


def divided(engines: int, servers: int) -> List[int]:
    """Engines of each server, as even as can be."""
    return [(engines + number) // servers for number in range(servers)]


def simulate(fleet: Fleet, load: float, sessions: int, chance: random.Random, spread: float = 1.0) -> Outcome:
    """So many sessions; the first finds as many others as there are in the long run.

    Args:
        fleet: what serves them.
        load: offered, in erlang.
        sessions: that come.
        chance: when they come, and how long they last.
        spread: of their lengths: sigma of the logarithm (the mean is 1); 0: all are as long.
    """
    return _Simulation(fleet, load, chance, spread).run(sessions)


class _Simulation:
    """Time in mean lengths of a session."""

    def __init__(self, fleet: Fleet, load: float, chance: random.Random, spread: float) -> None:
        self._fleet = fleet
        self._load = load
        self._chance = chance
        self._spread = spread
        self._busy = [0] * len(fleet.engines)
        self._fewest: List[Tuple[int, int]] = [(0, server) for server in range(len(fleet.engines))]
        self._ends: List[Tuple[float, int]] = []
        self._queue: Deque[float] = deque()  # when each came
        self._now = 0.0
        self._busy_time = 0.0
        self._refused = self._waited = 0

    def run(self, sessions: int) -> Outcome:
        self._fill()
        arrival = 0.0
        for _ in range(sessions):
            arrival += self._chance.expovariate(self._load)
            self._advance(arrival)
            self._arrive()
        return Outcome(sessions, self._refused, self._waited, self._busy_time / self._now)

    def _fill(self) -> None:
        """Sessions that are there already: long ones more likely than short ones, each anywhere in its course."""
        there = round(self._chance.gauss(self._load, self._load**0.5))
        for _ in range(there):
            server = self._choose()
            if server is not None:
                self._begin(server, self._chance.random() * self._length(self._spread * self._spread / 2))

    def _advance(self, until: float) -> None:
        while self._ends and self._ends[0][0] <= until:
            self._tick(self._ends[0][0])
            _, server = heapq.heappop(self._ends)
            self._leave(server)
        self._tick(until)

    def _tick(self, time: float) -> None:
        self._busy_time += len(self._ends) * (time - self._now)
        self._now = time

    def _arrive(self) -> None:
        server = self._choose()
        if server is not None:
            self._begin(server, self._length())
        elif self._fleet.queue:
            self._queue.append(self._now)
        else:
            self._refused += 1

    def _choose(self) -> Optional[int]:
        if not self._fleet.balanced:
            server = self._chance.randrange(len(self._busy))
            return server if self._busy[server] < self._fleet.engines[server] else None
        while self._fewest:  # entries that have been overtaken are left in the heap
            count, server = self._fewest[0]
            if count == self._busy[server] < self._fleet.engines[server]:
                return server
            heapq.heappop(self._fewest)  # a server that is full is back in the heap when a session ends
        return None

    def _length(self, mu: Optional[float] = None) -> float:
        """Of a session; `mu`: mean of the logarithm where it is not that of all sessions."""
        mean_1 = -self._spread * self._spread / 2
        return self._chance.lognormvariate(mean_1 if mu is None else mu, self._spread)

    def _begin(self, server: int, length: float) -> None:
        self._change(server, 1)
        heapq.heappush(self._ends, (self._now + length, server))

    def _leave(self, server: int) -> None:
        self._change(server, -1)
        while self._queue:
            waited = self._now - self._queue.popleft()
            if waited <= self._fleet.queue:
                self._waited += 1
                self._begin(server, self._length())
                return
            self._refused += 1

    def _change(self, server: int, by: int) -> None:
        self._busy[server] += by
        if self._fleet.balanced:
            heapq.heappush(self._fewest, (self._busy[server], server))
