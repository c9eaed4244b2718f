"""Messages too small to be speech, of which a client may send few: each costs the loop what a large one costs."""

from gateway.errors import BadRequest

_SMALL_BYTES = 32  # 4 ms of µ-law; with keep-alives and the shortest commands
_BURST = 1000.0
_EACH_S = 0.01  # afterwards


class Trickle:
    """A leaky bucket for one client.

    Args:
        now_s: on the clock of `take`.
    """

    def __init__(self, now_s: float) -> None:
        self._left = _BURST
        self._counted_s = now_s

    def take(self, size_bytes: int, now_s: float) -> None:
        """Raises BadRequest where a small message is one too many."""
        if size_bytes >= _SMALL_BYTES:
            return
        self._left = min(_BURST, self._left + (now_s - self._counted_s) / _EACH_S) - 1
        self._counted_s = now_s
        if self._left < 0:
            raise BadRequest(f"too many messages of less than {_SMALL_BYTES} bytes: put more sound into each")
