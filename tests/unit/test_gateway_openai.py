"""OpenAI's API for audio files, as pure data: what is asked for, answers, errors."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import openai
from gateway.errors import (
    BadRequest,
    Busy,
    GatewayError,
    NoServer,
    SessionLost,
    TooLarge,
    TooSlow,
    WrongKey,
    WrongKind,
)
from protocol.data import Cause, Detail, Word
from util import Result

FIELDS = ["language", "prompt", "temperature", "response_format", "timestamp_granularities[]", "stream", "keywords[]"]
NAMES = st.sampled_from([*FIELDS, "model", "include[]", "unknown"])
VALUES = st.one_of(st.text(max_size=20), st.sampled_from(["", "ko", "0.5", "true", "word", "segment", "vtt", "json"]))


def asked(*fields: tuple[str, str], task: str = "transcribe", size: str = "base") -> openai.Asked:
    return openai.asked(fields, task, size)


def result(start_s: float, end_s: float, text: str, language: str = "en") -> Result:
    words = text.split()
    each_s = (end_s - start_s) / max(1, len(words))
    times = [
        Word(word, start_s + each_s * index, start_s + each_s * (index + 1), 0.9) for index, word in enumerate(words)
    ]
    return Result(start_s, end_s, text, Detail(language, Cause.SILENCE, -0.25, 0.01, 0.9, tuple(times)))


HEARD = openai.Heard([result(1.5, 3.0, "안녕하세요 여러분.", "ko"), result(4.0, 5.0, "Good morning.")], 6.0, None)


def answered(heard: openai.Heard, *fields: tuple[str, str], task: str = "transcribe") -> Any:
    return json.loads(openai.answer(asked(*fields, task=task), heard).body)


# --- what is asked for


def test_who_asks_for_nothing_gets_json_in_the_language_that_is_configured() -> None:
    options = asked(("model", "whisper-1")).options
    assert (options.language, options.prompt, options.task, options.detail) == (None, None, "transcribe", True)
    assert asked().response_format == "json"
    assert not asked().is_streamed


@pytest.mark.parametrize("name", ["ko", "KO", " ko ", "ko-KR", "ko_KR", "korean", "Korean"])
def test_a_language_may_be_named_by_its_code_a_locale_or_its_name(name: str) -> None:
    assert asked(("language", name)).options.language == "ko"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language", "klingon"),
        ("language", "-"),
        ("temperature", "hot"),
        ("temperature", "nan"),
        ("temperature", "1.1"),
        ("temperature", "-0.1"),
        ("response_format", "diarized_json"),
        ("response_format", "xml"),
        ("timestamp_granularities[]", "syllable"),
        ("stream", "perhaps"),
    ],
)
def test_what_cannot_be_is_named_with_its_parameter(name: str, value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked((name, value))
    assert caught.value.param == name
    assert value in str(caught.value)


def test_a_model_for_english_alone_takes_no_other_language() -> None:
    with pytest.raises(BadRequest, match="language: 'ko' is not supported; expected en"):
        asked(("language", "ko"), size="base.en")


def test_of_a_long_prompt_the_end_counts() -> None:
    prompt = asked(("prompt", "a" * 3000 + "end")).options.prompt
    assert prompt is not None
    assert len(prompt) == 2000
    assert prompt.endswith("aend")


def test_keywords_help_as_a_prompt_does() -> None:
    assert asked(("keywords[]", "Krapp"), ("keywords[]", "Godot"), ("prompt", "A play.")).options.prompt == (
        "Krapp, Godot A play."
    )


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
def test_a_list_may_be_named_with_or_without_brackets(name: str) -> None:
    assert asked((name, "word"), (name, "segment")).granularities == {"word", "segment"}


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["transcribe", "translate"]))
def test_whatever_the_fields_say_is_understood_or_refused_in_one_line(fields: list[tuple[str, str]], task: str) -> None:
    refused: list[BadRequest] = []
    try:
        assert openai.asked(fields, task, "base").options.task == task
    except BadRequest as error:
        refused.append(error)
    assert all(error.param in FIELDS and str(error).isprintable() for error in refused)


# --- answers


def test_the_text_is_all_results_in_order() -> None:
    assert answered(HEARD)["text"] == "안녕하세요 여러분. Good morning."
    assert openai.answer(asked(("response_format", "text")), HEARD) == (
        "안녕하세요 여러분. Good morning.\n",
        "text/plain",
    )


@pytest.mark.parametrize(
    ("kind", "media_type", "begin"),
    [
        ("srt", "application/x-subrip", "1\n00:00:01,500 --> 00:00:03,000\n안녕하세요 여러분.\n\n2\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:01.500 --> 00:00:03.000\n안녕하세요 여러분.\n\n"),
    ],
)
def test_subtitles_are_those_of_the_client_command(kind: str, media_type: str, begin: str) -> None:
    answer = openai.answer(asked(("response_format", kind)), HEARD)
    assert answer.media_type == media_type
    assert answer.body.startswith(begin)


def test_verbose_json_has_what_whisper_says_of_a_segment() -> None:
    fields = answered(HEARD, ("response_format", "verbose_json"))
    assert "words" not in fields
    assert (fields["task"], fields["duration"]) == ("transcribe", 6.0)
    assert "".join(segment["text"] for segment in fields["segments"]).strip() == fields["text"]
    data = b" Good morning."
    assert fields["segments"][1] == {
        "id": 1,
        "seek": 400,
        "start": 4.0,
        "end": 5.0,
        "text": " Good morning.",
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 3),
        "no_speech_prob": 0.01,
    }


def test_verbose_json_has_the_times_that_are_asked_for() -> None:
    words = answered(HEARD, ("response_format", "verbose_json"), ("timestamp_granularities[]", "word"))
    assert "segments" not in words
    assert words["words"][0] == {"word": "안녕하세요", "start": 1.5, "end": 2.25}
    assert [word["word"] for word in words["words"]] == words["text"].split()
    both = [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")]
    assert {"words", "segments"} <= answered(HEARD, ("response_format", "verbose_json"), *both).keys()


def test_the_language_is_that_which_was_spoken_longest() -> None:
    assert answered(HEARD, ("response_format", "verbose_json"))["language"] == "korean"
    assert answered(HEARD, ("response_format", "verbose_json"), task="translate")["language"] == "english"


@pytest.mark.parametrize(
    ("asked_for", "configured", "told"), [("de", "ko", "german"), ("", "ko", "korean"), ("", "auto", "unknown")]
)
def test_of_silence_the_language_is_that_which_was_expected(asked_for: str, configured: str, told: str) -> None:
    request = asked(("language", asked_for), ("response_format", "verbose_json"))
    silence = openai.Heard([], 3.0, openai.fallback_language(request, configured))
    fields = json.loads(openai.answer(request, silence).body)
    assert (fields["language"], fields["text"], fields["segments"]) == (told, "", [])


@settings(deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), max_size=5))
def test_the_deltas_together_are_the_text(texts: list[str]) -> None:
    heard = openai.Heard([Result(0.0, 1.0, text) for text in texts], 1.0, None)
    deltas = [openai.delta(text, is_first=index == 0)["delta"] for index, text in enumerate(texts)]
    assert "".join(deltas) == heard.text == openai.done(heard.text)["text"]
    json.loads(openai.to_json(openai.done(heard.text)))


# --- errors


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (BadRequest("no"), 400, "invalid_request_error", None),
        (WrongKey("no"), 401, "invalid_request_error", "invalid_api_key"),
        (TooSlow("no"), 408, "invalid_request_error", None),
        (TooLarge("no"), 413, "invalid_request_error", None),
        (WrongKind("no"), 415, "invalid_request_error", None),
        (SessionLost("no"), 502, "server_error", None),
        (Busy("no"), 503, "server_error", "server_busy"),
        (NoServer("no"), 503, "server_error", "no_server"),
    ],
)
def test_every_error_has_its_status_and_the_form_of_openai(
    error: GatewayError, status: int, kind: str, code: str | None
) -> None:
    assert openai.status_of(error) == status
    assert openai.error_of(error) == {"error": {"message": "no", "type": kind, "param": None, "code": code}}


def test_a_model_at_a_path_is_listed_by_its_last_name() -> None:
    names = [model["id"] for model in openai.models("/models/korean-base/", 7)]
    assert names == ["korean-base", *openai.ALIASES]
    assert [model["id"] for model in openai.models("whisper-1", 7)] == list(openai.ALIASES)
