"""What the log tells of how busy the engines are."""

import pytest

from server.load import PERIOD_S, Load, LoadMeter


def test_the_load_of_a_period_is_told_when_it_is_over() -> None:
    meter = LoadMeter()
    assert meter.add(100.0, speech_s=2.0, busy_s=1.0) is None
    assert meter.add(100.0 + PERIOD_S / 2, speech_s=4.0, busy_s=1.0) is None
    load = meter.add(100.0 + PERIOD_S, speech_s=4.0, busy_s=3.0)
    assert load == Load(3, 10.0, 5.0)
    assert load.real_time_factor == pytest.approx(0.5)


def test_the_next_period_begins_with_its_first_segment() -> None:
    meter = LoadMeter()
    for now_s in (0.0, PERIOD_S):
        meter.add(now_s, speech_s=1.0, busy_s=9.0)
    assert meter.add(10 * PERIOD_S, speech_s=1.0, busy_s=1.0) is None
    assert meter.add(11 * PERIOD_S, speech_s=1.0, busy_s=1.0) == Load(2, 2.0, 2.0)
