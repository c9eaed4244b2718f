"""Median and worst of as many durations as come, in little memory. Pure."""

import math
from collections import Counter
from typing import Counter as CounterType

_STEP = math.log(1.05)  # a bin is 5 % wide: the median is right to half of that
_SHORTEST_S = 0.001  # what is shorter counts as that


class Latencies:
    """Durations in seconds; keeps how many there were of about each length."""

    def __init__(self) -> None:
        self._bins: CounterType[int] = Counter()
        self.worst_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._bins[round(math.log(max(seconds, _SHORTEST_S)) / _STEP)] += 1
        self.worst_s = max(self.worst_s, seconds)

    @property
    def median_s(self) -> float:
        """Of all, to 3 %; 0 without any."""
        n_left = sum(self._bins.values()) / 2
        for number in sorted(self._bins):
            n_left -= self._bins[number]
            if n_left <= 0:
                return min(math.exp(number * _STEP), self.worst_s)
        return 0.0
