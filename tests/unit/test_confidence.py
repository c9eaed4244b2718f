"""Confidences of words, and how they are judged."""

import math
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.confidence.right import Judged, geometric_mean, is_fitted, right_words
from bench.confidence.rows import best_odds, calibration, calibration_error, rows_of, times
from recognizer.confidence import ODDS, word_confidence

LOGPROBS = st.lists(st.floats(-30, 0), min_size=1, max_size=6)


@given(LOGPROBS)
def test_a_confidence_is_a_probability(logprobs: List[float]) -> None:
    assert 0 <= word_confidence(logprobs) <= 1


@given(LOGPROBS, st.floats(-30, 0))
def test_a_word_is_no_surer_for_one_more_token(logprobs: List[float], more: float) -> None:
    assert word_confidence([*logprobs, more]) <= word_confidence(logprobs)


def test_a_certain_word_is_certain_and_an_even_one_has_the_odds_as_fitted() -> None:
    assert word_confidence([0.0]) == 1
    assert word_confidence([0.0, math.log(0.5)]) == pytest.approx(ODDS / (1 + ODDS))


@pytest.mark.parametrize(
    ("reference", "words", "language", "right"),
    [
        ("try again fail better", ["Try", "again.", "Fell", "better!"], "en", [True, True, False, True]),
        ("fail better", ["fail", "much", "better"], "en", [True, False, True]),
        ("창고에 있다", ["창구에", "있다."], "ko", [False, True]),
        ("창고에 있다", ["창고", "에", "있다"], "ko", [True, True, True]),
    ],
)
def test_a_word_is_right_when_all_of_it_was_said(
    reference: str, words: List[str], language: str, right: List[bool]
) -> None:
    assert right_words([reference], words, language) == right


def test_the_spelling_that_is_nearest_counts() -> None:
    assert right_words(["열두 시", "12시"], ["12시"], "ko") == [True]


def test_a_speaker_is_in_one_half() -> None:
    assert is_fitted("ko/pansori_s16_0178.wav") == is_fitted("ko/pansori_s16_0002.wav")
    assert len({is_fitted(f"ko/pansori_s{speaker}_0001.wav") for speaker in range(20)}) == 2


def test_rows_hold_each_word_once() -> None:
    words = [Judged("ko", True, hundredths / 100, hundredths > 50) for hundredths in range(101)]
    rows = rows_of("all", words)
    assert sum(row.words for row in rows) == len(words)
    assert rows[0].right == 0
    assert rows[-1].right == 1
    assert rows_of("none", [])[0].right is None


def test_the_best_odds_are_those_that_make_confidences_true() -> None:
    words = [Judged("ko", True, 0.5, index % 4 != 0) for index in range(100)]  # three times of four right
    assert best_odds(words, 2.0) == pytest.approx(6.0)


def test_the_calibration_error_is_how_far_confidence_is_from_being_right() -> None:
    right = [Judged("ko", False, 0.85, index % 20 < 17) for index in range(100)]
    boastful = [Judged("ko", False, 1.0, index % 2 == 0) for index in range(100)]
    assert calibration_error(right) == pytest.approx(0)
    assert calibration_error(boastful) == pytest.approx(0.5)
    assert calibration_error([*right, *boastful]) == pytest.approx(0.25)
    assert calibration_error([]) is None


def test_both_confidences_are_told_of_the_same_words() -> None:
    words = [Judged("ko", False, 0.5, True)] * 3
    row = calibration("others", words, [word._replace(confidence=0.9) for word in words])
    assert (row.words, row.right) == (3, 1.0)
    assert (row.confidence, row.error, row.plain, row.plain_error) == pytest.approx((0.5, 0.5, 0.9, 0.1))


def test_the_geometric_mean_is_that_of_the_probabilities() -> None:
    assert geometric_mean([math.log(0.5), math.log(0.125)]) == pytest.approx(0.25)


def test_times_are_off_either_way() -> None:
    row = times("en", "ends", [-0.3, -0.1, 0.0, 0.1, 0.1])
    assert (row.words, row.median, row.p95, row.shift) == pytest.approx((5, 0.1, 0.3, 0.0))
