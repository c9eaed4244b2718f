"""Vosk's door: what vosk-server would answer."""

from __future__ import annotations

import json
from typing import Any, Sequence, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conversation import Action, Audio, Close, Configure, EndUtterance, Finish, Say
from gateway.doors.vosk import Vosk
from gateway.errors import BadRequest, Busy, GatewayError, SessionLost
from protocol.data import Cause, Partial
from tests.harness.spoken import any_event, done, heard

FRAME = bytes(3200)
EOF, RESET = '{"eof" : 1}', '{"reset" : 1}'


def told(actions: Sequence[Action]) -> list[Any]:
    return [json.loads(action.message) for action in actions if isinstance(action, Say)]


def reply(vosk: Vosk) -> Any:
    actions = vosk.received(FRAME)
    assert actions[0] == Audio(FRAME)
    (said,) = told(actions)
    return said


def configured(**config: Any) -> Vosk:
    vosk = Vosk()
    vosk.received(json.dumps({"config": config}))
    return vosk


# --- replies


def test_an_open_utterance_is_told_as_it_stands() -> None:
    vosk = Vosk()
    assert reply(vosk) == {"partial": ""}
    vosk.heard(Partial(0.1, 0.9, "안녕하세요", "저는"))
    assert reply(vosk) == {"partial": "안녕하세요 저는"}
    assert reply(vosk) == {"partial": "안녕하세요 저는"}


def test_a_final_is_told_once_with_its_words() -> None:
    vosk = Vosk()
    vosk.heard(Partial(0.0, 0.9, "fail", ""))
    vosk.heard(heard("Fail better.", 0.0, 1.0))
    vosk.heard(done(Cause.SILENCE, has_text=True))
    assert reply(vosk) == {
        "result": [
            {"conf": 0.9, "end": 0.5, "start": 0.0, "word": "Fail"},
            {"conf": 0.9, "end": 1.0, "start": 0.5, "word": "better."},
        ],
        "text": "Fail better.",
    }
    assert reply(vosk) == {"partial": ""}


def test_an_utterance_without_text_gives_no_final() -> None:
    vosk = Vosk()
    vosk.heard(Partial(0.0, 0.9, "", "hm"))
    vosk.heard(done(Cause.SILENCE, has_text=False))
    assert reply(vosk) == {"partial": ""}


def test_two_finals_take_two_frames_and_at_the_end_one_reply() -> None:
    vosk = configured(words=False)
    for text in ("one", "two", "three"):
        vosk.heard(heard(text))
    assert reply(vosk) == {"text": "one"}
    assert vosk.received(EOF) == [Finish()]
    end = vosk.ended()
    assert told(end) == [{"text": "two three"}]
    assert end[-1] == Close()


def test_the_end_of_silence_is_the_final_of_vosk_server_to_the_letter() -> None:
    (said, _) = Vosk().ended()
    assert said == Say('{\n  "text" : ""\n}')


@pytest.mark.parametrize("text", ['he said "no"', 'back\\slash"', '""'])
def test_no_text_looks_to_freeswitch_like_an_empty_result(text: str) -> None:
    vosk = Vosk()
    vosk.heard(heard(text))
    (said, _) = vosk.ended()
    assert isinstance(said, Say)
    assert '""' not in str(said.message)
    assert json.loads(said.message)["text"] == text


# --- what is asked for


def test_without_a_configuration_the_sound_is_a_telephone_s() -> None:
    assert Vosk().options.sample_rate == 8000


@pytest.mark.parametrize("rate", [16000, 16000.0, "16000"])
def test_a_rate_may_be_written_as_vosk_server_takes_it(rate: Union[int, float, str]) -> None:
    assert configured(sample_rate=rate).options.sample_rate == 16000


def test_a_second_configuration_changes_what_it_names() -> None:
    vosk = configured(sample_rate=16000, phrase_list=["김철수", "[unk]"])
    (action,) = vosk.received('{"config": {"phrase_list": ["이영희", "박민수"]}}')
    assert isinstance(action, Configure)
    assert action.options.sample_rate == 16000
    assert action.options.prompt == "이영희, 박민수"


def test_alternatives_are_one() -> None:
    vosk = configured(max_alternatives=3, words=False)
    vosk.heard(heard("yes"))
    assert reply(vosk) == {"alternatives": [{"confidence": 0.9, "text": "yes"}]}


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "[1]",
        "{}",
        '{"config": 1}',
        '{"config": {"sample_rate": true}}',
        '{"config": {"sample_rate": 1e999}}',
        '{"config": {"sample_rate": NaN}}',
        '{"config": {"sample_rate": [8000]}}',
        '{"config": {"sample_rate": 8000.5}}',
        '{"config": {"phrase_list": "yes"}}',
        '{"config": {"phrase_list": [1]}}',
        "[" * 100_000,
    ],
)
def test_what_is_none_of_the_protocol_is_refused(message: str) -> None:
    with pytest.raises(BadRequest):
        Vosk().received(message)


# --- reset


def test_a_reset_is_answered_by_all_that_was_said_before_it() -> None:
    vosk = configured(words=False)
    assert vosk.received(RESET) == [EndUtterance()]
    assert vosk.heard(heard("yes", cause=Cause.ASKED)) == []
    assert told(vosk.heard(done(Cause.ASKED, has_text=True))) == [{"text": "yes"}]
    assert told(vosk.heard(heard("no"))) == []
    assert reply(vosk) == {"text": "no"}


def test_frames_behind_a_reset_are_answered_behind_it() -> None:
    vosk = configured(words=False)
    vosk.received(RESET)
    assert vosk.received(FRAME) == [Audio(FRAME)]
    vosk.received(RESET)
    assert vosk.received(FRAME) == [Audio(FRAME)]
    assert told(vosk.heard(done(Cause.ASKED, has_text=False))) == [{"text": ""}, {"partial": ""}]
    assert told(vosk.heard(done(Cause.ASKED, has_text=False))) == [{"text": ""}, {"partial": ""}]
    assert reply(vosk) == {"partial": ""}


# --- its end


def test_a_client_that_is_not_served_is_closed_with_the_reason() -> None:
    assert Vosk().failed(Busy("no engine")) == [Close(1013, "no engine")]
    assert Vosk().failed(BadRequest("no rate")) == [Close(1008, "no rate")]
    assert Vosk().failed(SessionLost("gone")) == [Close(1011, "gone")]


TEXTS = st.sampled_from([RESET, '{"config": {"words": 0}}', '{"config": {"max_alternatives": 1}}'])
MESSAGES = st.one_of(st.just(FRAME), TEXTS, st.text(max_size=20))


@given(
    st.lists(
        st.one_of(MESSAGES.map(lambda message: ("says", message)), any_event().map(lambda event: ("hears", event)))
    )
)
def test_every_frame_and_every_reset_has_one_reply_and_nothing_else_is_raised(steps: list[tuple[str, Any]]) -> None:
    vosk = Vosk()
    asked, answered, resets = 0, 0, 0
    for side, what in steps:
        if side == "hears":
            said = told(vosk.heard(what))
        else:
            try:
                actions = vosk.received(what)
            except GatewayError:
                continue
            asked += what == FRAME or actions == [EndUtterance()]
            resets += actions == [EndUtterance()]
            said = told(actions)
        answered += len(said)
        assert all(("partial" in one) + ("text" in one) + ("alternatives" in one) == 1 for one in said)
    for _ in range(resets):
        answered += len(vosk.heard(done(Cause.ASKED, has_text=False)))
    assert answered == asked
