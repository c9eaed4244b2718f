"""A session's audio → utterances, with the real voice activity detection."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from boundary.settings import EngineSettings, default_session
from config.sections import AudioConfig, VadConfig
from demo.recording import recording_pcm
from engine.segmenter import Segmenter, Utterance
from protocol.data import SpeechStarted

RATE = 16000
BYTES_PER_S = 2 * RATE
FRAME_BYTES = 960
SPEECH = recording_pcm()


def config_for(sample_rate: int, frame_ms: int = 30) -> EngineSettings:
    frame_size = sample_rate * frame_ms // 1000
    return EngineSettings.model_validate(
        {"audio": {"sample_rate": sample_rate, "frame_duration_ms": frame_ms, "frame_size": frame_size}}
    )


def resampled(pcm: bytes, sample_rate: int) -> bytes:
    samples = soxr.resample(np.frombuffer(pcm, dtype="<i2"), RATE, sample_rate)
    return bytes(samples.astype("<i2").tobytes())


def segmenter_of(config: EngineSettings | None = None, **asked: Any) -> Segmenter:
    config = config or EngineSettings()
    return Segmenter(config, default_session(config)._replace(**asked))


def ended(happened: Iterable[SpeechStarted | Utterance]) -> list[Utterance]:
    return [one for one in happened if isinstance(one, Utterance)]


def utterances(pcm: bytes, chunk_sizes: list[int], config: EngineSettings | None = None) -> list[Utterance]:
    segmenter = segmenter_of(config)
    found: list[Utterance] = []
    offset = 0
    for size in cycle(chunk_sizes):
        if offset >= len(pcm):
            return [*found, *ended(segmenter.finish())]
        found += ended(segmenter.feed(pcm[offset : offset + size]))
        offset += size
    raise AssertionError("a cycle does not end")


AT_ONCE = utterances(SPEECH, [len(SPEECH)])


@pytest.mark.parametrize("size", [1, 3, 7, 320, 959, 960, 961, 4097, 65535])
def test_utterances_are_the_same_for_any_packet_size(size: int) -> None:
    assert utterances(SPEECH, [size]) == AT_ONCE


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=10))
def test_utterances_are_the_same_for_any_mixture_of_packet_sizes(chunk_sizes: list[int]) -> None:
    assert utterances(SPEECH, chunk_sizes) == AT_ONCE


def test_empty_packets_change_nothing() -> None:
    segmenter = segmenter_of()
    found = ended(segmenter.feed(b""))
    for start in range(0, len(SPEECH), 10_000):
        found += ended([*segmenter.feed(SPEECH[start : start + 10_000]), *segmenter.feed(b"")])
    assert [*found, *ended(segmenter.finish())] == AT_ONCE


@pytest.mark.parametrize("sample_rate", [8000, 16000, 32000, 48000])
def test_two_sentences_are_two_utterances_at_every_sample_rate(sample_rate: int) -> None:
    first, second = utterances(resampled(SPEECH, sample_rate), [4096], config_for(sample_rate))
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 5.7), abs=0.1)
    assert (second.start_s, second.end_s) == pytest.approx((6.6, 10.0), abs=0.1)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 32000, 48000])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_the_audio_of_an_utterance_is_the_stream_from_its_preroll_into_its_closing_silence(
    sample_rate: int, frame_ms: int
) -> None:
    config = config_for(sample_rate, frame_ms)
    pcm = bytes(config.audio.bytes_per_second) + resampled(SPEECH, sample_rate)
    found = utterances(pcm, [997], config)
    assert found
    for utterance in found:
        offset = pcm.find(utterance.pcm)
        assert offset >= 0
        start_s = offset / config.audio.bytes_per_second
        end_s = (offset + len(utterance.pcm)) / config.audio.bytes_per_second
        assert utterance.start_s - 0.301 <= start_s <= utterance.start_s
        assert utterance.end_s <= end_s


def test_times_count_from_the_first_byte_of_the_session() -> None:
    delayed = utterances(bytes(3 * BYTES_PER_S) + SPEECH, [1000])
    assert [u.start_s - 3 for u in delayed] == pytest.approx([u.start_s for u in AT_ONCE], abs=0.1)
    assert [u.end_s - 3 for u in delayed] == pytest.approx([u.end_s for u in AT_ONCE], abs=0.1)


def test_an_utterance_is_there_as_soon_as_its_silence_is_long_enough() -> None:
    first = AT_ONCE[0]
    last_frame_end = round(first.end_s * 1000 / 30 + VadConfig().silence_threshold) * FRAME_BYTES
    segmenter = segmenter_of()
    assert ended(segmenter.feed(SPEECH[: last_frame_end - 1])) == []
    assert list(segmenter.feed(SPEECH[last_frame_end - 1 : last_frame_end])) == [first]


def test_the_end_of_the_stream_ends_an_open_utterance_and_drops_less_than_a_frame() -> None:
    segmenter = segmenter_of()
    assert ended(segmenter.feed(SPEECH[: 50 * FRAME_BYTES + 959])) == []
    (utterance,) = ended(segmenter.finish())
    assert utterance.pcm == SPEECH[: 50 * FRAME_BYTES]


@pytest.mark.parametrize("pcm", [b"", b"\x01", bytes(FRAME_BYTES - 1), bytes(10 * BYTES_PER_S)], ids=len)
def test_a_stream_without_speech_has_no_utterance(pcm: bytes) -> None:
    assert utterances(pcm, [4096]) == []


def test_minutes_of_silence_take_no_memory() -> None:
    segmenter = segmenter_of()
    for _ in range(180):
        assert list(segmenter.feed(bytes(BYTES_PER_S))) == []
        assert len(segmenter._pcm) <= 0.3 * BYTES_PER_S + FRAME_BYTES


def test_minutes_of_speech_take_the_memory_of_one_utterance() -> None:
    segmenter = segmenter_of()
    without_end = SPEECH[: 5 * BYTES_PER_S]
    durations_s = []
    for _ in range(24):
        durations_s += [u.end_s - u.start_s for u in ended(segmenter.feed(without_end))]
        assert len(segmenter._pcm) <= 10.3 * BYTES_PER_S + FRAME_BYTES
    assert max(durations_s) <= 10
    assert sum(durations_s) > 90


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_every_mode_finds_the_speech(mode: int) -> None:
    config = EngineSettings.model_validate({"vad": {"mode": mode}})
    assert utterances(SPEECH, [960], config)[0].start_s < 0.5


def test_the_frame_size_counts_samples() -> None:
    assert AudioConfig().frame_bytes == FRAME_BYTES
    assert AudioConfig().bytes_per_second == BYTES_PER_S
