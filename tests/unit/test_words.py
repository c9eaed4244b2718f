"""Words and their times out of tokens."""

from typing import List, Tuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from whisper.timing import dtw
from whisper.tokenizer import get_tokenizer

from bench.speech import segments
from recognizer.decoder import whole_text
from recognizer.recognizer import Recognizer, RecognizerSettings
from recognizer.request import Request
from recognizer.words import Aligned, spell, timed, warp

TOKENIZER = get_tokenizer(True, num_languages=99, language="ko", task="transcribe")
N_WORDS = 50257  # tokens that are no special ones
TOKENS = st.lists(st.integers(0, N_WORDS - 1), max_size=30)
RATE = 16000


def spelt(tokens: List[int]) -> List[Tuple[str, int, int]]:
    return [(word.text, word.first, word.last) for word in spell(TOKENIZER, tokens)]


@given(TOKENS)
def test_words_joined_by_blanks_are_the_text(tokens: List[int]) -> None:
    assert [word.text for word in spell(TOKENIZER, tokens)] == whole_text(TOKENIZER, tokens).split()


@given(TOKENS)
def test_the_tokens_of_words_rise(tokens: List[int]) -> None:
    words = spell(TOKENIZER, tokens)
    assert all(0 <= word.first <= word.last < len(tokens) for word in words)
    assert all(before.last <= after.last for before, after in zip(words, words[1:]))


def test_a_word_has_all_its_tokens() -> None:
    tokens = TOKENIZER.encode(" 안녕하세요 저는 김입니다.")
    words = spelt(tokens)
    assert [text for text, _, _ in words] == ["안녕하세요", "저는", "김입니다."]
    assert [TOKENIZER.decode(tokens[first : last + 1]) for _, first, last in words] == [
        " 안녕하세요",
        " 저는",
        " 김입니다.",
    ]


def test_a_torn_syllable_at_the_end_is_no_word_and_no_error() -> None:
    torn = [TOKENIZER.encoding.encode_single_token(bytes([byte])) for byte in "드".encode()[:2]]
    (word,) = spelt([*TOKENIZER.encode(" 라마"), *torn])
    assert word[0] == "라마"


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_the_way_through_is_that_of_whisper(n_rows: int, n_columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).normal(size=(n_rows, n_columns))
    rows, columns = dtw(torch.from_numpy(cost))
    assert warp(cost) == columns[np.pad(np.diff(rows), (1, 0), constant_values=1).astype(bool)].tolist()


@given(TOKENS, st.floats(0, 30), st.floats(0, 5), st.data())
def test_times_rise_and_lie_in_the_sound(tokens: List[int], end_s: float, offset_s: float, data: st.DataObject) -> None:
    starts_s = data.draw(st.lists(st.floats(0, 40), min_size=len(tokens) + 1, max_size=len(tokens) + 1))
    words = spell(TOKENIZER, tokens)
    found = timed(words, Aligned(starts_s, []), [0.5] * len(words), end_s, offset_s)
    times = [time_s for word in found for time_s in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert all(-offset_s <= time_s <= end_s - offset_s for time_s in times)


# --- the model


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=2)


def test_words_are_where_they_are_said(recognizer: Recognizer, phrase: bytes) -> None:
    """ "Fail again. Fail better.", twice, with half a second of silence before the second."""
    (samples,) = segments(phrase)
    twice = np.concatenate([samples, np.zeros(RATE // 2, np.float32), samples])
    recognition = recognizer.recognize(twice, Request("en", words=True))
    assert " ".join(word.text for word in recognition.words) == recognition.text
    first_s, second_s = [word.end_s for word in recognition.words if word.text.lower().startswith("better")]
    duration_s = len(samples) / RATE
    assert duration_s - 1.0 < first_s < duration_s
    assert second_s - first_s == pytest.approx(duration_s + 0.5, abs=0.1)
    assert all(0 <= word.confidence <= 1 for word in recognition.words)


def test_words_change_nothing_else(recognizer: Recognizer, phrase: bytes) -> None:
    (samples,) = segments(phrase)
    without, with_words = (recognizer.recognize(samples, Request("en", words=words)) for words in (False, True))
    assert without.words == ()
    assert with_words.text == without.text
    assert with_words.avg_logprob == without.avg_logprob
