"""What one client is sent and has not taken yet. Pure: knows no clock, no socket."""

import math


class Outbox:
    """Bytes in order, and how long a client may take over them.

    Args:
        timeout_s: what is queued at some moment has to be taken within that time.

    Attributes:
        due_s: when a client that has not taken it is to be given up; infinite while nothing is queued.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._queued = bytearray()
        self._marked_bytes = 0  # that were queued when the time began
        self.due_s = math.inf

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, packets: bytes, now_s: float) -> None:
        """Queue packets."""
        self._queued += packets
        if self.due_s == math.inf:
            self._mark(now_s)

    def first(self, n_bytes: int) -> bytes:
        """What comes next, so much at most."""
        return bytes(self._queued[:n_bytes])

    def taken(self, n_bytes: int, now_s: float) -> None:
        """The client has taken so much of it."""
        del self._queued[:n_bytes]
        self._marked_bytes -= n_bytes
        if self._marked_bytes <= 0:
            self._mark(now_s)

    def clear(self) -> None:
        """Nobody takes it any more."""
        self._queued.clear()
        self.due_s = math.inf

    def _mark(self, now_s: float) -> None:
        self._marked_bytes = len(self._queued)
        self.due_s = now_s + self._timeout_s if self._queued else math.inf
