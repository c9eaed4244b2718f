"""Deepgram's door: what a query asks for, and what the client is told."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Any, Optional, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Action, Audio, Close, Configure, EndUtterance, Finish, Say
from gateway.doors.deepgram import Deepgram, Listen, asked
from gateway.errors import BadRequest, Busy, GatewayError, NoServer, SessionLost
from protocol.data import Cause, Partial, SpeechStarted
from tests.harness.spoken import any_event, done, heard

SECOND = bytes(32000)
FINALIZE, CLOSE, KEEP_ALIVE = (json.dumps({"type": kind}) for kind in ("Finalize", "CloseStream", "KeepAlive"))


def listen(**query: Any) -> Listen:
    return asked({"encoding": "linear16", "sample_rate": "16000", **query}.items(), "base")


def opened(**query: Any) -> Deepgram:
    return Deepgram(listen(**query), "request", "2026-01-01T00:00:00+00:00", "base")


def told(actions: Sequence[Action]) -> list[Any]:
    return [json.loads(action.message) for action in actions if isinstance(action, Say)]


def transcript(results: Any) -> str:
    return str(results["channel"]["alternatives"][0]["transcript"])


# --- what a query asks for


def test_what_pipecat_asks_for() -> None:
    got = listen(
        language="ko", model="nova-3-general", interim_results="true", punctuate="true", channels="1",
        multichannel="false", smart_format="false", detect_entities="false",
    )  # fmt: skip
    assert got.options.language == "ko"
    assert got.options.sample_rate == 16000
    assert got.options.encoding == "pcm_s16le"
    assert got.options.partial
    assert got.options.silence_ms is None
    assert got.utterance_end_s is None


@pytest.mark.parametrize(
    ("endpointing", "silence_ms", "has_endpoints"),
    [
        (None, None, True),
        ("true", None, True),
        ("false", None, False),
        ("0", None, True),
        ("25", None, True),
        ("100", 100, True),
        ("300", 300, True),
        ("9000", 5000, True),
    ],
)
def test_the_pause_that_ends_an_utterance(
    endpointing: Optional[str], silence_ms: Optional[int], has_endpoints: bool
) -> None:
    got = listen(**({} if endpointing is None else {"endpointing": endpointing}))
    assert (got.options.silence_ms, got.has_endpoints) == (silence_ms, has_endpoints)


@pytest.mark.parametrize(
    ("query", "language"),
    [({"language": "ko-KR"}, "ko"), ({"language": "multi"}, "auto"), ({"detect_language": "true"}, "auto"), ({}, None)],
)
def test_the_language(query: dict[str, str], language: Optional[str]) -> None:
    assert listen(**query).options.language == language


def test_key_terms_and_keywords_are_a_prompt() -> None:
    query = [("encoding", "mulaw"), ("keyterm", "김철수"), ("keywords", "Fehler:2"), ("keywords", "um:-3")]
    assert asked([*query, ("keyterm", "서울역")], "base").options.prompt == "김철수, Fehler, 서울역"


def test_g711_is_a_telephone_s_unless_another_rate_is_named() -> None:
    assert asked([("encoding", "alaw")], "base").options.sample_rate == 8000
    assert asked([("encoding", "mulaw"), ("sample_rate", "16000")], "base").options.sample_rate == 16000


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({}, "encoding"),
        ({"encoding": "opus"}, "encoding"),
        ({"encoding": "linear16"}, "sample_rate"),
        ({"encoding": "linear16", "sample_rate": "7999"}, "sample_rate"),
        ({"encoding": "linear16", "sample_rate": "1e4"}, "sample_rate"),
        ({"encoding": "mulaw", "sample_rate": "9" * 5000}, "sample_rate"),
        ({"encoding": "mulaw", "sample_rate": "８０００"}, "sample_rate"),
        ({"encoding": "mulaw", "channels": "2"}, "channels"),
        ({"encoding": "linear16", "sample_rate": "16000", "channels": "0"}, "channels"),
        ({"encoding": "linear16", "sample_rate": "16000", "channels": "2", "multichannel": "true"}, "multichannel"),
        ({"encoding": "mulaw", "language": "xx"}, "language"),
        ({"encoding": "mulaw", "interim_results": "perhaps"}, "interim_results"),
        ({"encoding": "mulaw", "endpointing": "-1"}, "endpointing"),
        ({"encoding": "mulaw", "utterance_end_ms": "soon"}, "utterance_end_ms"),
        ({"encoding": "mulaw", "callback": "http://example.com"}, "callback"),
        ({"encoding": "mulaw", "redact": "pci"}, "redact"),
    ],
)
def test_what_cannot_be_is_refused_by_name(query: dict[str, str], param: str) -> None:
    with pytest.raises(BadRequest, match=param) as failure:
        asked(query.items(), "base")
    assert failure.value.param == param


NAMES = st.sampled_from("encoding sample_rate channels language endpointing utterance_end_ms interim_results".split())


@given(st.lists(st.tuples(st.one_of(NAMES, st.text()), st.text())))
def test_any_query_is_either_taken_or_refused(query: list[tuple[str, str]]) -> None:
    with suppress(BadRequest):
        asked([("encoding", "mulaw"), *query], "base")


# --- results


def test_an_interim_result_is_the_open_utterance_with_words_that_share_its_time() -> None:
    (said,) = told(opened(interim_results="true").heard(Partial(1.0, 2.0, "Hello, my", "fr")))
    assert (said["is_final"], said["speech_final"], said["from_finalize"]) == (False, False, False)
    assert (said["start"], said["duration"]) == (1.0, 1.0)
    assert transcript(said) == "Hello, my fr"
    words = said["channel"]["alternatives"][0]["words"]
    assert [word["punctuated_word"] for word in words] == ["Hello,", "my", "fr"]
    assert [word["word"] for word in words] == ["hello", "my", "fr"]
    assert [(word["start"], word["end"]) for word in words] == [(1.0, 1.6), (1.6, 1.8), (1.8, 2.0)]
    assert [word["confidence"] for word in words] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("cause", "speech_final", "from_finalize"),
    [
        (Cause.SILENCE, True, False),
        (Cause.LENGTH, False, False),
        (Cause.ASKED, True, True),
        (Cause.FINISH, True, False),
    ],
)
def test_a_final_says_why_it_is_one(cause: Cause, speech_final: bool, from_finalize: bool) -> None:
    (said,) = told(opened().heard(heard("네 그래요", 1.0, 2.0, cause)))
    assert transcript(said) == "네 그래요"
    assert said["is_final"]
    assert said["speech_final"] is speech_final
    assert said["from_finalize"] is from_finalize
    assert said["metadata"]["request_id"] == "request"
    assert "languages" not in said["channel"]["alternatives"][0]


def test_without_endpointing_no_pause_is_an_end() -> None:
    (said,) = told(opened(endpointing="false").heard(heard("yes")))
    assert (said["is_final"], said["speech_final"]) == (True, False)


def test_whoever_speaks_any_language_is_told_which() -> None:
    (said,) = told(opened(language="multi").heard(heard("네", language="ko")))
    assert said["channel"]["alternatives"][0]["languages"] == ["ko"]


def test_finalize_is_answered_when_nothing_was_open() -> None:
    deepgram = opened()
    assert deepgram.received(FINALIZE) == [EndUtterance()]
    (said,) = told(deepgram.heard(done(Cause.ASKED, False, 3.0, 3.0)))
    assert (transcript(said), said["is_final"], said["from_finalize"]) == ("", True, True)


def test_finalize_is_answered_once_when_something_was_said() -> None:
    deepgram = opened()
    deepgram.received(FINALIZE)
    answers = [*deepgram.heard(heard("네", cause=Cause.ASKED)), *deepgram.heard(done(Cause.ASKED, True))]
    assert [(transcript(said), said["from_finalize"]) for said in told(answers)] == [("네", True)]


def test_speech_that_was_none_has_an_end_all_the_same() -> None:
    deepgram = opened(vad_events="true")
    assert told(deepgram.heard(SpeechStarted(1.25))) == [
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 1.25}
    ]
    (said,) = told(deepgram.heard(done(Cause.SILENCE, False)))
    assert (transcript(said), said["speech_final"]) == ("", True)


def test_nobody_is_told_of_speech_who_has_not_asked_for_it() -> None:
    assert opened().heard(SpeechStarted(1.25)) == []


# --- UtteranceEnd


def ends(actions: Sequence[Action]) -> list[float]:
    return [said["last_word_end"] for said in told(actions) if said["type"] == "UtteranceEnd"]


def spoken(deepgram: Deepgram, start_s: float, end_s: float, cause: Cause = Cause.SILENCE) -> list[float]:
    deepgram.heard(SpeechStarted(start_s))
    deepgram.heard(heard("yes", start_s, end_s, cause))
    return ends(deepgram.heard(done(cause, True, start_s, end_s)))


def test_an_utterance_has_ended_when_nobody_spoke_for_so_long() -> None:
    deepgram = opened(utterance_end_ms="1000", interim_results="true")
    assert ends(deepgram.received(SECOND)) == []
    assert spoken(deepgram, 0.1, 0.9) == []
    assert ends(deepgram.received(SECOND)) == [0.9]
    assert ends(deepgram.received(SECOND)) == []


def test_an_utterance_has_not_ended_where_speech_goes_on() -> None:
    deepgram = opened(utterance_end_ms="1000")
    spoken(deepgram, 0.1, 0.9, Cause.LENGTH)
    deepgram.heard(SpeechStarted(0.95))
    for _ in range(4):
        assert ends(deepgram.received(SECOND)) == []
    deepgram.heard(heard("no", 0.95, 1.5))
    assert ends(deepgram.heard(done(Cause.SILENCE, True, 0.95, 1.5))) == [1.5]


def test_a_result_that_comes_late_is_followed_by_its_end() -> None:
    deepgram = opened(utterance_end_ms="1000")
    for _ in range(3):
        deepgram.received(SECOND)
    assert spoken(deepgram, 0.1, 0.9) == [0.9]


def test_finalize_with_nothing_open_does_not_end_what_has_begun_since() -> None:
    deepgram = opened(utterance_end_ms="1000")
    spoken(deepgram, 0.1, 0.9)
    deepgram.heard(SpeechStarted(1.2))
    assert ends(deepgram.heard(done(Cause.ASKED, False, 1.0, 1.0))) == []
    assert ends(deepgram.received(SECOND * 3)) == []


# --- what the client says


def test_sound_of_two_channels_is_mixed() -> None:
    (action,) = opened(channels="2").received(b"\x02\x00\x04\x00")
    assert action == Audio(b"\x03\x00")


def test_the_end_of_the_stream_is_told_with_what_it_was() -> None:
    deepgram = opened(channels="2")
    deepgram.received(SECOND)
    assert deepgram.received(CLOSE) == [Finish()]
    assert deepgram.received(SECOND) == []
    end = deepgram.ended()
    (said,) = told(end)
    assert said["type"] == "Metadata"
    assert said["duration"] == 0.5
    assert said["channels"] == 2
    assert said["sha256"] == hashlib.sha256(SECOND).hexdigest()
    assert end[-1] == Close(1000)


def test_an_empty_frame_ends_the_stream_as_it_did_in_older_clients() -> None:
    assert opened().received(b"") == [Finish()]


def test_other_key_terms_count_from_now_on() -> None:
    action, said = opened(keyterm="a").received('{"type": "Configure", "keyterms": ["서울역", "강남"]}')
    assert isinstance(action, Configure)
    assert action.options.prompt == "서울역, 강남"
    assert told([said]) == [{"type": "ConfigureSuccess", "request_id": "request", "keyterms": ["서울역", "강남"]}]


def test_features_are_accepted_and_change_nothing() -> None:
    (said,) = told(opened().received('{"type": "Configure", "features": {"numerals": true}}'))
    assert said == {"type": "ConfigureSuccess", "request_id": "request"}


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "[]",
        "1",
        "{}",
        '{"type": 1}',
        '{"type": "Hello"}',
        '{"type": "Configure", "keyterms": 1}',
        "[" * 100_000,
    ],
)
def test_what_is_none_of_the_protocol_is_told_and_the_stream_goes_on(message: str) -> None:
    deepgram = opened()
    (said,) = told(deepgram.received(message))
    assert (said["type"], said["variant"], said["message"]) == ("Error", "SchemaError", message[:1000])
    assert deepgram.received(SECOND) == [Audio(SECOND)]


def test_a_silent_client_is_closed_unless_it_waits_for_the_end() -> None:
    deepgram = opened()
    (close,) = deepgram.quiet()
    assert isinstance(close, Close)
    assert close.code == 1011
    assert close.reason.startswith("NET-0001")
    deepgram.received(CLOSE)
    assert deepgram.quiet() == []


@pytest.mark.parametrize(
    ("error", "code"), [(Busy("b"), 1013), (NoServer("n"), 1013), (BadRequest("r"), 1008), (SessionLost("s"), 1011)]
)
def test_a_client_that_is_not_served_is_told_why(error: GatewayError, code: int) -> None:
    said, close = opened().failed(error)
    assert told([said]) == [
        {"type": "Error", "variant": type(error).__name__, "description": str(error), "code": type(error).__name__}
    ]
    assert close == Close(code, str(error))


MESSAGES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([FINALIZE, KEEP_ALIVE, CLOSE, '{"type": "Configure", "keyterms": ["\\ud800"]}']),
    st.text(max_size=20),
)


@given(
    st.lists(
        st.one_of(
            MESSAGES.map(lambda message: ("says", message)),
            any_event([Cause.SILENCE, Cause.LENGTH]).map(lambda event: ("hears", event)),
        )
    )
)
def test_nothing_is_raised_all_is_text_that_can_be_sent_and_every_finalize_is_answered(
    steps: list[tuple[str, Any]],
) -> None:
    deepgram = opened(utterance_end_ms="1000", vad_events="true", interim_results="true")
    finalized, answers = 0, 0
    for side, what in steps:
        actions = deepgram.received(what) if side == "says" else deepgram.heard(what)
        finalized += EndUtterance() in actions
        for action in actions:
            if isinstance(action, Say):
                str(action.message).encode()
    for _ in range(finalized):
        said = told(deepgram.heard(done(Cause.ASKED, False, 1.0, 1.0)))
        answers += sum(one.get("from_finalize", False) for one in said)
    assert answers == finalized
