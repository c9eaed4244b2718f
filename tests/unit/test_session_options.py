"""What a client asks for its session, and the news that it gets of its utterances."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from boundary.messages import (
    WINDOW_BYTES,
    Consumed,
    Content,
    EndOfUtterance,
    Happened,
    Heard,
    Input,
    Recognized,
    cost_bytes,
)
from boundary.settings import SessionSettings, default_session
from config.sections import ModelConfig, ServerConfig, VadConfig
from protocol.data import (
    Cause,
    Detail,
    Partial,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    Word,
    encode_options,
)
from protocol.packets import (
    MAGIC,
    MAX_DATA_BYTES,
    SERVER_HEADERS,
    ErrorCode,
    Header,
    Packet,
    PacketParser,
    ProtocolError,
    encode_packet,
)
from server.options import settings_of
from server.session import Finish, HandOn, Send, Session
from server.supervision import Granted
from tests.harness.wire import BEGIN, FINISH, user_packet

END_UTTERANCE = encode_packet(Header.END_UTTERANCE)
AUDIO = encode_packet(Header.AUDIO, b"pcm!")


def options(**fields: Any) -> bytes:
    return encode_packet(Header.OPTIONS, json.dumps(fields).encode())


class Opened:
    """A session with an engine; what it hands on, and what its client gets."""

    def __init__(self, config: ServerConfig | None = None) -> None:
        self.session = Session(config or ServerConfig(), 0)
        self.given: list[Content] = []
        self.packets: list[Packet] = []
        self.finished = False
        self._parser = PacketParser(SERVER_HEADERS)
        self.receive(MAGIC + user_packet())
        self.tell(Granted(0))
        self.packets.clear()

    def receive(self, data: bytes) -> None:
        self.session.received(data, 0)
        self.act()

    def tell(self, message: object) -> None:
        self.session.handle(message, 0)  # type: ignore[arg-type]
        self.act()

    def act(self) -> None:
        for action in self.session.take_actions():
            if isinstance(action, HandOn):
                self.given.append(action.content)
            elif isinstance(action, Send):
                self._parser.feed(action.packets)
                self.packets += list(iter(self._parser.next_packet, None))
            else:
                self.finished = self.finished or isinstance(action, Finish)


# --- options


def test_what_is_not_asked_for_is_as_configured() -> None:
    config = ServerConfig(model=ModelConfig(language="en", prompt="names"), vad=VadConfig(silence_threshold=20))
    settings = settings_of(config, {"partial": True})
    assert settings == default_session(config)._replace(partial=True)
    assert (settings.language, settings.prompt, settings.silence_ms) == ("en", "names", 600)
    assert settings_of(config, {}) == default_session(config)


def test_all_that_can_be_asked_for_is_heeded() -> None:
    asked = SessionOptions("en", "translate", "이름", 44100, "alaw", 700, "manual", True, True, True)
    opened = Opened()
    opened.receive(encode_packet(Header.OPTIONS, encode_options(asked)))
    expected = SessionSettings("en", "translate", "이름", 44100, "alaw", 700, "manual", True, True, True)
    assert opened.given == [expected]
    assert opened.packets == []
    assert expected.bytes_per_second == 44100


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"langauge": "ko"}, "langauge: unknown key; did you mean language?"),
        ({"colour": 1}, "colour: unknown key; expected one of "),
        ({"language": "klingon"}, "language: got 'klingon'; expected a language code of Whisper"),
        ({"language": None}, "language: got nothing; expected text"),
        ({"task": "sing"}, "task: got 'sing'; expected 'transcribe' or 'translate'"),
        ({"prompt": "x" * 2001}, "expected at most 2000 characters, got 2001"),
        ({"prompt": "\ud800"}, "prompt: got '\\ud800'; expected text"),
        ({"prompt": ["a"]}, "prompt: got ['a']; expected text"),
        ({"sample_rate": 7999}, "sample_rate: got 7999; expected"),
        ({"sample_rate": 48001}, "sample_rate: got 48001; expected"),
        ({"sample_rate": 16000.0}, "sample_rate: got 16000.0; expected a whole number"),
        ({"sample_rate": True}, "sample_rate: got true; expected a whole number"),
        ({"encoding": "mp3"}, "encoding: got 'mp3'; expected 'pcm_s16le', 'mulaw' or 'alaw'"),
        ({"silence_ms": 99}, "silence_ms: got 99; expected"),
        ({"silence_ms": 5001}, "silence_ms: got 5001; expected"),
        ({"turn": "mine"}, "turn: got 'mine'; expected 'auto' or 'manual'"),
        ({"partial": 1}, "partial: got 1; expected true or false"),
        ({"events": "yes"}, "events: got 'yes'; expected true or false"),
        ({"detail": None}, "detail: got nothing; expected true or false"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(fields: dict[str, Any], fault: str) -> None:
    opened = Opened()
    opened.receive(options(**fields))
    assert opened.session.ended
    assert opened.given == []
    error, end = opened.packets
    assert end.header is Header.END
    text = error.data.decode()
    assert text.startswith(f"{ErrorCode.ILLEGAL_PACKET.value}: ")
    assert fault in text
    assert text.isprintable()
    assert len(text) < 300


def test_a_thousand_faults_are_one_line() -> None:
    with pytest.raises(ProtocolError) as raised:
        settings_of(ServerConfig(), {f"key\n{number}": "x" * 10_000 for number in range(1000)})
    assert len(str(raised.value)) < 300
    assert str(raised.value).isprintable()


def test_an_english_model_is_asked_for_nothing_else() -> None:
    config = ServerConfig(model=ModelConfig(size="base.en", language="en"))
    with pytest.raises(ProtocolError, match=r"only language of the model base\.en"):
        settings_of(config, {"language": "ko"})


def test_the_audio_is_counted_at_the_rate_that_was_asked_for() -> None:
    opened = Opened()
    opened.receive(options(sample_rate=8000, encoding="mulaw") + BEGIN + encode_packet(Header.AUDIO, bytes(4000)))
    assert opened.session.audio_s == 0.5


# --- the window


CONTENTS: list[Content] = [
    b"",
    bytes(15 * 1024),
    EndOfUtterance(),
    default_session(ServerConfig()),
    default_session(ServerConfig())._replace(prompt="가" * 2000, sample_rate=11025, encoding="alaw", turn="manual"),
    default_session(ServerConfig())._replace(prompt="\U0001f600" * 2000),
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content).__name__)
def test_nothing_takes_more_of_a_pipe_than_is_counted(content: Content) -> None:
    assert len(pickle.dumps(Input(2**40, content))) + 4 <= cost_bytes(content) <= WINDOW_BYTES


def test_a_client_that_ends_utterances_without_end_is_held_up_by_the_engine() -> None:
    opened = Opened()
    opened.receive(BEGIN + END_UTTERANCE * 1000)
    told = len(opened.given)
    assert sum(map(cost_bytes, opened.given)) <= WINDOW_BYTES
    assert told < 1000
    assert not opened.session.wants_input
    while told < 1000:
        opened.tell(Consumed(1, cost_bytes(EndOfUtterance()), in_utterance=False))
        told += 1
        assert len(opened.given) == told
    assert opened.session.wants_input


def test_audio_and_ends_stay_in_order() -> None:
    opened = Opened()
    opened.receive(BEGIN + AUDIO + END_UTTERANCE + END_UTTERANCE + AUDIO + FINISH)
    assert opened.given == [b"pcm!", EndOfUtterance(), EndOfUtterance(), b"pcm!"]
    assert opened.finished


# --- news


DETAIL = Detail("ko", Cause.LENGTH, -0.31, 0.02, 0.87, (Word("안녕하세요", 1.2, 1.9, 0.91),))
RESULT = Recognized(1, 1.2, 3.4, Cause.LENGTH, "안녕하세요", 0.1, DETAIL, False, 0.0)


def told(opened: Opened) -> list[tuple[Header, Any]]:
    return [(packet.header, json.loads(packet.data)) for packet in opened.packets]


def test_a_client_gets_the_events_and_the_detail_that_it_asks_for() -> None:
    opened = Opened()
    opened.receive(options(events=True, detail=True, partial=True) + BEGIN)
    opened.tell(Happened(1, SpeechStarted(1.2)))
    opened.tell(Heard(1, Partial(1.2, 2.1, "안녕하세요", "저"), 0.0))
    opened.tell(Happened(1, SpeechStopped(3.4, Cause.LENGTH)))
    opened.tell(RESULT)
    done = {"event": "utterance_done", "start": 1.2, "end": 3.4, "cause": "length", "text": True}
    assert told(opened) == [
        (Header.EVENT, {"event": "speech_started", "at": 1.2}),
        (Header.PARTIAL, {"start": 1.2, "end": 2.1, "stable": "안녕하세요", "unstable": "저"}),
        (Header.EVENT, {"event": "speech_stopped", "at": 3.4, "cause": "length"}),
        (
            Header.RESULT,
            {
                "start": 1.2,
                "end": 3.4,
                "text": "안녕하세요",
                "language": "ko",
                "cause": "length",
                "avg_logprob": -0.31,
                "no_speech_prob": 0.02,
                "confidence": 0.87,
                "words": [{"word": "안녕하세요", "start": 1.2, "end": 1.9, "confidence": 0.91}],
            },
        ),
        (Header.EVENT, done),
    ]


def test_an_utterance_without_text_is_done_without_a_result() -> None:
    opened = Opened()
    opened.receive(options(events=True) + BEGIN)
    opened.tell(Recognized(1, 1.0, 2.0, Cause.SILENCE, "", 0.1, None, False, 0.0))
    opened.tell(Recognized(1, 2.5, 2.5, Cause.ASKED, "", 0.0, None, False, 0.0))
    done = {"event": "utterance_done", "text": False}
    assert told(opened) == [
        (Header.EVENT, {**done, "start": 1.0, "end": 2.0, "cause": "silence"}),
        (Header.EVENT, {**done, "start": 2.5, "end": 2.5, "cause": "asked"}),
    ]
    assert opened.session.segments == 1


def test_who_asks_for_nothing_gets_results_only() -> None:
    opened = Opened()
    opened.receive(BEGIN)
    opened.tell(RESULT._replace(detail=None))
    assert [(packet.header, packet.data.decode()) for packet in opened.packets] == [
        (Header.RESULT, "1.2 3.4 : 안녕하세요")
    ]


def test_who_does_not_read_gets_results_and_events_and_no_old_live_text() -> None:
    opened = Opened()
    opened.receive(options(partial=True, events=True) + BEGIN)
    for _ in range(1000):
        opened.tell(Heard(1, Partial(1.0, 2.0, "x" * 100, ""), 0.0))
    opened.tell(Happened(1, SpeechStopped(2.0, Cause.SILENCE)))
    assert opened.session.unsent_bytes < MAX_DATA_BYTES
    assert opened.packets[-1].header is Header.EVENT
