"""Whose turn it is, as an engine sees it."""

from __future__ import annotations

import multiprocessing
import queue
import time
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from boundary.settings import EngineSettings, EngineSlot
from engine.segmenter import Utterance
from engine.turns import Board, Work
from engine.worker import EngineWorker
from protocol.data import Cause

SEATS = 2


@pytest.fixture
def board() -> Board:
    """Two other engines compute, for who has waited since 10 and 20 s ago."""
    board = Board(multiprocessing.get_context("forkserver"), 3)
    for engine, waited_s in ((1, 10.0), (2, 20.0)):
        now_s = time.monotonic()
        board.work_for(engine, now_s - waited_s, now_s)
        board.mark(engine, Work.LIVE)
    return board


def engine_beside(board: Board, waited_s: float, card: Optional[int] = None) -> Any:
    """Engine 0, which begins what somebody has waited for so long."""
    worker: Any = EngineWorker(EngineSlot(0), EngineSettings(), board, queue.SimpleQueue(), queue.SimpleQueue())
    worker._recognizer = SimpleNamespace(card=card)
    worker._seats = SEATS
    worker._turn_to(Work.LIVE, time.monotonic() - waited_s)
    return worker


def test_a_result_is_computed_when_fewer_than_there_are_cores_have_been_waited_for_longer(board: Board) -> None:
    engine = engine_beside(board, 5.0)
    assert engine._must_give_way(Work.LIVE)
    board.mark(1, Work.NONE)
    assert not engine._must_give_way(Work.LIVE)


def test_one_that_has_been_waited_for_longer_than_another_is_computed_at_once(board: Board) -> None:
    assert not engine_beside(board, 15.0)._must_give_way(Work.LIVE)


def test_engines_of_a_card_wait_for_nobody(board: Board) -> None:
    assert not engine_beside(board, 5.0, card=0)._must_give_way(Work.LIVE)


def test_who_works_ahead_waits_for_no_turn_at_live_text_any_more(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would seem to others not to wait, and to itself to be the first."""
    engine = engine_beside(board, 5.0)
    engine._turn_to(Work.NONE, 0.0)
    engine._want_turn(True)
    utterance = Utterance(0.0, 1.0, 0.0, 16000, bytes(32000), Cause.SILENCE)
    engine._listener = SimpleNamespace(pauses=True, ending=utterance, goes_on=lambda _: False)
    engine._scarcity = SimpleNamespace(rests=lambda _: False)
    begun: list[Work] = []
    monkeypatch.setattr(engine, "_recognize", lambda _, work: begun.append(work))
    engine._work_ahead()
    assert begun == [Work.AHEAD]
    assert not engine._wants_turn


@pytest.mark.parametrize(("work", "seen"), [(Work.LIVE_TEXT, Work.NONE), (Work.AHEAD, Work.AHEAD)])
def test_who_gives_way_is_not_timed_and_a_look_at_live_text_leaves_its_core(
    board: Board, work: Work, seen: Work
) -> None:
    engine = engine_beside(board, 5.0)
    engine._turn_to(work, time.monotonic())
    engine._began_s = began_s = time.monotonic()
    engine._give_way()
    assert board._marks[0] == seen
    assert time.monotonic() - engine._began_s <= time.monotonic() - began_s - 0.02
