"""What the log tells of how busy the engines are."""

import math

import pytest

from server.load import PERIOD_S, Load, LoadMeter


def test_a_minute_begins_with_its_first_segment_and_tells_what_was_done_in_it() -> None:
    meter = LoadMeter()
    assert meter.due_s == math.inf
    assert meter.add(100.0, speech_s=2.0, busy_s=1.0)
    assert not meter.add(100.0 + PERIOD_S / 2, speech_s=4.0, busy_s=1.0)
    assert not meter.add(99.0 + PERIOD_S, speech_s=4.0, busy_s=3.0)
    assert meter.due_s == 100.0 + PERIOD_S
    load = meter.take()
    assert load == Load(3, 10.0, 5.0)
    assert load.real_time_factor == pytest.approx(0.5)


def test_no_minute_begins_while_nothing_is_recognised() -> None:
    meter = LoadMeter()
    meter.add(0.0, speech_s=1.0, busy_s=9.0)
    meter.take()
    assert meter.due_s == math.inf
    assert meter.add(3600.0, speech_s=1.0, busy_s=1.0)
    assert meter.due_s == 3600.0 + PERIOD_S
    assert meter.take() == Load(1, 1.0, 1.0)
