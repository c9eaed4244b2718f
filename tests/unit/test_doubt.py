"""What tells whether somebody said a text that Whisper is not sure of."""

import numpy as np
import pytest

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.doubt import FRAME_SAMPLES, Signs, at_speech_level, loud_frames, movement, said, signs_of, syllables
from tests.harness.noises import melody

ANSWER = Signs(heard=4.0, heard_in_all=4.0, speech_share=0.9, syllables_per_s=4.0, movement=1.1)  # 네
SIGH = Signs(heard=1.5, heard_in_all=3.0, speech_share=0.3, syllables_per_s=1.0, movement=0.8)  # 하...


def noise(duration_s: float) -> Samples:
    return np.random.default_rng(1).normal(0, 0.1, round(duration_s * SAMPLE_RATE)).astype(np.float32)


def vowels(duration_s: float, each_s: float) -> Samples:
    """Two buzzes with different spectra, in turns."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    first, second = (
        sum(np.sin(2 * np.pi * 120 * k * time_s) / (1 + abs(120 * k - peak_hz) / 100) for k in range(1, 30))
        for peak_hz in (700, 2300)
    )
    return np.where(time_s // each_s % 2 == 0, first, second).astype(np.float32)


def test_an_answer_is_said_and_a_sigh_is_not() -> None:
    assert said(ANSWER) > 0 > said(SIGH)


@pytest.mark.parametrize("sign", Signs._fields)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 1.0])
def test_every_sign_speaks_for_speech_the_more_there_is_of_it(sign: str, share: float) -> None:
    less = ANSWER._replace(**{sign: share * getattr(ANSWER, sign)})
    assert said(less) <= said(ANSWER)


def test_a_sentence_that_was_clearly_heard_is_said_however_it_sounds() -> None:
    assert said(SIGH._replace(heard_in_all=40.0)) > 0


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0])
def test_no_sign_knows_how_loud_the_sound_is(factor: float) -> None:
    samples = vowels(1.0, 0.1)
    soft = (samples * factor).astype(np.float32)
    speech = [0.5] * len(loud_frames(samples))
    as_loud = signs_of("네", [-1.0], [-4.0], samples, speech)
    assert tuple(signs_of("네", [-1.0], [-4.0], soft, speech)) == pytest.approx(tuple(as_loud), rel=0.02)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 30.0])
def test_speech_is_brought_to_one_level(factor: float) -> None:
    leveled = at_speech_level((vowels(1.0, 0.1) * factor).astype(np.float32))
    assert np.sqrt((leveled**2).mean()) == pytest.approx(10 ** (-23 / 20), rel=0.1)
    assert np.abs(leveled).max() <= 1


def test_silence_around_the_sound_changes_nothing() -> None:
    samples = vowels(1.024, 0.1)
    around = np.concatenate(
        (np.zeros(16 * FRAME_SAMPLES, np.float32), samples, np.zeros(20 * FRAME_SAMPLES, np.float32))
    )
    alone = signs_of("네", [-1.0], [-4.0], samples, [0.9] * 32)
    with_silence = signs_of("네", [-1.0], [-4.0], around, [0.0] * 16 + [0.9] * 32 + [0.0] * 20)
    assert tuple(with_silence) == pytest.approx(tuple(alone), rel=0.1)


def test_a_mouth_that_moves_moves_the_spectrum() -> None:
    assert movement(vowels(1.0, 0.1)) > 2 * movement(vowels(1.0, 2.0))
    assert movement(vowels(1.0, 0.1)) > movement(melody().astype(np.float32))


@pytest.mark.parametrize("n_samples", [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_a_sound_may_be_short_or_nothing_at_all(n_samples: int) -> None:
    samples = np.zeros(n_samples, np.float32)
    assert loud_frames(samples).tolist() == [True] * max(1, -(-n_samples // FRAME_SAMPLES))
    signs = signs_of("네", [-1.0], [-1.0], samples, [0.0] * len(loud_frames(samples)))
    assert signs.heard == signs.speech_share == signs.movement == 0
    assert said(signs) < 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("...", 0), ("네.", 1), ("아니요", 3), ("7", 1), ("1, 2", 2), ("はい", 2), ("hello", 2)],
)
def test_syllables_are_counted_in_every_script(text: str, count: float) -> None:
    assert syllables(text) == count


def test_more_words_in_the_same_sound_are_more_likely_said() -> None:
    samples = noise(1.0)
    speech = [0.5] * len(loud_frames(samples))
    one, four = (signs_of(text, [-1.0], [-3.0], samples, speech) for text in ("아", "아니에요"))
    assert four.syllables_per_s == 4 * one.syllables_per_s
    assert said(four) > said(one)
