"""When an open utterance is looked at again, and what its client has been shown."""

from engine.live import INTERVAL_S, LiveSchedule
from protocol.data import Partial


def test_an_utterance_is_looked_at_after_each_interval_of_new_sound() -> None:
    schedule = LiveSchedule()
    assert not schedule.is_due(3.0, 3.0 + INTERVAL_S - 0.01)
    assert schedule.is_due(3.0, 3.0 + INTERVAL_S + 0.01)
    assert schedule.begin(3.0)
    schedule.looked(4.0)
    assert not schedule.is_due(3.0, 4.0 + INTERVAL_S - 0.01)
    assert schedule.is_due(3.0, 4.0 + INTERVAL_S + 0.01)
    assert not schedule.begin(3.0)


def test_the_next_utterance_begins_anew() -> None:
    schedule = LiveSchedule()
    schedule.begin(3.0)
    schedule.looked(9.0)
    assert schedule.is_due(9.2, 9.2 + INTERVAL_S + 0.01)
    assert not schedule.is_due(9.2, 9.3)


def test_only_what_has_changed_is_shown() -> None:
    schedule = LiveSchedule()
    schedule.begin(0.0)
    first = Partial(0.0, 1.0, "", "one")
    assert schedule.news(Partial(0.0, 0.5, "", "")) is None
    assert schedule.news(first) == first
    assert schedule.news(first._replace(end_s=1.5)) is None
    assert schedule.news(Partial(0.0, 2.0, "one", "")) is not None
    schedule.begin(5.0)
    assert schedule.news(Partial(5.0, 6.0, "one", "")) is not None


def test_a_pause_settles_what_was_said_before_it_once() -> None:
    schedule = LiveSchedule()
    schedule.begin(0.0)
    assert schedule.settle(0.3, 2.0)
    assert not schedule.settle(0.3, 2.0)
    assert schedule.settle(0.3, 4.0)


def test_a_pause_right_behind_a_cut_settles_nothing() -> None:
    """The next utterance is open, and begins with its first voiced frame."""
    schedule = LiveSchedule()
    schedule.begin(3.0)
    assert not schedule.settle(3.0, 3.0)
