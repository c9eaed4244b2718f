"""What tells whether somebody said a text that Whisper is not sure of."""

import numpy as np
import pytest
import soxr

from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.doubt import (
    FRAME_SAMPLES,
    Signs,
    at_speech_level,
    is_narrow,
    loud_bands,
    loud_frames,
    movement,
    said,
    signs_of,
    syllables,
)
from tests.harness.noises import melody

ANSWER = Signs(4.0, heard_in_all=4.0, speech_share=0.9, syllables_per_s=4.0, movement=1.1, narrow=False)  # 네
SIGH = Signs(1.5, heard_in_all=3.0, speech_share=0.3, syllables_per_s=1.0, movement=0.8, narrow=False)  # 하...


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


def rounded(samples: Samples) -> bytes:
    """16-bit PCM."""
    return (samples * 32768).round().clip(-32768, 32767).astype("<i2").tobytes()


def test_an_answer_is_said_and_a_sigh_is_not() -> None:
    assert said(ANSWER) > 0 > said(SIGH)


@pytest.mark.parametrize("sign", Signs._fields[:-1])
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
    often, never, music = (
        movement(loud_bands(sound)) for sound in (vowels(1.0, 0.1), vowels(1.0, 2.0), melody().astype(np.float32))
    )
    assert often > 2 * never
    assert often > music


@pytest.mark.parametrize("factor", [0.003, 0.03, 0.3, 1.0])
def test_a_sound_that_had_8_khz_is_known_by_what_it_lacks(factor: float, phrase: bytes) -> None:
    samples = to_samples(phrase, SAMPLE_RATE) * np.float32(factor)
    at_8_khz = soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE // 2)
    by_telephone = to_samples(rounded(at_8_khz), SAMPLE_RATE // 2)
    assert is_narrow(loud_bands(by_telephone))
    assert is_narrow(loud_bands(to_samples(rounded(by_telephone), SAMPLE_RATE)))  # by who sends it at 16 kHz


def test_a_sound_with_all_of_its_band_is_known_by_what_it_has(phrase: bytes) -> None:
    samples = to_samples(phrase, SAMPLE_RATE)
    for factor in (0.03, 0.3, 1.0):
        assert not is_narrow(loud_bands(to_samples(rounded(samples * factor), SAMPLE_RATE)))
    assert not is_narrow(loud_bands(noise(0.5)))


def test_an_answer_by_telephone_sounds_less_like_one_and_is_said_all_the_same() -> None:
    weaker = ANSWER._replace(heard=3.0, speech_share=0.75)
    assert said(weaker._replace(narrow=True)) > 0 > said(weaker)
    assert said(SIGH._replace(narrow=True)) < 0


@pytest.mark.parametrize("n_samples", [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_a_sound_may_be_short_or_nothing_at_all(n_samples: int) -> None:
    samples = np.zeros(n_samples, np.float32)
    assert loud_frames(samples).tolist() == [True] * max(1, -(-n_samples // FRAME_SAMPLES))
    signs = signs_of("네", [-1.0], [-1.0], samples, [0.0] * len(loud_frames(samples)))
    assert signs.heard == signs.speech_share == signs.movement == 0
    assert not signs.narrow
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
