"""A session gets what it asks for: options, events, detail, ends of its own; one real server, real speech."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import soxr
import webrtcvad

from bench.recordings import Recording
from bench.speech import error_rate
from demo.recording import TRANSCRIPT
from protocol.data import (
    Cause,
    Partial,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    UtteranceDone,
    encode_options,
    parse_event,
    parse_partial,
)
from protocol.packets import (
    MAGIC,
    Header,
    Packet,
    encode_packet,
)
from tests.harness.server import ServerProcess
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results, user_packet
from util import Result, parse_result

BEGIN = encode_packet(Header.BEGIN)
END_UTTERANCE = encode_packet(Header.END_UTTERANCE)
FRAME_BYTES = 960
FRAME_S = 0.03
ANYTHING = (SpeechStarted, SpeechStopped, Result, UtteranceDone)
ALL = SessionOptions(partial=True, events=True, detail=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with ServerProcess({"model": {"language": "en"}}) as process:
        yield process


class Told(NamedTuple):
    """All that a session was told, in order: partials, results, events."""

    news: list[Any]

    def of(self, kind: type) -> list[Any]:
        return [one for one in self.news if isinstance(one, kind)]

    @property
    def text(self) -> str:
        return " ".join(one.text for one in self.of(Result))


_PARSERS: dict[Header, Any] = {
    Header.PARTIAL: parse_partial,
    Header.RESULT: parse_result,
    Header.EVENT: parse_event,
}


def understood(packets: list[Packet]) -> Told:
    assert packets[0].header is Header.WELCOME
    assert packets[-1] == END
    return Told([_PARSERS[packet.header](packet.data) for packet in packets[1:-1]])


def opening(options: SessionOptions) -> bytes:
    return MAGIC + user_packet() + encode_packet(Header.OPTIONS, encode_options(options)) + BEGIN


def converse(server: ServerProcess, options: SessionOptions, said: bytes) -> Told:
    """`said`: packets behind `%b`, as fast as the server takes them."""
    with Wire(server.port) as wire:
        wire.send(opening(options) + said + FINISH)
        return understood(wire.read_all())


def speak(server: ServerProcess, options: SessionOptions, pcm: bytes, frames_each: int = 1) -> Told:
    """At the pace of a microphone."""
    with Wire(server.port) as wire:
        wire.send(opening(options))
        began_s = time.monotonic()
        for number, packet in enumerate(range(0, len(pcm), frames_each * FRAME_BYTES), start=1):
            wire.send(audio_packets(pcm[packet : packet + frames_each * FRAME_BYTES], 65535))
            time.sleep(max(0.0, began_s + number * frames_each * FRAME_S - time.monotonic()))
        wire.send(FINISH)
        return understood(wire.read_all())


def voiced_times_s(pcm: bytes) -> list[float]:
    vad = webrtcvad.Vad(1)
    frames = range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)
    return [start / 32000 for start in frames if vad.is_speech(pcm[start : start + FRAME_BYTES], 16000)]


# --- detail


def test_a_result_with_detail_says_where_each_word_is(server: ServerProcess, speech: bytes) -> None:
    found = converse(server, SessionOptions(detail=True), audio_packets(speech)).of(Result)
    assert len(found) == 2
    for result in found:
        detail = result.detail
        assert (detail.language, detail.cause) == ("en", Cause.SILENCE if result is found[0] else Cause.FINISH)
        assert " ".join(word.text for word in detail.words) == result.text
        times = [result.start_s, *(time for word in detail.words for time in (word.start_s, word.end_s)), result.end_s]
        assert times == sorted(times)
        assert all(0 <= word.confidence <= 1 for word in detail.words)
        assert 0.5 < detail.confidence <= 1
        assert -1 < detail.avg_logprob < 0


def test_detail_changes_no_text_and_no_time(server: ServerProcess, speech: bytes) -> None:
    plain = converse(server, SessionOptions(language="en"), audio_packets(speech)).of(Result)
    detailed = converse(server, SessionOptions(detail=True), audio_packets(speech)).of(Result)
    assert [(one.start_s, one.end_s, one.text) for one in plain] == [
        (round(one.start_s, 1), round(one.end_s, 1), one.text) for one in detailed
    ]


def test_the_language_can_be_left_to_the_model(server: ServerProcess, phrase: bytes) -> None:
    told = converse(server, SessionOptions(language="auto", detail=True), audio_packets(phrase))
    assert [result.detail.language for result in told.of(Result)] == ["en"]


# --- events


def test_events_frame_every_utterance_and_cover_every_voiced_frame(server: ServerProcess, speech: bytes) -> None:
    told = converse(server, SessionOptions(events=True), audio_packets(speech))
    first, second = told.of(UtteranceDone)
    ended = [one for one in told.news if isinstance(one, (Result, UtteranceDone))]
    assert [type(one) for one in ended] == 2 * [Result, UtteranceDone]
    assert [(one.at_s, one.cause) for one in told.of(SpeechStopped)] == [
        (first.end_s, Cause.SILENCE),
        (second.end_s, Cause.FINISH),
    ]
    assert [one.at_s for one in told.of(SpeechStarted)] == [first.start_s, second.start_s]
    for at_s in voiced_times_s(speech):
        assert any(one.start_s <= at_s < one.end_s for one in (first, second)), at_s


def test_every_end_that_is_asked_for_is_answered_in_order(server: ServerProcess, speech: bytes) -> None:
    middle, rest = speech[: 90 * FRAME_BYTES], speech[90 * FRAME_BYTES :]
    said = END_UTTERANCE + audio_packets(middle) + END_UTTERANCE * 2 + audio_packets(rest) + END_UTTERANCE
    told = converse(server, SessionOptions(events=True), said)
    done = told.of(UtteranceDone)
    assert [one.cause for one in done].count(Cause.ASKED) == 4
    nothing = [one for one in done if one.cause is Cause.ASKED and one.start_s == one.end_s]
    assert [(one.start_s, one.has_text) for one in nothing] == [(0.0, False), (2.7, False)]
    assert [one.end_s for one in done] == sorted(one.end_s for one in done)


def test_in_a_turn_of_its_own_only_the_client_ends_an_utterance(server: ServerProcess, speech: bytes) -> None:
    pause = bytes(16000)
    said = audio_packets(2 * pause + speech[: 9 * 32000] + pause) + END_UTTERANCE + audio_packets(pause)
    told = converse(server, SessionOptions(turn="manual", events=True), said)
    (done,) = told.of(UtteranceDone)
    assert done.cause is Cause.ASKED
    assert done.start_s == pytest.approx(1.0, abs=0.2)
    assert "tried" in told.text.lower()
    assert "again" in told.text.lower()


def test_the_closing_silence_is_as_long_as_asked_for(server: ServerProcess, speech: bytes) -> None:
    told = converse(server, SessionOptions(silence_ms=5000, events=True), audio_packets(speech[: 9 * 32000]))
    assert [one.cause for one in told.of(UtteranceDone)] == [Cause.FINISH]
    told = converse(server, SessionOptions(silence_ms=100, events=True), audio_packets(speech))
    assert len(told.of(UtteranceDone)) > 2


# --- audio


def as_form(pcm: bytes, sample_rate: int, encoding: str) -> bytes:
    samples = soxr.resample(np.frombuffer(pcm, dtype="<i2").astype(np.float32), 16000, sample_rate)
    if encoding == "pcm_s16le":
        return bytes(samples.clip(-32768, 32767).astype("<i2"))
    scaled = np.clip(samples / 32768, -1, 1)
    if encoding == "mulaw":  # ITU-T G.711 in its continuous form, which is within a step of the tables
        size = np.log1p(255 * np.abs(scaled)) / np.log(256)
        return bytes(~(np.rint(127 * size).astype(np.uint8) | np.where(scaled < 0, 128, 0).astype(np.uint8)))
    size = np.where(
        np.abs(scaled) < 1 / 87.6, 87.6 * np.abs(scaled), 1 + np.log(np.maximum(87.6 * np.abs(scaled), 1))
    ) / (1 + np.log(87.6))
    return bytes((np.floor(127.99 * size).astype(np.uint8) | np.where(scaled < 0, 0, 128).astype(np.uint8)) ^ 0x55)


@pytest.mark.parametrize(
    ("sample_rate", "encoding"),
    [
        (8000, "mulaw"),
        (8000, "alaw"),
        (8000, "pcm_s16le"),
        (24000, "pcm_s16le"),
        (44100, "pcm_s16le"),
        (48000, "mulaw"),
    ],
)
def test_audio_of_every_form_is_understood(
    server: ServerProcess, speech: bytes, sample_rate: int, encoding: str
) -> None:
    options = SessionOptions(sample_rate=sample_rate, encoding=encoding, events=True)
    said = as_form(speech, sample_rate, encoding)
    told = converse(server, options, audio_packets(said, 1001))
    assert "try again" in told.text.lower()
    assert "better" in told.text.lower()
    done = told.of(UtteranceDone)
    assert done[0].start_s == pytest.approx(0.0, abs=0.2)
    assert done[0].end_s == pytest.approx(5.7, abs=0.2)
    assert done[-1].end_s == pytest.approx(10.0, abs=0.2)
    again = converse(server, options, audio_packets(said, 77))
    assert [again.of(kind) for kind in ANYTHING] == [told.of(kind) for kind in ANYTHING]


# --- speech that is cut


def test_a_cut_in_the_middle_of_speech_loses_no_word_and_doubles_none(speech: bytes) -> None:
    with ServerProcess({"model": {"language": "en"}, "vad": {"max_speech_duration": 3}}) as server:
        for frames in (speech, speech[: 5 * 32000]):
            told = converse(server, SessionOptions(events=True, detail=True), audio_packets(frames))
            done = told.of(UtteranceDone)
            assert Cause.LENGTH in [one.cause for one in done]
            assert all(before.end_s <= after.start_s for before, after in zip(done, done[1:]))
            for at_s in voiced_times_s(frames):
                assert any(one.start_s <= at_s < one.end_s for one in done), at_s
            expected = TRANSCRIPT if frames is speech else "Ever tried. Ever failed. No matter."
            assert error_rate([[expected]], [told.text], "en") <= 0.25, told.text


# --- what is said in another language than the server's


def test_a_session_has_the_language_and_the_task_that_it_asks_for(
    server: ServerProcess, recordings: list[Recording]
) -> None:
    korean = next(one for one in recordings if one.language == "ko" and one.references)
    said = audio_packets(korean.pcm)
    assert re.search("[가-힣]", converse(server, SessionOptions(language="ko"), said).text)
    assert re.fullmatch("[ -~]+", converse(server, SessionOptions(language="ko", task="translate"), said).text)


# --- live text


@pytest.mark.parametrize("frames_each", [1, 7, 40])
def test_live_text_grows_into_the_result_and_changes_nothing_of_it(
    server: ServerProcess, speech: bytes, frames_each: int
) -> None:
    told = speak(server, ALL, speech, frames_each)
    plain = converse(server, SessionOptions(detail=True), audio_packets(speech))
    assert told.of(Result) == plain.of(Result)
    open_utterance: list[Partial] = []
    shown = []
    for one in told.news:
        if isinstance(one, Partial):
            assert one.stable or one.unstable
            assert all(one.stable.startswith(before.stable) for before in open_utterance)
            open_utterance.append(one)
        elif isinstance(one, Result):
            assert all(before.start_s == pytest.approx(one.start_s) for before in open_utterance)
            assert all(before.end_s <= one.end_s for before in open_utterance)
            shown.append([before.stable for before in open_utterance])
        elif isinstance(one, UtteranceDone):
            open_utterance = []
    assert open_utterance == []
    assert len(shown) == 2
    assert any(shown)  # how often depends on what else the machine does


def test_live_text_that_nobody_asked_for_does_not_come(server: ServerProcess, phrase: bytes) -> None:
    told = speak(server, SessionOptions(events=True), phrase)
    assert told.of(Partial) == []
    assert told.of(Result) != []


def test_nothing_is_shown_for_noise(server: ServerProcess) -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 5 * 16000).astype("<i2").tobytes()
    told = speak(server, ALL, noise + bytes(32000))
    assert told.of(Partial) == told.of(Result) == []


# --- one session and the next


def test_what_one_session_asks_for_is_nothing_to_the_next(server: ServerProcess, speech: bytes) -> None:
    with Wire(server.port) as wire:
        wire.start()
        wire.send(audio_packets(speech) + FINISH)
        before = results(wire.read_all())
    converse(server, SessionOptions("ko", turn="manual", prompt="이름", detail=True), audio_packets(speech))
    with Wire(server.port) as wire:
        wire.start()
        wire.send(audio_packets(speech) + FINISH)
        assert results(wire.read_all()) == before != []


def test_a_prompt_is_only_text(server: ServerProcess, phrase: bytes) -> None:
    for prompt in ("<|endoftext|>", "<|startoftranscript|><|ko|>", "x" * 2000, "\x00\n\t"):
        told = converse(server, SessionOptions(prompt=prompt), audio_packets(phrase))
        assert "better" in told.text.lower(), prompt


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'{"a":1,"a":1}', b"\xff", b'{"language":"xx"}', b"[" * 60000, b'{"partial":NaN}'],
)
def test_options_that_are_none_end_the_session_and_leave_the_engine(
    server: ServerProcess, phrase: bytes, data: bytes
) -> None:
    with Wire(server.port) as wire:
        wire.send(MAGIC + user_packet() + encode_packet(Header.OPTIONS, data) + BEGIN + audio_packets(phrase))
        assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
    assert "better" in converse(server, SessionOptions(), audio_packets(phrase)).text.lower()


def test_options_come_once_and_before_the_audio(server: ServerProcess) -> None:
    told = encode_packet(Header.OPTIONS, json.dumps({}).encode())
    for packets in (told + told, BEGIN + told):
        with Wire(server.port) as wire:
            wire.send(MAGIC + user_packet() + packets)
            assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
