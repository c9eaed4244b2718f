"""The Realtime door: what a client is told, of what it says and of what is heard in that."""

from __future__ import annotations

import base64
import json
from typing import Any, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Action, Audio, Close, Configure, EndUtterance, Finish, Say
from gateway.doors.realtime import Realtime
from gateway.doors.realtime_session import PARTIAL, WORDS, Detection, Settings
from gateway.errors import BadRequest, Busy, GatewayError, NoServer, SessionLost
from protocol.data import Cause, Partial, SessionOptions, SpeechStarted, SpeechStopped
from tests.harness.spoken import any_event, done, heard

TRANSCRIPTION = "conversation.item.input_audio_transcription"
APPEND = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(480)).decode()}
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
DONE = {"type": "input_audio_buffer.done"}
DETECTED = Settings()
MANUAL = Settings(detection=None)


class Client:
    """A client of a door; keeps what it is told and what the line is asked for."""

    def __init__(self, settings: Settings = DETECTED, is_riva: bool = False) -> None:
        self.door = Realtime("x", settings, "base", 480, is_riva)
        self.told: list[dict[str, Any]] = []
        self.asked: list[Action] = []
        self._take(self.door.opened())

    def says(self, *events: dict[str, Any] | str | bytes) -> Client:
        for event in events:
            self._take(self.door.received(json.dumps(event) if isinstance(event, dict) else event))
        return self

    def hears(self, *events: Any) -> Client:
        for event in events:
            self._take(self.door.heard(event))
        return self

    def is_quiet(self) -> Client:
        self._take(self.door.quiet())
        return self

    def fails(self, error: GatewayError) -> Client:
        self._take(self.door.failed(error))
        return self

    def ends(self) -> Client:
        self._take(self.door.ended())
        return self

    def _take(self, actions: Sequence[Action]) -> None:
        self.told += [json.loads(action.message) for action in actions if isinstance(action, Say)]
        self.asked += [action for action in actions if not isinstance(action, Say)]

    @property
    def kinds(self) -> list[str]:
        """What it was told after the first event, in short."""
        return [event["type"].rsplit(".", 1)[1] for event in self.told[1:]]

    def only(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["type"].endswith(f".{kind}") or event["type"] == kind]

    @property
    def transcripts(self) -> list[str]:
        return [event["transcript"] for event in self.only("completed")]

    @property
    def deltas(self) -> dict[str, str]:
        """All deltas of each item."""
        deltas: dict[str, str] = {}
        for event in self.only("delta"):
            deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
        return deltas


def update(**session: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "transcription", **session}}


def audio_input(**fields: Any) -> dict[str, Any]:
    return update(audio={"input": fields})


def flat_update(**session: Any) -> dict[str, Any]:
    return {"type": "transcription_session.update", "session": session}


def utterance(
    text: str, start_s: float, end_s: float, cause: Cause = Cause.SILENCE, stables: Sequence[str] = ()
) -> list[Any]:
    """All events of one, in order."""
    return [
        SpeechStarted(start_s),
        *(Partial(start_s, end_s, stable, "") for stable in stables),
        SpeechStopped(end_s, cause),
        *([heard(text, start_s, end_s, cause)] if text else []),
        done(cause, bool(text), start_s, end_s),
    ]


def nothing_open(at_s: float = 0.0) -> Any:
    """What comes for an end of an utterance where none is open."""
    return done(Cause.ASKED, False, at_s, at_s)


# --- silence ends utterances -----------------------------------------------------------------


def test_an_utterance_is_an_item_that_is_told_of_from_its_start_to_its_text() -> None:
    client = Client().hears(*utterance("Hello there you.", 1.2, 3.4, stables=["Hello", "Hello there"]))
    assert client.kinds == ["speech_started", "delta", "delta", "speech_stopped", "committed", "delta", "completed"]
    started, first, second, stopped, committed, rest, completed = client.told[1:]
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (1200, 3400)
    assert [first["delta"], second["delta"], rest["delta"]] == ["Hello", " there", " you."]
    assert completed["transcript"] == "Hello there you."
    assert completed["usage"] == {"type": "duration", "seconds": 2.2}
    assert completed["languages"] == [{"code": "en"}]
    assert committed["previous_item_id"] is None
    assert len({event["item_id"] for event in client.told[1:]}) == 1


def test_each_item_names_the_one_before() -> None:
    client = Client().hears(*utterance("a", 0, 1), *utterance("b", 2, 3))
    first, second = client.only("committed")
    assert second["previous_item_id"] == first["item_id"] != second["item_id"]


def test_what_is_noise_is_completed_without_text() -> None:
    client = Client().hears(*utterance("", 0, 1))
    assert client.kinds == ["speech_started", "speech_stopped", "committed", "completed"]
    assert client.transcripts == [""]


def test_deltas_stay_where_the_final_text_is_another() -> None:
    client = Client().hears(*utterance("I see you", 0, 1, stables=["Icy"]))
    assert list(client.deltas.values()) == ["Icy"]
    assert client.transcripts == ["I see you"]


def test_an_utterance_that_begins_before_the_last_is_recognised_has_its_own_text() -> None:
    early = SpeechStarted(2)
    first = utterance("a", 0, 1)
    client = Client().hears(*first[:2], early, *first[2:], *utterance("b", 2, 3)[1:])
    assert client.transcripts == ["a", "b"]
    assert [event["item_id"] for event in client.only("completed")] == [
        event["item_id"] for event in client.only("speech_started")
    ]


def test_speech_that_goes_on_after_a_cut_has_neither_stopped_nor_started() -> None:
    client = Client().hears(*utterance("one", 0, 10, Cause.LENGTH)[:2], SpeechStarted(10))
    client.hears(heard("one"), done(Cause.LENGTH, True, 0, 10), *utterance("two", 10, 12)[1:])
    assert client.kinds == [
        "speech_started",
        "committed",
        "delta",
        "completed",
        "speech_stopped",
        "committed",
        "delta",
        "completed",
    ]
    assert client.transcripts == ["one", "two"]


def test_a_cut_that_silence_follows_is_told_as_a_stop_when_it_is_recognised() -> None:
    client = Client().hears(*utterance("one", 0, 10, Cause.LENGTH), *utterance("two", 20, 21))
    assert [kind for kind in client.kinds if kind.startswith("speech")] == ["speech_started", "speech_stopped"] * 2


def test_a_commit_ends_no_utterance_while_audio_comes() -> None:
    client = Client().says(APPEND, COMMIT, APPEND).is_quiet()
    assert client.asked == [Audio(bytes(480))] * 2


def test_a_commit_that_no_audio_follows_ends_the_utterance() -> None:
    client = Client().says(APPEND, COMMIT)
    assert client.door.quiet_limit_s is not None
    client.hears(SpeechStarted(0)).is_quiet()
    assert client.asked == [Audio(bytes(480)), EndUtterance()]
    assert client.door.quiet_limit_s is None
    client.hears(*utterance("now", 0, 1, Cause.ASKED)[1:])
    assert client.kinds == ["speech_started", "speech_stopped", "committed", "delta", "completed"]


def test_a_commit_with_nothing_said_is_committed_and_completed_without_text() -> None:
    client = Client().says(APPEND, COMMIT).is_quiet().hears(nothing_open())
    assert client.kinds == ["committed", "completed"]
    assert client.transcripts == [""]


def test_the_end_of_nothing_is_not_that_of_an_utterance_that_has_begun() -> None:
    client = Client().says(APPEND, COMMIT).is_quiet()
    client.hears(SpeechStarted(1), nothing_open(), *utterance("one", 1, 2)[1:])
    assert client.transcripts == ["", "one"]


# --- the client ends its turns ---------------------------------------------------------------


def test_a_turn_is_one_item_however_often_it_was_cut_by_its_length() -> None:
    client = Client(MANUAL).says(APPEND)
    client.hears(*utterance("one two", 0, 10, Cause.LENGTH, ["one"]), *utterance("three", 10, 12, Cause.ASKED)[:1])
    client.says(COMMIT).hears(*utterance("three", 10, 12, Cause.ASKED)[1:])
    assert client.kinds == ["delta", "delta", "committed", "delta", "completed"]
    assert client.asked == [Audio(bytes(480)), EndUtterance()]
    assert client.transcripts == ["one two three"] == list(client.deltas.values())
    assert client.told[-1]["usage"]["seconds"] == 12


def test_a_turn_with_nothing_said_is_completed_without_text() -> None:
    client = Client(MANUAL).says(COMMIT).hears(nothing_open(1.5))
    assert client.kinds == ["committed", "completed"]
    assert client.transcripts == [""]


def test_what_is_said_after_a_commit_belongs_to_the_next_turn_although_the_last_is_not_recognised() -> None:
    first = utterance("one", 0, 1, Cause.ASKED)
    client = Client(MANUAL).says(APPEND, COMMIT).hears(*first[:2], SpeechStarted(2)).says(APPEND, COMMIT)
    client.hears(*first[2:], *utterance("two", 2, 3, Cause.ASKED)[1:])
    assert client.transcripts == ["one", "two"]
    assert [event["item_id"] for event in client.only("completed")] == [
        event["item_id"] for event in client.only("committed")
    ]


def test_a_turn_keeps_what_was_recognised_when_the_engine_was_given_back() -> None:
    client = Client(MANUAL).says(APPEND).hears(*utterance("one", 0, 1, Cause.FINISH)).says(COMMIT)
    client.hears(nothing_open(1))
    assert client.transcripts == ["one"]


# --- what is dropped -------------------------------------------------------------------------


def test_a_turn_that_is_cleared_is_not_told_of_any_more() -> None:
    client = Client(MANUAL).says(APPEND).hears(SpeechStarted(0)).says(CLEAR)
    client.hears(*utterance("no", 0, 1, Cause.ASKED)[1:])
    assert client.kinds == ["cleared"]
    client.says(APPEND, COMMIT).hears(*utterance("yes", 2, 3, Cause.ASKED))
    assert client.transcripts == ["yes"]


def test_what_was_committed_before_is_not_cleared() -> None:
    client = Client(MANUAL).says(APPEND, COMMIT, APPEND, CLEAR)
    client.hears(*utterance("one", 0, 1, Cause.ASKED), *utterance("no", 2, 3, Cause.ASKED))
    assert client.transcripts == ["one"]


def test_an_open_utterance_is_cleared_and_one_that_has_ended_is_not() -> None:
    first = utterance("one", 0, 1)
    client = Client().says(APPEND).hears(*first[:2], SpeechStarted(2)).says(CLEAR)
    client.hears(*first[2:], *utterance("no", 2, 3, Cause.ASKED)[1:], *utterance("three", 4, 5))
    assert client.transcripts == ["one", "three"]
    assert [kind for kind in client.kinds if kind.startswith("speech")] == ["speech_started", "speech_stopped"] * 3


def test_an_utterance_that_is_heard_of_after_it_was_cleared_is_not_told_of() -> None:
    client = Client().says(APPEND, CLEAR, APPEND)
    client.hears(*utterance("no", 0, 1), *utterance("no", 2, 3, Cause.ASKED), *utterance("yes", 4, 5))
    assert client.kinds[0] == "cleared"
    assert client.transcripts == ["yes"]
    assert client.only("speech_started")[0]["audio_start_ms"] == 4000


# --- what is asked for -----------------------------------------------------------------------


def test_the_first_event_is_the_session_with_its_defaults() -> None:
    (created,) = Client().told
    assert created["type"] == "session.created"
    assert created["session"]["type"] == "transcription"
    assert created["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 480
    assert Realtime("x", Settings(), "base", 480).options == SessionOptions(
        sample_rate=24000, encoding="pcm_s16le", turn="auto", partial=True, events=True, detail=True
    )


def test_todays_form_of_an_update_is_answered_with_the_whole_session() -> None:
    client = Client().says(
        audio_input(
            format={"type": "audio/pcm", "rate": 16000},
            transcription={"model": "whisper-1", "language": "ko-KR", "prompt": "names", "keywords": ["a", "b"]},
            turn_detection={"type": "server_vad", "threshold": 0.3, "silence_duration_ms": 20},
            noise_reduction={"type": "near_field"},
        )
    )
    assert client.told[-1]["type"] == "session.updated"
    assert client.told[-1]["session"]["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 16000},
        "transcription": {"model": "whisper-1", "language": "ko", "prompt": "names", "keywords": ["a", "b"]},
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.3,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 100,
        },
        "noise_reduction": {"type": "near_field"},
    }
    options = client.door.options
    assert (options.sample_rate, options.language, options.silence_ms) == (16000, "ko", 100)
    assert options.prompt == "a, b names"
    assert client.asked == [Configure(options)]


def test_the_flat_form_of_an_update_is_answered_in_the_flat_form() -> None:
    client = Client().says(
        flat_update(
            input_audio_format="g711_ulaw",
            input_audio_transcription={"language": "en"},
            input_audio_noise_reduction={"type": "far_field"},
            turn_detection=None,
            client_secret=None,
        )
    )
    assert client.told[-1]["type"] == "transcription_session.updated"
    session = client.told[-1]["session"]
    assert session["input_audio_format"] == "g711_ulaw"
    assert session["input_audio_params"]["sample_rate_hz"] == 8000
    assert session["input_audio_noise_reduction"] == {"type": "far_field"}
    assert session["turn_detection"] is None
    options = client.door.options
    assert (options.encoding, options.sample_rate, options.turn, options.language) == ("mulaw", 8000, "manual", "en")


def test_what_is_left_out_stays_and_what_is_null_goes_back_to_its_default() -> None:
    client = Client().says(audio_input(transcription={"language": "ko", "prompt": "a"}, format={"type": "audio/pcma"}))
    client.says(audio_input(transcription={"prompt": None}), update(), {"type": "session.update"})
    options = client.door.options
    assert (options.language, options.prompt, options.encoding) == ("ko", None, "alaw")


@pytest.mark.parametrize(
    ("languages", "language"), [([], None), (["ko"], "ko"), (["ko", "ko-KR"], "ko"), (["ko", "en"], "auto")]
)
def test_of_several_languages_the_one_that_is_spoken_is_found_out(languages: list[str], language: str | None) -> None:
    client = Client().says(audio_input(transcription={"languages": languages}))
    assert client.door.options.language == language


@pytest.mark.parametrize(
    ("event", "param"),
    [
        (audio_input(transcription={"language": "xx"}), "session.audio.input.transcription.language"),
        (audio_input(transcription={"languages": ["ko", "xx"]}), "session.audio.input.transcription.languages"),
        (audio_input(transcription={"language": 7}), "session.audio.input.transcription.language"),
        (audio_input(transcription={"prompt": "\ud800"}), "session.audio.input.transcription.prompt"),
        (audio_input(transcription="whisper-1"), "session.audio.input.transcription"),
        (audio_input(transcription={"keywords": "a"}), "session.audio.input.transcription.keywords"),
        (audio_input(format={"type": "audio/opus"}), "session.audio.input.format.type"),
        (audio_input(format={"rate": 4000}), "session.audio.input.format.rate"),
        (audio_input(format={"rate": 16000.5}), "session.audio.input.format.rate"),
        (audio_input(format={"rate": True}), "session.audio.input.format.rate"),
        (audio_input(turn_detection=False), "session.audio.input.turn_detection"),
        (audio_input(turn_detection={"type": "none"}), "session.audio.input.turn_detection.type"),
        (
            audio_input(turn_detection={"silence_duration_ms": "x"}),
            "session.audio.input.turn_detection.silence_duration_ms",
        ),
        (audio_input(turn_detection={"threshold": float("nan")}), "session.audio.input.turn_detection.threshold"),
        (update(type="translation"), "session.type"),
        (update(include="words"), "session.include"),
        (flat_update(input_audio_format="opus"), "session.input_audio_format"),
        (flat_update(input_audio_params={"num_channels": 2}), "session.input_audio_params.num_channels"),
        ({"type": "response.create"}, "type"),
        ({"type": ["session.update"]}, "type"),
        ({}, "type"),
        ({"type": "input_audio_buffer.append"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA*AAA"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AA==AAAA"}, "audio"),
        ({"type": "input_audio_buffer.append", "audio": "가나다라"}, "audio"),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
        (b"\0\1", None),
    ],
)
def test_a_wrong_value_is_told_and_changes_nothing(event: dict[str, Any] | str | bytes, param: str | None) -> None:
    client = Client()
    before = client.door.options
    message = {**event, "event_id": "mine"} if isinstance(event, dict) else event
    client.says(message)
    assert client.told[-1]["type"] == "error"
    error = client.told[-1]["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["event_id"] == ("mine" if isinstance(event, dict) else None)
    assert client.asked == []
    assert client.door.options == before


def test_unknown_fields_are_not_looked_at() -> None:
    client = Client().says(audio_input(turn_detection={"type": "semantic_vad", "eagerness": 7}, new={"a": 1}))
    assert client.told[-1]["type"] == "session.updated"


def test_detection_that_is_turned_off_ends_what_is_open_and_begins_turns() -> None:
    client = Client().says(APPEND).hears(SpeechStarted(0)).says(audio_input(turn_detection=None), APPEND)
    assert client.asked[1:3] == [EndUtterance(), Configure(client.door.options)]
    client.hears(*utterance("one", 0, 1, Cause.ASKED)[1:], SpeechStarted(2)).says(COMMIT)
    client.hears(*utterance("two", 2, 3, Cause.ASKED)[1:])
    assert client.transcripts == ["one", "two"]
    assert client.kinds.count("speech_started") == 1


def test_detection_that_is_turned_on_completes_the_turn_and_finds_utterances() -> None:
    client = Client(MANUAL).says(APPEND, audio_input(turn_detection={"type": "server_vad"}))
    assert client.asked == [Audio(bytes(480)), EndUtterance(), EndUtterance(), Configure(client.door.options)]
    client.hears(*utterance("one", 0, 1, Cause.ASKED), nothing_open(1), *utterance("two", 2, 3))
    assert client.transcripts == ["one", "two"]
    assert client.kinds.count("speech_started") == 1


# --- what is added to OpenAI's events --------------------------------------------------------


def test_text_that_may_change_is_told_to_those_who_ask_for_it() -> None:
    client = Client(Settings(detection=None, include=(PARTIAL,))).says(APPEND)
    client.hears(*utterance("one", 0, 1, Cause.LENGTH), SpeechStarted(2), Partial(2, 2.5, "two", "three"))
    partial = client.only("partial")[-1]
    assert (partial["stable"], partial["unstable"]) == ("one two", "three")
    assert (partial["start_ms"], partial["end_ms"]) == (0, 2500)
    assert partial["stable"] == client.deltas[partial["item_id"]]
    assert Client().hears(SpeechStarted(0), Partial(0, 1, "", "one")).kinds == ["speech_started"]


def test_words_with_their_times_are_told_to_those_who_ask_for_them() -> None:
    client = Client().says(update(include=[WORDS])).hears(*utterance("one two", 1, 3))
    completed = client.told[-1]
    assert (completed["start_ms"], completed["end_ms"], completed["language"]) == (1000, 3000, "en")
    assert completed["words"] == [
        {"word": "one", "start_ms": 1000, "end_ms": 2000, "confidence": 0.9},
        {"word": "two", "start_ms": 2000, "end_ms": 3000, "confidence": 0.9},
    ]
    assert "words" not in Client().hears(*utterance("one", 0, 1)).told[-1]


# --- the end ---------------------------------------------------------------------------------


def test_after_done_all_that_is_left_is_told_and_the_connection_closed() -> None:
    client = Client(MANUAL).says(APPEND, DONE)
    assert client.asked == [Audio(bytes(480)), EndUtterance(), Finish()]
    client.hears(*utterance("one", 0, 1, Cause.ASKED)).ends()
    assert client.transcripts == ["one"]
    assert client.asked[-1] == Close()
    assert client.says(APPEND).told[-1]["type"] == "error"


@pytest.mark.parametrize(
    ("error", "code"), [(Busy("later"), 1013), (NoServer("none"), 1013), (SessionLost("gone"), 1011)]
)
def test_what_has_begun_is_told_to_have_failed_before_the_connection_is_closed(error: GatewayError, code: int) -> None:
    client = Client().says(APPEND).hears(*utterance("a", 0, 1), SpeechStarted(2)).fails(error)
    (failed,) = client.only("failed")
    assert failed["item_id"] == client.only("speech_started")[-1]["item_id"]
    assert failed["error"]["message"] == str(error)
    assert client.asked[-1] == Close(code, str(error))


def test_clients_without_an_engine_are_told_no_error_as_they_would_give_up() -> None:
    assert [
        event["type"] for event in Client().says(APPEND).fails(Busy("later")).told if event["type"] == "error"
    ] == []


def test_turns_that_wait_for_their_text_fail_and_one_that_nothing_was_told_of_does_not() -> None:
    client = Client(MANUAL).says(APPEND, COMMIT).hears(*utterance("one", 0, 1, Cause.ASKED))
    client.says(APPEND, COMMIT, APPEND).hears(SpeechStarted(2)).fails(SessionLost("gone"))
    assert [event["item_id"] for event in client.only("failed")] == [client.only("committed")[1]["item_id"]]


def test_what_the_server_cannot_do_is_told_before_the_connection_is_closed() -> None:
    client = Client().fails(BadRequest("sample_rate: no", "sample_rate"))
    assert client.told[-1]["error"]["param"] == "sample_rate"
    assert client.asked == [Close(1008, "sample_rate: no")]


def test_nvidias_client_gets_the_events_that_it_waits_for() -> None:
    client = Client(is_riva=True).says(
        flat_update(input_audio_format="none", input_audio_params={"sample_rate_hz": 16000, "num_channels": 1})
    )
    assert [event["type"] for event in client.told] == ["conversation.created", "transcription_session.updated"]
    assert client.door.options.sample_rate == 16000
    client.says(APPEND, COMMIT, APPEND, COMMIT, DONE)
    client.hears(*utterance("one", 0, 1), *utterance("two", 2, 3, Cause.FINISH)).ends()
    assert [event["is_last_result"] for event in client.only("completed")] == [False, False, True]
    assert client.transcripts == ["one", "two", "one two"]


# --- whatever comes --------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
SESSIONS = st.dictionaries(
    st.sampled_from(["type", "include", "audio", "turn_detection", "input_audio_format", "input_audio_transcription"]),
    JSON | st.fixed_dictionaries({}, optional={"input": st.dictionaries(st.sampled_from(["format", "type"]), JSON)}),
)
EVENTS = st.one_of(
    st.sampled_from([APPEND, COMMIT, CLEAR, DONE, audio_input(turn_detection=None), audio_input(turn_detection={})]),
    st.builds(lambda session: {"type": "session.update", "session": session}, SESSIONS),
    st.dictionaries(st.sampled_from(["type", "audio", "session", "event_id"]), JSON),
)
STEPS = st.lists(st.tuples(st.sampled_from(["says", "raw", "hears", "quiet"]), EVENTS, st.text(), any_event()))


@given(steps=STEPS, is_riva=st.booleans(), settings=st.sampled_from([DETECTED, MANUAL, Settings(include=(PARTIAL,))]))
def test_whatever_is_said_and_heard_each_event_has_its_own_id_and_stops_follow_starts(
    steps: list[Any], is_riva: bool, settings: Settings
) -> None:
    client = Client(settings, is_riva)
    for what, event, raw, speech in steps:
        if what == "says":
            client.says(event)
        elif what == "raw":
            client.says(raw)
        elif what == "hears":
            client.hears(speech)
        else:
            client.is_quiet()
    client.fails(SessionLost("gone"))
    ids = [event["event_id"] for event in client.told]
    assert len(set(ids)) == len(ids)
    speech = [event["type"] for event in client.told if ".speech_" in event["type"]]
    assert all("started" in kind for kind in speech[::2])
    assert all("stopped" in kind for kind in speech[1::2])
    completed = [event["item_id"] for event in client.only("completed")]
    assert len(set(completed)) == len(completed)
    assert set(completed) <= {event["item_id"] for event in client.only("committed")}
    assert not set(completed) & {event["item_id"] for event in client.only("failed")}


# What a server says of a client that speaks, commits and clears in some order: the real order of events.
SCENES = st.lists(st.sampled_from(["speak", "pause", "commit", "clear", "cut"]), max_size=30)


@given(scenes=SCENES, detects=st.booleans(), is_late=st.booleans())
def test_no_word_is_told_twice_or_lost_but_those_that_were_cleared(
    scenes: list[str], detects: bool, is_late: bool
) -> None:
    client = Client(Settings(detection=Detection() if detects else None))
    server = Server(client, is_late)
    for scene in scenes:
        server.play(scene, detects)
    server.play("commit", detects)
    server.catch_up()
    assert " ".join(filter(None, client.transcripts)) == " ".join(server.expected)
    for event in client.only("completed"):
        assert client.deltas.get(event["item_id"], "") == event["transcript"]


class Server:
    """Says what a real one would of a client's speech; `is_late`: its texts come as late as they may."""

    def __init__(self, client: Client, is_late: bool) -> None:
        self.client = client
        self.expected: list[str] = []
        self._uncommitted: list[str] = []
        self._is_late = is_late
        self._owed: list[Any] = []
        self._is_open = False
        self._n = 0

    def play(self, scene: str, detects: bool) -> None:
        if scene == "speak":
            self.client.says(APPEND)
            self._open()
        elif scene == "pause" and detects:
            self._end(Cause.SILENCE, commits=True)
        elif scene == "cut":
            self._end(Cause.LENGTH, commits=detects)
        elif scene == "commit":
            self.client.says(COMMIT).is_quiet()
            self._end(Cause.ASKED, commits=True)
            self.expected += self._uncommitted
            self._uncommitted = []
        elif scene == "clear":
            self.client.says(CLEAR)
            self._uncommitted = []
            self._end(Cause.ASKED, commits=False)
            self._uncommitted = []

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._n += 1
            self.client.hears(SpeechStarted(self._n))

    def _end(self, cause: Cause, commits: bool) -> None:
        if self._is_open:
            self._is_open = False
            text, at_s = f"word{self._n}", float(self._n)
            self.client.hears(SpeechStopped(at_s + 0.5, cause))
            self._owe(heard(text, at_s, at_s + 0.5, cause), done(cause, True, at_s, at_s + 0.5))
            self._uncommitted.append(text)
            if commits:
                self.expected += self._uncommitted
                self._uncommitted = []
        elif cause is Cause.ASKED:
            self.catch_up()
            self.client.hears(nothing_open(float(self._n)))

    def _owe(self, *events: Any) -> None:
        if self._is_late:  # one utterance may end while the last is recognised, not more
            owed, self._owed = self._owed, list(events)
            self.client.hears(*owed)
        else:
            self.client.hears(*events)

    def catch_up(self) -> None:
        owed, self._owed = self._owed, []
        self.client.hears(*owed)
