"""How the gateway's part of a delay is told from the server's."""

from bench.gateway.tap import Passed, later_ms

SENT = [(1.0, 100), (2.0, 200), (3.0, 300)]


def test_a_text_is_later_by_its_own_way_and_that_of_the_sound_before_it() -> None:
    passed = Passed([(1.01, 100), (2.02, 200), (3.01, 300)], {(0, "a"): 2.5})
    assert [round(one) for one in later_ms(SENT, passed, {(0, "a"): 2.503})] == [23]


def test_packets_that_pass_together_count_from_the_last_of_them() -> None:
    passed = Passed([(2.03, 200), (3.01, 300)], {(0, "a"): 2.5})
    assert [round(one) for one in later_ms(SENT, passed, {(0, "a"): 2.5})] == [30]


def test_sound_in_parts_has_passed_when_its_last_part_has() -> None:
    passed = Passed([(1.01, 50), (1.04, 100), (2.01, 150)], {(0, "a"): 2.5})
    assert [round(one) for one in later_ms(SENT, passed, {(0, "a"): 2.5})] == [40]


def test_a_text_before_any_sound_has_only_its_own_way_and_one_that_never_passed_is_left_out() -> None:
    passed = Passed([(0.1, 0), (1.01, 100)], {(0, "a"): 0.5})
    assert [round(one) for one in later_ms(SENT, passed, {(0, "a"): 0.502, (0, "b"): 2.0})] == [2]
