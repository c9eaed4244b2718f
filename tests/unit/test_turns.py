"""What the engines see of each other."""

from __future__ import annotations

import multiprocessing

import pytest

from engine.turns import Board, Work


@pytest.fixture
def board() -> Board:
    return Board(multiprocessing.get_context("forkserver"), 3)


def test_an_engine_counts_the_others_that_do_something_at_least_that_urgent(board: Board) -> None:
    board.mark(0, Work.LIVE)
    board.mark(1, Work.LIVE_TEXT)
    assert [board.others(engine, Work.AHEAD) for engine in range(3)] == [0, 1, 1]
    assert [board.others(engine, Work.LIVE_TEXT) for engine in range(3)] == [1, 1, 2]


def test_who_has_waited_longest_for_a_turn_at_live_text_is_next(board: Board) -> None:
    board.wait(2, 10.0)
    board.wait(0, 10.5)
    assert [board.is_next(engine, 11.0) for engine in (0, 2)] == [False, True]
    board.wait(2, 0.0)
    assert board.is_next(0, 11.0)


def test_who_has_begun_other_work_waits_for_no_turn(board: Board) -> None:
    board.wait(2, 10.0)
    board.wait(0, 10.5)
    board.mark(2, Work.LIVE)
    assert board.is_next(0, 11.0)


def test_who_does_not_take_its_turn_is_not_waited_for(board: Board) -> None:
    board.wait(2, 10.0)
    board.wait(0, 10.5)
    assert not board.is_next(0, 11.9)
    assert board.is_next(0, 12.1)
