"""What was said before helps, and no error in it feeds itself; a real model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from whisper.decoding import DecodingResult

from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.plausibility import goes_on_well, is_rest
from recognizer.recognizer import Recognizer
from recognizer.request import Context, Request
from recognizer.settings import RecognizerSettings

ENGLISH = Request("en")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=2)


@pytest.fixture(scope="module")
def before(speech: bytes) -> Samples:
    """ "Ever tried. Ever failed. No matter. Try again." """
    return to_samples(speech, SAMPLE_RATE)[: 6 * SAMPLE_RATE]


@pytest.fixture(scope="module")
def after(speech: bytes) -> Samples:
    """ "Fail again. Fail better." """
    return to_samples(speech, SAMPLE_RATE)[6 * SAMPLE_RATE :]


def text_after(recognizer: Recognizer, after: Samples, context: Context | None, language: str = "en") -> str:
    return recognizer.recognize(after, Request(language, context=context)).text.lower()


def test_what_was_said_before_is_no_part_of_the_text(recognizer: Recognizer, before: Samples, after: Samples) -> None:
    text = text_after(recognizer, after, Context(before, 0.0, "Ever tried. Ever failed. No matter. Try again.", "en"))
    assert "better" in text
    assert "tried" not in text
    assert "matter" not in text


def test_words_that_were_left_are_part_of_the_text(recognizer: Recognizer, before: Samples, after: Samples) -> None:
    text = text_after(recognizer, after, Context(before, 1.5, "Ever tried. Ever failed. No matter.", "en"))
    assert text.startswith("try again")
    assert "better" in text


def test_words_that_were_left_are_heard_where_the_text_before_them_is_not_trusted(
    recognizer: Recognizer, before: Samples, after: Samples
) -> None:
    recognition = recognizer.recognize(after, Request("en", words=True, context=Context(before, 1.5, "", "en")))
    assert "again" in recognition.text.lower().split("fail")[0]
    assert recognition.words[0].start_s < 0 < recognition.words[-1].start_s
    assert recognition.words[0].start_s >= -1.5


@pytest.mark.parametrize(
    "wrong",
    [
        "again " * 40,
        "네 " * 60,
        "시청해주셔서 감사합니다.",
        "The quick brown fox jumps over the lazy dog, and nobody has said a word of this.",
        "fail again. fail better. fail again. fail better. fail again. fail better.",
    ],
    ids=["loop", "loop in another script", "another language", "another text", "what comes next"],
)
def test_a_wrong_text_before_does_not_feed_itself(
    recognizer: Recognizer, before: Samples, after: Samples, wrong: str
) -> None:
    text = text_after(recognizer, after, Context(before, 0.0, wrong, "en"))
    assert "better" in text
    assert len(text.split()) <= 6


def test_music_before_speech_is_no_part_of_it(recognizer: Recognizer, after: Samples) -> None:
    time_s = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    notes = 440 * 2 ** (np.array([0, 4, 7, 12, 7, 4])[(time_s * 2).astype(int) % 6] / 12)
    music = (0.2 * np.sin(2 * np.pi * notes * time_s)).astype(np.float32)
    assert "better" in text_after(recognizer, after, Context(music, 0.0, "La la la.", "en"))


def test_a_text_in_another_language_than_the_session_is_left_out(
    recognizer: Recognizer, before: Samples, after: Samples
) -> None:
    alone = text_after(recognizer, after, None)
    assert text_after(recognizer, after, Context(before, 0.0, "네, 안녕하세요.", "ko")) == alone
    assert text_after(recognizer, after, Context(before, 0.0, "네, 안녕하세요.", "ko"), "auto") == alone


def test_a_context_that_is_too_long_is_left_out(recognizer: Recognizer, after: Samples) -> None:
    alone = text_after(recognizer, after, None)
    assert text_after(recognizer, after, Context(np.zeros(21 * SAMPLE_RATE, np.float32), 0.0, "so", "en")) == alone


def test_no_sound_at_all_has_no_text(recognizer: Recognizer, before: Samples) -> None:
    nothing = np.zeros(0, np.float32)
    assert recognizer.recognize(nothing, ENGLISH).text == ""
    assert text_after(recognizer, nothing, Context(before, 1.5, "Ever tried. Ever failed. No matter.", "en")) != ""


def test_a_prompt_of_any_length_fits_beside_a_context(recognizer: Recognizer, before: Samples, after: Samples) -> None:
    context = Context(before, 0.0, "Ever tried. Ever failed. No matter. Try again.", "en")
    for prompt in ("이름 " * 600, "<|endoftext|>" * 100, "x" * 2000):
        text = recognizer.recognize(after, Request("en", prompt=prompt, context=context)).text.lower()
        assert "again" in text


# --- the rules


def result_of(text: str, avg_logprob: float) -> DecodingResult:
    features = torch.zeros(1)
    return DecodingResult(features, "ko", tokens=[1] * 10, text=text, avg_logprob=avg_logprob, compression_ratio=1.0)


def test_a_text_that_says_the_one_before_again_does_not_go_on_well() -> None:
    assert goes_on_well("하나 둘 셋 넷", result_of("다섯 여섯", -0.3), 50)
    assert not goes_on_well("안녕하세요 반갑습니다", result_of("안녕하세요 반갑습니다", -0.3), 50)
    assert not goes_on_well("하나", result_of("둘", -1.1), 50)


def test_a_rest_is_new_and_likely() -> None:
    assert is_rest("even in the middle of a sentence", result_of("there is more", -0.3), 50)
    assert not is_rest("even in the middle of a sentence", result_of("in the middle of a sentence", -0.3), 50)
    assert not is_rest("one", result_of("two", -0.81), 50)
    assert not is_rest("one", result_of(".", -0.1), 50)
