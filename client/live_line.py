"""The line of a terminal that shows what is being said: it is written again and again until it becomes a result."""

import os
from typing import TextIO, Tuple

from client.formats import columns
from protocol.data import Partial
from protocol.packets import printable

_DIM, _PLAIN = "\x1b[2m", "\x1b[22m"
_CLEAR_BELOW = "\x1b[J"
_CUT = "…"


def can_show(stream: TextIO) -> bool:
    """Whether it is a terminal that rewrites lines."""
    return stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")


class LiveLine:
    """Below the results of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown_columns = 0

    def draw(self, partial: Partial) -> None:
        """Show it in place of what was shown before."""
        width = self._width()
        line, shown = rendered(partial, width)
        self._write(cleared(self._shown_columns, width) + line)
        self._shown_columns = shown

    def clear(self) -> None:
        """Leave the line empty, with the cursor at its beginning."""
        if self._shown_columns:
            self._write(cleared(self._shown_columns, self._width()))
            self._shown_columns = 0

    def _width(self) -> int:
        return os.get_terminal_size(self._stream.fileno()).columns or 80

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def rendered(partial: Partial, width: int) -> Tuple[str, int]:
    """Stable text plain, unstable dim, in one line of `width` columns, and how many it takes.

    A long beginning is left out. The last column stays free: some terminals go on to the next line there.
    """
    stable, unstable = printable(partial.stable), printable(partial.unstable)
    text = " ".join(part for part in (stable, unstable) if part)
    dim_from = len(text) - len(unstable)
    first = _first_that_fits(text, max(1, width - 1))
    cut = _CUT if first else ""
    plain, dim = text[first : max(first, dim_from)], text[max(first, dim_from) :]
    return cut + plain + (f"{_DIM}{dim}{_PLAIN}" if dim else ""), columns(cut + plain + dim)


def _first_that_fits(text: str, width: int) -> int:
    """From which character on it fits, with a sign before it that something is missing."""
    if columns(text) <= width:
        return 0
    room, first = width - columns(_CUT), len(text)
    while first and columns(text[first - 1]) <= room:
        first -= 1
        room -= columns(text[first])
    return first


def cleared(shown_columns: int, width: int) -> str:
    """What removes a line of so many columns, also where the terminal has become narrower and has broken it."""
    rows = max(1, -(-shown_columns // width))
    up = f"\x1b[{rows - 1}A" if rows > 1 else ""
    return f"{up}\r{_CLEAR_BELOW}"
