"""Where nobody speaks, nothing is sent; what is said, also badly, is."""

from typing import Callable, Dict, List

import numpy as np
import numpy.typing as npt
import pytest

from bench.recordings import Recording
from bench.silence.clips import Condition, arrives
from bench.speech import segments, to_pcm
from bench.telephone import wire
from recognizer.audio import to_samples
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings
from tests.harness.noises import DURATION_S, RATE, melody, time_s

ENGLISH, KOREAN = Request("en"), Request("ko")
RESULTS_FROM_NOISE = 2  # of the recordings without speech, three minutes: music and laughter are the hard ones


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=2)


@pytest.fixture(scope="module")
def english() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=2)


def white_noise() -> npt.NDArray[np.float64]:
    return np.random.default_rng(1).normal(0, 0.05, DURATION_S * RATE)


def mains_hum() -> npt.NDArray[np.float64]:
    return sum(0.1 / k * np.sin(2 * np.pi * 50 * k * time_s()) for k in range(1, 6)) + 0.002 * white_noise()


def thumps() -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * np.exp(-25 * (time_s() % 0.7)) * np.random.default_rng(2).normal(0, 1, DURATION_S * RATE))


NOISES: Dict[str, Callable[[], npt.NDArray[np.float64]]] = {
    "white noise": white_noise,
    "mains hum": mains_hum,
    "melody": melody,
    "thumps": thumps,
    "digital silence": lambda: np.zeros(DURATION_S * RATE),
}


@pytest.mark.parametrize("rate", [RATE, wire.RATE])
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
def test_noise_has_no_text(recognizer: Recognizer, noise: Callable[[], npt.NDArray[np.float64]], rate: int) -> None:
    samples = noise().astype(np.float32)
    if rate == wire.RATE:
        samples = to_samples(to_pcm(wire.at_telephone_rate(samples)), rate)
    assert recognizer.recognize(samples, KOREAN).text == ""


def test_a_text_that_is_taken_for_noise_is_told_as_such(english: Recognizer, phrase: bytes) -> None:
    assert english.recognize(melody().astype(np.float32), ENGLISH).is_suppressed
    (samples,) = segments(phrase)
    assert not english.recognize(samples, ENGLISH).is_suppressed


@pytest.mark.parametrize("by_telephone", [False, True])
def test_recordings_without_speech_have_next_to_no_text(
    recognizer: Recognizer, recordings: List[Recording], by_telephone: bool
) -> None:
    silent = [to_samples(one.pcm, RATE) for one in recordings if not one.references]
    arriving = [part for sound in silent for part in arrives(sound, Condition(0.0, by_telephone))]
    found = [recognizer.recognize(samples, KOREAN) for samples in arriving]
    assert len(found) > 20
    assert len([recognition for recognition in found if recognition.text]) <= RESULTS_FROM_NOISE


def test_speech_has_text_also_when_it_is_soft(english: Recognizer, phrase: bytes) -> None:
    (samples,) = segments(phrase)
    assert "better" in english.recognize(samples, ENGLISH).text.lower()
    assert "better" in english.recognize(samples * np.float32(0.05), ENGLISH).text.lower()


def test_the_window_follows_the_speech(english: Recognizer, phrase: bytes) -> None:
    (samples,) = segments(phrase)
    duration_s = len(samples) / RATE
    assert duration_s < english.recognize(samples, ENGLISH).window_s <= duration_s + 1.5


@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_short_window_hears_what_the_full_one_hears(phrase: bytes, beam_size: int) -> None:
    (samples,) = segments(phrase)
    short, full = (
        Recognizer(RecognizerSettings(beam_size=beam_size, compute="float32", window=window), threads=2)
        for window in ("auto", "full")
    )
    assert short.recognize(samples, ENGLISH).text == full.recognize(samples, ENGLISH).text


def test_the_same_utterance_has_the_same_text_every_time(english: Recognizer, phrase: bytes) -> None:
    (samples,) = segments(phrase)
    noisy = samples + np.random.default_rng(3).normal(0, 0.2, len(samples)).astype(np.float32)
    assert english.recognize(noisy, ENGLISH) == english.recognize(noisy, ENGLISH)


def test_the_language_is_found_when_it_is_not_given(phrase: bytes) -> None:
    (samples,) = segments(phrase)
    recognition = Recognizer(RecognizerSettings(), threads=2).recognize(samples, Request("auto"))
    assert recognition.language == "en"
    assert "better" in recognition.text.lower()


@pytest.mark.parametrize("compute", ["float32", pytest.param("bfloat16", marks=pytest.mark.thorough), "int8"])
def test_every_precision_recognises(phrase: bytes, compute: str) -> None:
    (samples,) = segments(phrase)
    settings = RecognizerSettings(compute=compute)
    assert "better" in Recognizer(settings, threads=2).recognize(samples, ENGLISH).text.lower()


def test_of_a_segment_and_its_pre_roll_the_last_30_s_are_heard(english: Recognizer, phrase: bytes) -> None:
    (samples,) = segments(phrase)
    before = np.zeros(30 * RATE, dtype=np.float32)
    assert "better" in english.recognize(np.concatenate([before, samples]), ENGLISH).text.lower()
