"""What the engines see of each other."""

from __future__ import annotations

import errno
import multiprocessing
import pickle
import threading
import time
from typing import Optional, Tuple

import pytest

from engine import bells, turns
from engine.bells import Bells
from engine.turns import Board, Work
from tests.harness.engines import wait_until


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


def test_a_turn_is_waited_for_by_who_wants_one_and_has_not_waited_too_long(board: Board) -> None:
    assert not board.is_waited_for(0, 10.0)
    board.wait(1, 10.0)
    assert board.is_waited_for(0, 11.9)
    assert not board.is_waited_for(0, 12.1)
    board.wait(1, 0.0)
    assert not board.is_waited_for(0, 11.0)


def test_results_that_are_waited_for_come_in_the_order_in_which_they_were(board: Board) -> None:
    for engine, since_s in ((0, 10.2), (1, 10.0), (2, 10.1)):
        board.work_for(engine, since_s, 10.3)
        board.mark(engine, Work.LIVE)
    assert [board.live_before(engine, 10.4) for engine in range(3)] == [2, 0, 1]
    board.mark(1, Work.NONE)
    assert board.live_before(0, 10.5) == 1


def test_of_two_that_wait_since_the_same_moment_one_is_first(board: Board) -> None:
    for engine in (0, 1):
        board.work_for(engine, 10.0, 10.0)
        board.mark(engine, Work.LIVE)
    assert sorted(board.live_before(engine, 10.0) for engine in (0, 1)) == [0, 1]


def test_who_is_frozen_keeps_nobody_waiting(board: Board) -> None:
    for engine, since_s in ((0, 10.0), (1, 10.5)):
        board.work_for(engine, since_s, since_s)
        board.mark(engine, Work.LIVE)
    assert board.live_before(1, 10.9) == 1
    assert board.live_before(1, 11.1) == 0


# --- whose turn it is next


def asked(board: Board, work: Work, *since_s: float) -> None:
    """Engine by engine, all at the same work, for who waits since then."""
    for engine, asked_s in enumerate(since_s):
        board.work_for(engine, asked_s, asked_s)
        board.mark(engine, work)


def rest(board: Board, *engines: int) -> None:
    for engine in engines:
        board._bells.forget(engine)
        board._resting[engine] = 1


def rings(board: Board, engine: int) -> bool:
    return board._bells.wait(engine, 0.001)


@pytest.fixture
def one_seat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "CORES", 1)


def test_work_ahead_is_begun_for_who_will_wait_soonest(board: Board) -> None:
    asked(board, Work.AHEAD, 10.2, 10.0, 10.1)
    assert [board.ahead_before(engine, 10.3) for engine in range(3)] == [2, 0, 1]
    assert board.ahead_before(0, 20.0) == 0  # the others are frozen


def test_who_rests_is_woken_when_the_one_before_is_done(board: Board, one_seat: None) -> None:
    asked(board, Work.LIVE, 10.0, 10.1, 10.2)
    resting = threading.Thread(target=board.rest, args=(1, 60.0, lambda: False))
    resting.start()
    rest(board, 2)
    wait_until(lambda: board._resting[1] == 1)
    board.mark(0, Work.NONE)
    resting.join(30.0)
    assert not resting.is_alive()
    assert not rings(board, 2)


@pytest.mark.parametrize(
    ("others", "woken"),
    [
        ((Work.LIVE, Work.AHEAD), 1),
        ((Work.AHEAD, Work.LIVE), 2),
        ((Work.BEHIND, Work.AHEAD), 1),
        ((Work.AHEAD, Work.BEHIND), 2),
        ((Work.AHEAD, Work.AHEAD), 1),
        ((Work.LIVE_TEXT, Work.NONE), None),
    ],
)
def test_what_is_more_urgent_is_woken_first(
    board: Board, one_seat: None, others: Tuple[Work, Work], woken: Optional[int]
) -> None:
    asked(board, Work.LIVE, 10.0, 10.1, 10.2)
    for engine, work in enumerate(others, 1):
        board.mark(engine, work)
    rest(board, 0, 1, 2)
    board.mark(0, Work.NONE)
    assert [rings(board, engine) for engine in range(3)] == [engine == woken for engine in range(3)]


def test_nobody_is_woken_by_work_that_begins_or_by_a_look_that_ends(board: Board, one_seat: None) -> None:
    asked(board, Work.AHEAD, 10.0, 10.1, 10.2)
    rest(board, 0, 1, 2)
    board.mark(0, Work.LIVE)
    board.mark(1, Work.AHEAD)
    assert not any(rings(board, engine) for engine in range(3))
    board.mark(0, Work.LIVE_TEXT)
    assert rings(board, 1)
    board.mark(0, Work.NONE)
    assert not any(rings(board, engine) for engine in range(3))


def test_those_that_compute_elsewhere_are_not_woken(board: Board) -> None:
    board.settle(1, 0)
    board.settle(2, 1)
    asked(board, Work.LIVE, 10.0, 10.1, 10.2)
    rest(board, 0, 1, 2)
    board.mark(0, Work.NONE)
    assert not any(rings(board, engine) for engine in range(3))


def test_nobody_rests_for_longer_than_it_wants_to(board: Board) -> None:
    began_s = time.monotonic()
    board.rest(0, 0.01, lambda: False)
    assert time.monotonic() - began_s >= 0.01
    assert not board._resting[0]


def test_who_may_go_by_now_does_not_rest(board: Board) -> None:
    began_s = time.monotonic()
    board.rest(0, 60.0, lambda: True)
    assert time.monotonic() - began_s < 60.0
    assert not board._resting[0]


# --- bells


def test_a_bell_is_heard_by_another_copy_and_once() -> None:
    own = Bells()
    own.forget(7)
    pickle.loads(pickle.dumps(own)).ring(7)
    assert own.wait(7, 30.0)
    assert not own.wait(7, 0.001)


def test_other_bells_are_not_heard() -> None:
    own, others = Bells(), Bells()
    own.forget(7)
    others.ring(7)
    own.ring(8)
    assert not own.wait(7, 0.001)


def test_who_cannot_have_its_bell_sleeps_as_long_as_it_wants_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another still has its name; then there is no descriptor for one."""
    first = Bells()
    first.forget(7)
    second = pickle.loads(pickle.dumps(first))
    second.forget(7)
    second.ring(7)
    assert not second.wait(7, 0.01)
    assert first.wait(7, 30.0)

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "no descriptor")

    monkeypatch.setattr(bells, "_datagrams", refuse)
    deaf = Bells()
    deaf.ring(7)
    deaf.forget(7)
    assert not deaf.wait(7, 0.01)


def test_a_bell_that_nobody_has_or_that_rings_on_and_on_holds_nobody_up() -> None:
    own = Bells()
    for _ in range(1000):
        own.ring(7)
    own.forget(7)
    for _ in range(1000):
        own.ring(7)
    own.forget(7)
    assert not own.wait(7, 0.001)


# --- where engines compute


@pytest.fixture
def cards() -> Board:
    """Engines 0 and 2 on one card, 1 and 3 on another."""
    board = Board(multiprocessing.get_context("forkserver"), 4)
    for engine in range(4):
        board.settle(engine, engine % 2)
    return board


def test_work_on_one_card_is_nothing_to_engines_on_another(cards: Board) -> None:
    cards.mark(0, Work.LIVE)
    cards.mark(1, Work.AHEAD)
    assert [cards.others(engine, Work.AHEAD) for engine in range(4)] == [0, 0, 1, 1]
    assert [cards.ahead_before(engine, 10.0) for engine in range(4)] == [0, 0, 0, 1]


def test_turns_at_live_text_are_each_cards_own(cards: Board) -> None:
    cards.wait(0, 10.0)
    cards.wait(1, 10.5)
    cards.wait(3, 10.2)
    assert [cards.is_next(engine, 11.0) for engine in (0, 1, 3)] == [True, False, True]
    cards.wait(1, 0.0)
    cards.wait(3, 0.0)
    assert [cards.is_waited_for(engine, 11.0) for engine in range(4)] == [True, False, True, False]


def test_a_card_has_seats_of_its_own_and_the_processor_one_for_each_core(
    cards: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "CORES", 32)
    cards.settle(2, None)
    assert [cards.seats(engine) for engine in (0, 1, 2)] == [4, 4, 32]
    monkeypatch.setattr(turns, "CORES", 2)
    assert [cards.seats(engine) for engine in (0, 2)] == [2, 2]


def test_an_engine_that_comes_back_elsewhere_counts_there(cards: Board) -> None:
    cards.mark(2, Work.LIVE)
    cards.settle(2, 1)
    assert [cards.others(engine, Work.LIVE) for engine in (0, 1)] == [0, 1]
