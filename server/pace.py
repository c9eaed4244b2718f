"""How fast a client may send. Pure: knows no clock."""

_BURST_S = 5.0  # of sending at the limit that a client may catch up on, after a network that stood still


class Pace:
    """The generic cell rate algorithm (ITU-T I.371, annex A) over seconds of audio.

    Args:
        max_speed: times real time; 0 for no limit.
    """

    def __init__(self, max_speed: float) -> None:
        self._max_speed = max_speed
        self._due_s = 0.0  # when what has come would have come at exactly the limit

    def wait_s(self, audio_s: float, now_s: float) -> float:
        """So many seconds of audio came now: how long to take no more."""
        if not self._max_speed:
            return 0.0
        self._due_s = max(self._due_s, now_s - _BURST_S) + audio_s / self._max_speed
        return max(0.0, self._due_s - now_s)
