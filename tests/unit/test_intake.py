"""Audio of any encoding and rate → PCM that voice activity detection takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boundary.settings import default_session
from config.sections import ServerConfig
from engine.intake import Intake


def intake(**asked: Any) -> Intake:
    return Intake(default_session(ServerConfig())._replace(**asked))


def tone(sample_rate: int, hertz: float, seconds: float = 1.0) -> bytes:
    times = np.arange(int(sample_rate * seconds)) / sample_rate
    return (8000 * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes()


def taken_in(taking: Intake, audio: bytes, sizes: Iterable[int]) -> bytes:
    out, offset = b"", 0
    for size in sizes:
        out += taking.feed(audio[offset : offset + size])
        offset += size
    return out + taking.feed(audio[offset:]) + taking.finish()


def samples(pcm: bytes) -> npt.NDArray[np.float64]:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 32000, 48000])
def test_pcm_at_a_rate_of_the_vad_stays_as_it_is(sample_rate: int) -> None:
    taking = intake(sample_rate=sample_rate)
    assert taking.sample_rate == sample_rate
    assert taking.feed(b"\x01") + taking.feed(b"\x02\x03") + taking.finish() == b"\x01\x02\x03"


# ITU-T G.711 (2000/11), tables 1 and 2: the decoder's output for the ends of the scale and around zero, times 8 and 16.
@pytest.mark.parametrize(
    ("encoding", "code", "sample"),
    [
        ("mulaw", 0xFF, 0),
        ("mulaw", 0x7F, 0),
        ("mulaw", 0xFE, 8),
        ("mulaw", 0x7E, -8),
        ("mulaw", 0x80, 32124),
        ("mulaw", 0x00, -32124),
        ("mulaw", 0xEF, 132),
        ("alaw", 0xD5, 8),
        ("alaw", 0x55, -8),
        ("alaw", 0xAA, 32256),
        ("alaw", 0x2A, -32256),
        ("alaw", 0xD4, 24),
    ],
)
def test_g711_is_decoded_as_the_standard_says(encoding: str, code: int, sample: int) -> None:
    assert samples(intake(encoding=encoding, sample_rate=8000).feed(bytes([code]))).tolist() == [sample]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_g711_falls_with_its_code_on_each_side_of_zero(encoding: str) -> None:
    decoded = samples(intake(encoding=encoding, sample_rate=8000).feed(bytes(range(256))))
    assert len(set(np.abs(decoded))) == 128
    assert sorted(decoded[:128]) == sorted(-decoded[128:])


@pytest.mark.parametrize("sample_rate", [8001, 11025, 12000, 22050, 24000, 44100, 47999])
def test_other_rates_become_16_khz_with_the_tone_where_it_was(sample_rate: int) -> None:
    taking = intake(sample_rate=sample_rate)
    assert taking.sample_rate == 16000
    out = samples(taken_in(taking, tone(sample_rate, 440), []))
    assert len(out) == pytest.approx(16000, abs=2)
    expected = samples(tone(16000, 440))[: len(out)]
    middle = slice(1000, len(out) - 1000)
    assert np.abs(out[middle] - expected[: len(out)][middle]).max() < 40


@settings(deadline=None, max_examples=50)
@given(
    st.sampled_from([("pcm_s16le", 44100), ("pcm_s16le", 11025), ("mulaw", 12000), ("alaw", 8000)]),
    st.lists(st.integers(0, 3000), max_size=30),
)
def test_the_sizes_of_packets_change_nothing(form: tuple[str, int], sizes: list[int]) -> None:
    encoding, sample_rate = form
    audio = tone(sample_rate, 300, 0.3)
    form_asked = {"encoding": encoding, "sample_rate": sample_rate}
    assert taken_in(intake(**form_asked), audio, sizes) == taken_in(intake(**form_asked), audio, [])


def test_full_scale_is_clipped_and_does_not_wrap() -> None:
    square = np.where(np.arange(44100) // 50 % 2, 32767, -32768).astype("<i2").tobytes()
    out = samples(taken_in(intake(sample_rate=44100), square, []))
    steps = np.abs(np.diff(out))
    assert out.max() == 32767
    assert np.count_nonzero(steps > 60000) == 0
