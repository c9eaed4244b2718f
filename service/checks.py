"""How often a check that costs something is made, and what came of it. Pure."""

import math
import time
from typing import Callable, NamedTuple, Optional, Tuple

INTERVAL_S = 10.0  # between two checks, whatever is asked
LIMIT_S = 10.0  # for one


class Checked(NamedTuple):
    """What came of a check: `has_run` unless no engine was idle."""

    is_good: bool
    line: str
    has_run: bool = True


class CheckTimes:
    """Whether a check is due; for one thread at a time.

    Args:
        now_s: a monotonic clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._is_running = False
        self._last: Optional[Checked] = None
        self._begun_s = -math.inf  # the check under way
        self._began_s = -math.inf  # the last one
        self._ended_s = -math.inf

    @property
    def must_wait(self) -> bool:
        """Whether there is nothing to tell before the check under way has ended."""
        return self._is_running and self._last is None

    def begin(self) -> Optional[Tuple[Checked, float]]:
        """The last check and its age in seconds, where that is new enough or another is under way.

        None otherwise: a check begins now, and `end` has to follow.
        """
        now_s = self._now_s()
        if self._last is not None and (self._is_running or now_s - self._began_s < INTERVAL_S):
            return self._last, now_s - self._ended_s
        self._is_running = True
        self._begun_s = now_s
        return None

    def end(self, checked: Optional[Checked]) -> None:
        """What came of it; None: it failed in itself, and counts as little as one that has not run."""
        if checked is not None and checked.has_run:
            self._last, self._began_s, self._ended_s = checked, self._begun_s, self._now_s()
        self._is_running = False
