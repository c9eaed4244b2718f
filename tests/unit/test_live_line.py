"""The line of a terminal that is written again and again, on a terminal that is played here."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.formats import columns
from client.live_line import cleared, rendered
from protocol.data import Partial

DIM = re.compile(r"\x1b\[2m(.*?)\x1b\[22m")


class Screen:
    """What a terminal shows: rows of cells, wrapped where a row is full; the codes that a live line uses."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    def write(self, text: str) -> None:
        for token in re.findall(r"\x1b\[\d*[A-Za-z]|.", text, re.DOTALL):
            self._take(token)

    def _take(self, token: str) -> None:
        if token == "\r":
            self.column = 0
        elif token == "\n":
            self._down()
        elif token == "\x1b[J":
            del self.rows[self.row + 1 :]
            del self.rows[self.row][self.column :]
        elif up := re.fullmatch(r"\x1b\[(\d+)A", token):
            self.row = max(0, self.row - int(up[1]))
        elif not re.fullmatch(r"\x1b\[\d+m", token):
            assert token.isprintable()
            self._put(token)

    def _put(self, char: str) -> None:
        if not columns(char):  # joins what is before it
            return
        if self.column + columns(char) > self.width:
            self._down()
        cells = self.rows[self.row]
        cells[self.column : self.column + columns(char)] = [char] + [""] * (columns(char) - 1)
        self.column += columns(char)

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append([])

    @property
    def lines(self) -> list[str]:
        return ["".join(cells) for cells in self.rows]


def partial(stable: str, unstable: str) -> Partial:
    return Partial(1.0, 2.0, stable, unstable)


def test_stable_text_is_plain_and_what_may_change_is_dim() -> None:
    assert rendered(partial("hello", "there"), 80) == ("hello \x1b[2mthere\x1b[22m", 11)
    assert rendered(partial("hello", ""), 80) == ("hello", 5)
    assert rendered(partial("", "there"), 80) == ("\x1b[2mthere\x1b[22m", 5)
    assert rendered(partial("안녕", "하"), 80)[1] == 7


def test_of_a_text_that_is_too_long_the_end_is_shown() -> None:
    assert rendered(partial("one two three", "four"), 12) == ("…three \x1b[2mfour\x1b[22m", 11)
    assert rendered(partial("one", "two three four"), 9) == ("…\x1b[2mee four\x1b[22m", 8)


def test_a_wide_character_is_left_out_as_a_whole() -> None:
    line, shown = rendered(partial("가나다라마", ""), 8)
    assert (line, shown) == ("…다라마", 7)
    line, shown = rendered(partial("가나다라마", ""), 9)
    assert (line, shown) == ("…다라마", 7)


TEXTS = st.text(st.sampled_from("ab 가나漢ｆ\u0301\x1b\n\t…"), max_size=60) | st.text(max_size=20)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=8), st.integers(3, 40))
def test_a_line_that_is_rewritten_leaves_no_litter(texts: list[tuple[str, str]], width: int) -> None:
    screen = Screen(width)
    screen.write("a result\n" if width > 8 else "r\n")
    above = list(screen.lines[:-1])
    shown = 0
    for stable, unstable in texts:
        line, following = rendered(partial(stable, unstable), width)
        screen.write(cleared(shown, width) + line)
        shown = following
        assert screen.lines[:-1] == above
        assert screen.lines[-1] == "".join(char for char in DIM.sub(r"\1", line) if columns(char))
        assert columns(screen.lines[-1]) == shown < width
    screen.write(cleared(shown, width))
    assert screen.lines == [*above, ""]


@pytest.mark.parametrize("narrower", [10, 13, 39])
def test_a_line_that_a_narrower_terminal_has_broken_is_removed_as_a_whole(narrower: int) -> None:
    line, shown = rendered(partial("abcdefghi " * 3, "jklmnopq"), 40)
    screen = Screen(narrower)
    screen.write("above\n" + line)
    screen.write(cleared(shown, narrower))
    assert screen.lines == ["above", ""]
