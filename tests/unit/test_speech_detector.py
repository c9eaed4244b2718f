"""Silero VAD over many frames at once says what its package says of one frame after the other."""

from typing import List

import numpy as np
import pytest
import torch
from silero_vad import load_silero_vad
from torch.nn.functional import pad

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.doubt import FRAME_SAMPLES
from recognizer.speech import SpeechDetector

_HALF = SAMPLE_RATE // 2


@pytest.fixture(scope="module")
def detector() -> SpeechDetector:
    return SpeechDetector()


@torch.inference_mode()
def _one_by_one(samples: Samples) -> List[float]:
    model = load_silero_vad()
    model.reset_states()
    frames = torch.split(torch.from_numpy(samples), FRAME_SAMPLES)
    return [float(model(pad(frame, (0, FRAME_SAMPLES - len(frame))), SAMPLE_RATE)) for frame in frames]


@pytest.mark.parametrize("n_samples", [1, 511, 512, 513, 64 * 512 - 1, 64 * 512, 64 * 512 + 1, 70_000])
def test_each_frame_sounds_like_speech_as_much_as_its_package_says(
    detector: SpeechDetector, samples: Samples, n_samples: int
) -> None:
    part = samples[:n_samples]
    assert list(detector.probabilities(torch.from_numpy(part))) == pytest.approx(_one_by_one(part), abs=1e-5)


def test_speech_and_silence_in_turns_are_told_apart_as_its_package_does(
    detector: SpeechDetector, samples: Samples
) -> None:
    silence = np.zeros(3 * SAMPLE_RATE, np.float32)
    whole = np.concatenate((silence, samples[:70_000], silence, samples[:40_000]))
    found = list(detector.probabilities(torch.from_numpy(whole)))
    assert found == pytest.approx(_one_by_one(whole), abs=1e-5)
    assert min(found) < 0.1
    assert max(found) > 0.9


def test_a_segment_knows_nothing_of_the_one_before(detector: SpeechDetector, samples: Samples) -> None:
    sound = torch.from_numpy(samples[:_HALF])
    alone = list(detector.probabilities(sound))
    detector.hears_speech(torch.from_numpy(samples))
    assert list(detector.probabilities(sound)) == alone


def test_speech_is_heard_and_neither_silence_nor_noise(detector: SpeechDetector, samples: Samples) -> None:
    noise = 0.1 * np.random.default_rng(1).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    assert detector.hears_speech(torch.from_numpy(samples))
    assert not detector.hears_speech(torch.zeros(3 * SAMPLE_RATE))
    assert not detector.hears_speech(torch.from_numpy(noise))


def test_without_sound_there_is_one_frame(detector: SpeechDetector) -> None:
    assert len(list(detector.probabilities(torch.zeros(0)))) == 1
