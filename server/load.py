"""How busy the engines are, for the log. Pure: knows no clock."""

import math
from typing import NamedTuple

PERIOD_S = 60.0


class Load(NamedTuple):
    """What the engines did in a period.

    Attributes:
        segments: that were recognised.
        speech_s: seconds that they lasted.
        busy_s: seconds that their recognition took.
    """

    segments: int = 0
    speech_s: float = 0.0
    busy_s: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of recognition for a second of speech."""
        return self.busy_s / self.speech_s


class LoadMeter:
    """Adds up what the engines do in a minute; a minute begins with its first segment.

    Attributes:
        due_s: when the minute is over and its load to be taken; infinite while there is none.
    """

    def __init__(self) -> None:
        self._load = Load()
        self.due_s = math.inf

    def add(self, now_s: float, speech_s: float, busy_s: float) -> bool:
        """Count a segment that was recognised; returns whether a minute begins with it."""
        load = self._load
        self._load = Load(load.segments + 1, load.speech_s + speech_s, load.busy_s + busy_s)
        if load.segments:
            return False
        self.due_s = now_s + PERIOD_S
        return True

    def take(self) -> Load:
        """The load of the minute that is over."""
        load, self._load = self._load, Load()
        self.due_s = math.inf
        return load
