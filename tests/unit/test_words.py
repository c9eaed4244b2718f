"""Tokens and where their heads listened → words with times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.timing import dtw, find_alignment
from whisper.tokenizer import get_tokenizer

from recognizer.alignment import warp
from recognizer.audio import SAMPLE_RATE, to_samples
from recognizer.decoder import whole_text
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings
from recognizer.weights import load_weights
from recognizer.words import spell, timed

TOKENIZER = get_tokenizer(True, num_languages=99, language="ko", task="transcribe")


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_way_is_that_of_openai_whisper(n_rows: int, n_columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(n_rows, n_columns)).astype(np.float32)
    rows, columns = dtw(torch.from_numpy(cost))
    theirs = [int(columns[list(rows).index(row)]) for row in range(n_rows)]
    assert warp(torch.from_numpy(cost)) == theirs


@settings(deadline=None, max_examples=300)
@given(st.lists(st.integers(0, TOKENIZER.eot - 1), max_size=20))
def test_words_joined_by_blanks_are_the_text_whatever_the_tokens(tokens: list[int]) -> None:
    words = spell(TOKENIZER, tokens)
    assert " ".join(word.text for word in words) == " ".join(whole_text(TOKENIZER, tokens).split())
    assert all(0 <= word.first <= word.last < len(tokens) for word in words)
    assert [word.first for word in words] == sorted(word.first for word in words)


def test_a_korean_word_whose_syllables_are_cut_between_tokens_is_one_word() -> None:
    text = "꿹뷁 안녕하세요 쀏"
    words = spell(TOKENIZER, TOKENIZER.encode(" " + text))
    assert [word.text for word in words] == text.split()


@given(st.lists(st.floats(-5, 50), min_size=2, max_size=10), st.floats(0, 30), st.floats(0, 5))
def test_times_rise_and_end_with_the_sound_whatever_the_heads_say(
    starts_s: list[float], end_s: float, offset_s: float
) -> None:
    spelt = spell(TOKENIZER, TOKENIZER.encode(" a" * (len(starts_s) - 1)))
    words = timed(spelt, starts_s, [0.9] * len(spelt), end_s, offset_s)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= -offset_s
    assert times[-1] <= end_s - offset_s


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=2)


def test_words_are_where_openai_whisper_finds_them(recognizer: Recognizer, speech: bytes) -> None:
    samples = to_samples(speech, SAMPLE_RATE)[: 6 * SAMPLE_RATE]
    ours = recognizer.recognize(samples, Request("en", words=True))
    model = load_weights("base")
    tokenizer = get_tokenizer(True, num_languages=model.num_languages, language="en", task="transcribe")
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(samples)))
    n_frames = len(samples) // 160
    theirs = find_alignment(model, tokenizer, tokenizer.encode(" " + ours.text), mel, n_frames)
    ends_s = {round(timing.end, 2) for timing in theirs}
    off_s = [min(abs(word.end_s - end_s) for end_s in ends_s) for word in ours.words]
    assert np.median(off_s) <= 0.1
    assert max(off_s) <= 0.5


def test_a_text_is_the_same_with_words_and_without(recognizer: Recognizer, speech: bytes) -> None:
    samples = to_samples(speech, SAMPLE_RATE)
    with_words = recognizer.recognize(samples, Request("en", words=True))
    without = recognizer.recognize(samples, Request("en"))
    assert with_words.text == without.text
    assert without.words == ()
    assert " ".join(word.text for word in with_words.words) == with_words.text


def test_words_are_placed_in_all_of_an_utterance_that_is_longer_than_what_is_heard(
    recognizer: Recognizer, speech: bytes
) -> None:
    said = to_samples(speech, SAMPLE_RATE)[: 6 * SAMPLE_RATE]
    heard = np.append(np.zeros(24 * SAMPLE_RATE, np.float32), said)
    words = recognizer.recognize(heard, Request("en", words=True)).words
    longer = np.append(np.zeros(SAMPLE_RATE, np.float32), heard)
    later = recognizer.recognize(longer, Request("en", words=True)).words
    assert [word.end_s - 1 for word in later] == pytest.approx([word.end_s for word in words])
