"""How many messages that are too small to be speech a client may send."""

import pytest

from gateway.errors import BadRequest
from gateway.trickle import Trickle


def test_messages_with_sound_are_never_too_many() -> None:
    trickle = Trickle(0.0)
    for _ in range(100_000):
        trickle.take(160, 0.0)  # 20 ms of µ-law


def test_a_thousand_small_ones_at_once_are_taken_and_no_more() -> None:
    trickle = Trickle(0.0)
    for _ in range(1_000):
        trickle.take(0, 0.0)
    with pytest.raises(BadRequest, match="too many messages of less than 32 bytes"):
        trickle.take(0, 0.0)


def test_a_hundred_small_ones_in_a_second_may_go_on_for_ever() -> None:
    trickle = Trickle(0.0)
    for message in range(100_000):
        trickle.take(31, message / 100)


def test_quiet_hours_do_not_save_up_for_a_flood() -> None:
    trickle = Trickle(0.0)
    for _ in range(1_000):
        trickle.take(0, 36_000.0)
    with pytest.raises(BadRequest):
        trickle.take(0, 36_000.0)
