"""What tells whether somebody said a text that Whisper is not sure of."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import recognizer.voice
from bench.silence.fit import Line, fit, written
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.doubt import FRAME_SAMPLES, Signs, at_speech_level, is_said, loud_frames, said, signs_of
from recognizer.speech import SpeechDetector
from recognizer.voice import HEARD, OFFSET, VOICE

VOICES = np.sign(VOICE)  # what speaks the most for a voice
A_VOICE, NO_VOICE = tuple((0.1 * VOICES).tolist()), tuple((-0.1 * VOICES).tolist())
ANSWER = Signs(4.0, heard_in_all=4.0, remembered=A_VOICE)  # 네
SIGH = Signs(1.5, heard_in_all=3.0, remembered=NO_VOICE)  # 하...


def vowels(duration_s: float, each_s: float) -> Samples:
    """Two buzzes with different spectra, in turns."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    first, second = (
        sum(np.sin(2 * np.pi * 120 * k * time_s) / (1 + abs(120 * k - peak_hz) / 100) for k in range(1, 30))
        for peak_hz in (700, 2300)
    )
    return np.where(time_s // each_s % 2 == 0, first, second).astype(np.float32)


def as_remembered(n_frames: int, number: float = 0.5) -> npt.NDArray[np.float32]:
    return np.full((n_frames, len(VOICE)), number, np.float32)


def test_an_answer_is_said_and_a_sigh_is_not() -> None:
    assert said(ANSWER) > 0 > said(SIGH)
    assert is_said(ANSWER)
    assert not is_said(SIGH)
    assert not is_said(None)


def test_both_signs_are_needed_and_speak_for_speech_the_more_there_is_of_them() -> None:
    assert said(ANSWER) > said(ANSWER._replace(heard=1.0)) > said(ANSWER._replace(heard=1.0, remembered=NO_VOICE))
    assert said(ANSWER) > said(ANSWER._replace(remembered=NO_VOICE))


def test_a_sentence_that_was_clearly_heard_is_said_however_it_sounds() -> None:
    assert said(SIGH._replace(heard_in_all=40.0)) > 0


@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0])
def test_no_sign_knows_how_loud_the_sound_is(factor: float) -> None:
    samples = vowels(1.0, 0.1)
    soft = (samples * factor).astype(np.float32)
    detector = SpeechDetector()
    as_loud, as_soft = (
        signs_of([-1.0], [-4.0], one, detector.remembered(torch.from_numpy(at_speech_level(one))).numpy())
        for one in (samples, soft)
    )
    assert said(as_soft) == pytest.approx(said(as_loud), abs=0.02)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 30.0])
def test_speech_is_brought_to_one_level(factor: float) -> None:
    leveled = at_speech_level((vowels(1.0, 0.1) * factor).astype(np.float32))
    assert np.sqrt((leveled**2).mean()) == pytest.approx(10 ** (-23 / 20), rel=0.1)
    assert np.abs(leveled).max() <= 1


def test_the_room_behind_a_sound_is_never_quite_quiet_and_always_the_same() -> None:
    samples = np.concatenate((vowels(0.5, 0.1), np.zeros(SAMPLE_RATE, np.float32)))
    leveled = at_speech_level(samples)
    behind = leveled[SAMPLE_RATE:]
    assert 20 * np.log10(np.sqrt((behind**2).mean())) == pytest.approx(-50, abs=1)
    assert np.array_equal(leveled, at_speech_level(samples))


def test_what_is_remembered_of_the_silence_around_a_sound_does_not_count() -> None:
    samples = vowels(1.024, 0.1)
    silence = [np.zeros(n * FRAME_SAMPLES, np.float32) for n in (16, 20)]
    around = np.concatenate((silence[0], samples, silence[1]))
    remembered = np.concatenate((as_remembered(16, -9.0), as_remembered(32), as_remembered(20, -9.0)))
    assert signs_of([-1.0], [-4.0], around, remembered) == signs_of([-1.0], [-4.0], samples, as_remembered(32))


@pytest.mark.parametrize("n_samples", [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1])
def test_a_sound_may_be_short_or_nothing_at_all(n_samples: int) -> None:
    samples = np.zeros(n_samples, np.float32)
    n_frames = max(1, -(-n_samples // FRAME_SAMPLES))
    assert loud_frames(samples).tolist() == [True] * n_frames
    remembered = SpeechDetector().remembered(torch.from_numpy(at_speech_level(samples))).numpy()
    assert remembered.shape == (n_frames, len(VOICE))
    assert said(signs_of([-1.0], [-1.0], samples, remembered)) < 0


def test_the_weights_know_a_voice_by_what_this_silero_vad_remembers(samples: Samples) -> None:
    """Those of another version would remember otherwise."""
    detector = SpeechDetector()
    noise = np.random.default_rng(1).normal(0, 0.1, len(samples)).astype(np.float32)
    of_speech, of_noise = (
        said(signs_of([-2.0], [-4.0], one, detector.remembered(torch.from_numpy(at_speech_level(one))).numpy()))
        for one in (samples, noise)
    )
    assert of_speech > 1
    assert of_noise < -1


# --- where the weights come from -------------------------------------------------------------


def drawn(n: int, heard: float, first: float) -> "list[Signs]":
    """Three numbers are remembered, of which the first tells something."""
    chance = np.random.default_rng(round(heard))
    return [
        Signs(one, 3 * one, (first + a, b, c))
        for one, a, b, c in chance.normal((heard, 0.0, 0.0, 0.0), (1.0, 0.2, 0.2, 0.2), (n, 4)).tolist()
    ]


def test_a_line_is_fitted_between_what_was_said_and_what_was_not_however_many_there_are() -> None:
    said_ones, unsaid = drawn(300, 4.0, 1.0), drawn(2000, 1.0, -1.0)
    line = fit(said_ones, unsaid, n_most=5)
    assert sum(line.said(one) > 0 for one in unsaid) == 5
    assert sum(line.said(one) > 0 for one in said_ones) > 290
    assert line.heard > 0
    assert line.voice[0] > 3 * max(map(abs, line.voice[1:]))


def test_no_line_is_fitted_to_one_side_alone() -> None:
    with pytest.raises(ValueError, match="one side has none"):
        fit(drawn(3, 4.0, 1.0), [], n_most=0)
    with pytest.raises(ValueError, match="one side has none"):
        fit([], drawn(3, 4.0, 1.0), n_most=0)


def test_the_line_in_use_stands_as_the_fit_writes_it() -> None:
    line = Line(HEARD, OFFSET, VOICE)
    assert written(line) in Path(recognizer.voice.__file__).read_text()
    assert line.said(ANSWER) == pytest.approx(said(ANSWER))
