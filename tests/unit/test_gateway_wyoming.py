"""Wyoming's door: its events, and what the client is told."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any, Optional, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Action, Audio, Close, Configure, EndUtterance, Say
from gateway.doors.wyoming import Wyoming
from gateway.errors import BadRequest, Busy
from gateway.wyoming import Event, EventParser, encode_event
from protocol.data import Cause
from recognizer.catalog import LANGUAGE_CODES
from tests.harness.spoken import any_event, done, heard

FORM: dict[str, Any] = {"rate": 16000, "width": 2, "channels": 1}
SOUND = struct.pack("<4h", 1, 2, 3, 4)

CHARACTERS = st.characters(codec="utf-8")


def parsed(data: bytes) -> list[Event]:
    return list(EventParser().receive(data))


def says(wyoming: Wyoming, kind: str, payload: bytes = b"", **data: Any) -> list[Action]:
    return list(wyoming.received(encode_event(Event(kind, data, payload))))


def told(actions: Sequence[Action]) -> list[tuple[str, Any]]:
    said = b"".join(
        action.message for action in actions if isinstance(action, Say) and isinstance(action.message, bytes)
    )
    return [(event.type, dict(event.data)) for event in parsed(said)]


def begun(language: Optional[str] = None) -> Wyoming:
    wyoming = Wyoming("base")
    says(wyoming, "transcribe", language=language)
    says(wyoming, "audio-start", **FORM)
    return wyoming


# --- events


@given(
    st.lists(
        st.builds(
            Event,
            st.text(CHARACTERS, max_size=8),
            st.dictionaries(st.text(CHARACTERS, max_size=4), st.integers() | st.booleans()),
            st.binary(max_size=20),
        ),
        max_size=4,
    ),
    st.lists(st.integers(0, 400)),
)
def test_events_arrive_as_they_were_sent_however_they_are_cut(events: list[Event], at: list[int]) -> None:
    data = b"".join(map(encode_event, events))
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    parser = EventParser()
    arrived = [event for start, end in zip(edges, edges[1:]) for event in parser.receive(data[start:end])]
    assert arrived == events


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_events_or_refused(pieces: list[bytes]) -> None:
    parser = EventParser()
    with suppress(BadRequest):
        for piece in pieces:
            list(parser.receive(piece))


@given(st.dictionaries(st.sampled_from(["type", "data", "data_length", "payload_length"]), st.from_type(object)))
def test_any_line_is_taken_or_refused(fields: dict[str, Any]) -> None:
    with suppress(BadRequest):
        parsed(json.dumps(fields, default=str).encode() + b"\n{}" + bytes(8))


def test_data_may_stand_in_the_line_and_behind_it() -> None:
    (event,) = parsed(b'{"type": "a", "data": {"x": 1, "y": 1}, "data_length": 8}\n{"y": 2}')
    assert event == Event("a", {"x": 1, "y": 2})


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 1}\n',
        b'{"type": "a", "data": []}\n',
        b'{"type": "a", "data_length": -1}\n',
        b'{"type": "a", "data_length": true}\n',
        b'{"type": "a", "data_length": "1"}\n',
        b'{"type": "a", "data_length": 262145}\n',
        b'{"type": "a", "payload_length": 4194305}\n',
        b'{"type": "a", "data_length": 2}\n[]',
        b'{"type": "a", "data_length": 1}\n{',
        b"[" * 60_000 + b"\n",
        b"x" * 65_537,
        b"\xff\n",
    ],
)
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        parsed(data)


# --- what the client is told


def test_what_is_here_is_told_at_once() -> None:
    ((kind, data),) = told(says(Wyoming("base"), "describe"))
    (program,) = data["asr"]
    (model,) = program["models"]
    assert kind == "info"
    assert program["installed"] is model["installed"] is True
    assert model["name"] == "base"
    assert model["languages"] == sorted(LANGUAGE_CODES)


def test_an_english_model_knows_english() -> None:
    ((_, data),) = told(says(Wyoming("base.en"), "describe"))
    assert data["asr"][0]["models"][0]["languages"] == ["en"]


def test_a_ping_is_answered() -> None:
    assert told(says(Wyoming("base"), "ping", text="네")) == [("pong", {"text": "네"})]


def test_what_a_recogniser_has_nothing_to_do_with_is_passed_over() -> None:
    assert says(Wyoming("base"), "select-program", name="whisper") == []
    assert says(Wyoming("base"), "voice-started", timestamp=1) == []


def test_a_round_is_told_in_chunks_and_as_a_whole() -> None:
    wyoming = begun("ko")
    assert told(wyoming.heard(heard("안녕하세요.", language="ko"))) == [
        ("transcript-start", {"language": "ko"}),
        ("transcript-chunk", {"text": "안녕하세요."}),
    ]
    assert says(wyoming, "audio-stop") == [EndUtterance()]
    assert told(wyoming.heard(heard("네.", cause=Cause.ASKED))) == [("transcript-chunk", {"text": " 네."})]
    assert told(wyoming.heard(done(Cause.ASKED, True))) == [
        ("transcript", {"text": "안녕하세요. 네.", "language": "ko"}),
        ("transcript-stop", {}),
    ]


def test_a_round_without_speech_has_an_empty_transcript_and_so_has_one_without_sound() -> None:
    wyoming = begun("ko")
    says(wyoming, "audio-stop")
    says(wyoming, "audio-stop")
    empty = [("transcript-start", {}), ("transcript", {"text": ""}), ("transcript-stop", {})]
    assert told(wyoming.heard(done(Cause.ASKED, False))) == empty
    assert told(wyoming.heard(done(Cause.ASKED, False))) == empty


def test_the_language_counts_for_one_round() -> None:
    wyoming = begun("ko-KR")
    configure, audio = says(wyoming, "audio-chunk", SOUND, **FORM)
    assert isinstance(configure, Configure)
    assert configure.options.language == "ko"
    assert audio == Audio(SOUND)
    assert says(wyoming, "audio-chunk", SOUND, **FORM) == [Audio(SOUND)]
    says(wyoming, "audio-stop")
    configure, _ = says(wyoming, "audio-chunk", SOUND, **FORM)
    assert isinstance(configure, Configure)
    assert configure.options.language is None


def test_names_and_terms_are_a_prompt() -> None:
    wyoming = Wyoming("base")
    says(wyoming, "transcribe", transcript_names=["거실 등"], transcript_terms=["켜 줘"])
    configure, _ = says(wyoming, "audio-chunk", SOUND, **FORM)
    assert isinstance(configure, Configure)
    assert configure.options.prompt == "거실 등, 켜 줘"


def test_sound_is_brought_to_mono_of_16_bits_whatever_each_chunk_is() -> None:
    wyoming = begun()
    _, audio = says(wyoming, "audio-chunk", struct.pack("<4h", 2, 4, 6, 8), rate=48000, width=2, channels=2)
    assert audio == Audio(struct.pack("<2h", 3, 7))
    configure, audio = says(wyoming, "audio-chunk", bytes([128, 129]), rate=8000, width=1, channels=1)
    assert isinstance(configure, Configure)
    assert configure.options.sample_rate == 8000
    assert audio == Audio(struct.pack("<2h", 0, 256))


def test_half_a_sample_at_the_end_of_a_round_is_dropped() -> None:
    wyoming = begun()
    assert says(wyoming, "audio-chunk", SOUND + b"\x01", **FORM) == [Audio(SOUND)]
    says(wyoming, "audio-stop")
    assert says(wyoming, "audio-chunk", SOUND, **FORM) == [Audio(SOUND)]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("transcribe", {"language": "xx"}),
        ("transcribe", {"language": 1}),
        ("transcribe", {"transcript_names": "x"}),
        ("audio-start", {"rate": 7000}),
        ("audio-start", {"rate": "16000"}),
        ("audio-start", {"width": 0}),
        ("audio-start", {"channels": 17}),
        ("audio-chunk", {"channels": True}),
        ("audio-chunk", {"width": 1.5}),
    ],
)
def test_what_cannot_be_is_told_and_ends_the_connection(kind: str, data: dict[str, Any]) -> None:
    actions = says(Wyoming("base"), kind, **data)
    ((told_kind, error),) = told(actions)
    assert told_kind == "error"
    assert next(iter(data)) in error["text"]
    assert isinstance(actions[-1], Close)


def test_what_was_right_before_a_fault_still_counts() -> None:
    wyoming = begun()
    actions = wyoming.received(encode_event(Event("audio-stop")) + b"rubbish\n")
    assert actions[0] == EndUtterance()
    assert told(actions)[0][0] == "error"


def test_a_client_that_is_not_served_is_told_why() -> None:
    said, close = begun().failed(Busy("no engine"))
    assert told([said]) == [("error", {"text": "no engine", "code": "Busy"})]
    assert close == Close(1013, "no engine")


def test_a_client_that_waits_for_its_transcript_may_be_silent() -> None:
    wyoming = begun()
    assert wyoming.quiet() == [Close()]
    says(wyoming, "audio-stop")
    assert wyoming.quiet() == []
    wyoming.heard(done(Cause.ASKED, False))
    assert wyoming.quiet() == [Close()]


EVENTS = st.builds(
    Event,
    st.sampled_from("describe ping transcribe audio-start audio-chunk audio-stop other".split()),
    st.dictionaries(
        st.sampled_from("text language rate width channels transcript_names".split()),
        st.sampled_from([None, "ko", 16000, 8000, 1, 2, ["a"], "\ud800"]),
    ),
    st.binary(max_size=9),
)


@given(st.lists(st.one_of(EVENTS, any_event())))
def test_nothing_is_raised_and_every_round_has_one_transcript(steps: list[Any]) -> None:
    wyoming = Wyoming("base")
    stops, transcripts = 0, 0
    for step in steps:
        if isinstance(step, Event):
            actions = list(wyoming.received(encode_event(step)))
            stops += EndUtterance() in actions
        else:
            actions = list(wyoming.heard(step))
        transcripts += sum(kind == "transcript" for kind, _ in told(actions))
        if any(isinstance(action, Close) for action in actions):
            return
    for _ in range(stops - transcripts):
        transcripts += sum(kind == "transcript" for kind, _ in told(wyoming.heard(done(Cause.ASKED, False))))
    assert transcripts == stops
