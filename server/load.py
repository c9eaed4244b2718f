"""How busy the engines are, for the log. Pure: knows no clock."""

from typing import NamedTuple, Optional

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
    """Adds up what the engines do, period by period."""

    def __init__(self) -> None:
        self._load = Load()
        self._began_s = 0.0

    def add(self, now_s: float, speech_s: float, busy_s: float) -> Optional[Load]:
        """Count a segment that was recognised; returns the period's load when it closes one.

        A period begins with its first segment, and lasts at least PERIOD_S.
        """
        if not self._load.segments:
            self._began_s = now_s
        load = self._load
        self._load = Load(load.segments + 1, load.speech_s + speech_s, load.busy_s + busy_s)
        if now_s - self._began_s < PERIOD_S:
            return None
        closed, self._load = self._load, Load()
        return closed
