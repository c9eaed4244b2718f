"""Both sides of what is sent where nobody speaks, and what a telephone line makes of sound."""

import math

import numpy as np
import pytest

from bench.live.compare import Piece
from bench.silence.clips import alone, answers
from bench.silence.rows import CURVE, FITTED, OTHERS, Trial, curve, kinds
from bench.telephone import wire
from recognizer.audio import SAMPLE_RATE, Samples

TRIALS = [
    Trial("sighing", OTHERS, False, 60.0, [-1.0, 0.4]),
    Trial("sighing", OTHERS, False, 120.0, [-math.inf]),
    Trial("ko, 0 dB", OTHERS, True, 1.0, [math.inf]),
    Trial("ko, 0 dB", OTHERS, True, 1.0, [-0.3, -2.0]),
    Trial("ko, 0 dB", FITTED, True, 1.0, []),
]


def tone(hz: float, amplitude: float = 0.3) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(SAMPLE_RATE) / SAMPLE_RATE)).astype(np.float32)


def level(samples: Samples) -> float:
    """In decibels."""
    return float(10 * np.log10(np.mean(samples[2000:-2000] ** 2)))


def test_both_sides_move_with_the_threshold() -> None:
    rows = {row.threshold: row for row in curve(TRIALS) if row.speakers == OTHERS}
    assert [(rows[at].results, rows[at].lost) for at in (-math.inf, -0.5, 0.0, 0.5)] == [(2, 0), (1, 0), (1, 1), (0, 1)]
    assert rows[0.0].results_in_15_min == 5.0
    assert rows[0.0].lost_share == 0.5


def test_speakers_that_were_fitted_to_stand_apart() -> None:
    (fitted,) = (row for row in curve(TRIALS) if row.speakers == FITTED and row.threshold == 0)
    assert (fitted.lost, fitted.answers, fitted.results_in_15_min) == (1, 1, None)
    assert CURVE["in 15 minutes"](fitted) == "–"


def test_each_kind_has_its_own_count() -> None:
    assert [kind[:1] + kind[1:2] + kind[3:] for kind in kinds(TRIALS, is_spoken=False)] == [("sighing", 2, 1)]
    assert [kind[:1] + kind[1:2] + kind[3:] for kind in kinds(TRIALS, is_spoken=True)] == [("ko, 0 dB", 3, 2)]


def test_an_answer_is_a_word_of_its_length_with_silence_around() -> None:
    words = [Piece("아", 0.0, 0.1), Piece("네", 0.2, 0.6), Piece("그러니까", 0.6, 1.6)]
    (answer,) = answers(words)
    assert answer.text == "네"
    clip = alone(tone(400), answer)
    assert not clip[: SAMPLE_RATE // 4].any()
    assert not clip[-SAMPLE_RATE // 2 :].any()
    assert np.count_nonzero(clip) == pytest.approx(0.48 * SAMPLE_RATE, rel=0.02)


@pytest.mark.parametrize(("hz", "passes"), [(100, False), (500, True), (3000, True), (3900, False), (6000, False)])
def test_a_telephone_passes_its_band_alone(hz: float, passes: bool) -> None:
    lost_db = level(tone(hz)) - level(wire.in_band(tone(hz)))
    assert (lost_db < 0.5) if passes else (lost_db > 30)


@pytest.mark.parametrize("amplitude", [0.003, 0.03, 0.3, 0.9])
def test_mu_law_is_38_db_below_whatever_is_said(amplitude: float) -> None:
    sound = wire.at_telephone_rate(tone(1000, amplitude))
    noise = wire.heard(wire.encoded(sound)) - tone(1000, amplitude)
    assert level(tone(1000, amplitude)) - level(noise) > (25 if amplitude < 0.01 else 33)
    assert len(wire.encoded(sound)) == wire.RATE
