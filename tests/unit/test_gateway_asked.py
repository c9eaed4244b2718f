"""What clients of any door ask for."""

from __future__ import annotations

from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.asked import json_object, language_code, prompt_of
from gateway.errors import BadRequest


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("ko", "ko"),
        ("ko-KR", "ko"),
        ("EN_us", "en"),
        ("yue", "yue"),
        (" zh-Hant-TW ", "zh"),
        ("auto", "auto"),
        ("Korean", "ko"),
        ("", None),
    ],
)
def test_a_language_is_known_by_its_name_and_with_and_without_its_region(tag: str, code: Optional[str]) -> None:
    assert language_code(tag, "base") == code


@pytest.mark.parametrize(("tag", "size"), [("xx", "base"), ("ko", "base.en"), ("-ko", "base")])
def test_a_language_that_the_model_does_not_know_is_refused(tag: str, size: str) -> None:
    with pytest.raises(BadRequest, match="language: "):
        language_code(tag, size)


def test_terms_are_a_prompt() -> None:
    assert prompt_of([" 김철수 ", "", "Deepgram"]) == "김철수, Deepgram"
    assert prompt_of([" ", ""]) is None


@given(st.lists(st.text(min_size=1, max_size=900)))
def test_a_prompt_is_never_longer_than_the_protocol_takes(terms: list[str]) -> None:
    assert len(prompt_of(terms) or "") <= 2000


def test_a_prompt_ends_with_a_whole_term() -> None:
    assert prompt_of(["a" * 1000, "b" * 998]) == f"{'a' * 1000}, {'b' * 998}"
    assert prompt_of(["a" * 1000, "b" * 999]) == "a" * 1000


@pytest.mark.parametrize(
    "text", ["", "[]", "7", '{"a": ', "[" * 5000, "[" * 100_000, '{"a": [' + "[]," * 1_000_000 + "0]}", "9" * 10_000]
)
def test_what_is_no_object_or_would_take_much_memory_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^a frame (is no|has more)") as refused:
        json_object(text, "a frame")
    assert len(str(refused.value)) < 200


def test_a_long_sound_is_no_complicated_object() -> None:
    assert json_object('{"audio": "' + "A" * 16_000_000 + '"}', "a frame")["audio"].startswith("AAA")
