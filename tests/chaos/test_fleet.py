"""The short run of the fleet's chaos; `make soak-fleet` is the long one."""

from typing import List, Optional

import pytest

from demo.recording import clip_pcm
from tests.chaos.callers import Heard
from tests.chaos.fleet import judged, run

DURATION_S = 20
SEED = 3
RIGHT = ["Ever tried.", "Fail again."]


@pytest.mark.parametrize(
    ("texts", "told", "cut", "may_be_cut", "outcome"),
    [
        (RIGHT, None, None, False, "right"),
        (RIGHT[:1], None, None, True, "wrong"),
        (RIGHT[:1], "Busy", None, False, "told Busy"),
        (RIGHT[1:], "Busy", None, True, "wrong"),
        (RIGHT[:1], None, "reset", True, "cut"),
        (RIGHT[:1], None, "reset", False, "wrong"),
        (RIGHT[1:], None, "reset", True, "wrong"),
        ([*RIGHT, "Never."], "Busy", None, True, "wrong"),
    ],
)
def test_a_call_is_right_or_what_it_brought_is_the_beginning_of_what_is_right(
    texts: List[str], told: Optional[str], cut: Optional[str], may_be_cut: bool, outcome: str
) -> None:
    assert judged(Heard(texts, told, cut), RIGHT, may_be_cut) == outcome


@pytest.mark.timeout(400)  # eight starts beside it
def test_in_chaos_every_call_at_every_door_is_right_or_told_or_cut_by_a_death() -> None:
    report = run(DURATION_S, SEED, clip_pcm())
    print(report)
    assert report.wrongs == []
    assert report.faults == []
    assert all(counts["right"] for door, counts in report.outcomes.items() if door != "others"), report
    assert sum(report.deeds.values()) > 0
