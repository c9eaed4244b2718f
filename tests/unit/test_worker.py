"""Whose turn it is, as an engine sees it."""

from __future__ import annotations

import multiprocessing
import queue
import time
from types import SimpleNamespace
from typing import Any, Optional

import pytest

from boundary.settings import EngineSettings, EngineSlot
from engine.turns import Board, Work
from engine.worker import EngineWorker

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
