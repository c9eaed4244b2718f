"""Media files of many kinds, made by PyAV from a real recording, as audio that is sent."""

from __future__ import annotations

import sys
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from client.errors import AudioFileError
from client.sources import Source, open_recording
from demo.recording import recording_pcm
from tests.harness.media import KINDS, RATE, write


@pytest.fixture(scope="module")
def speech() -> npt.NDArray[np.int16]:
    return np.frombuffer(recording_pcm(), dtype="<i2")


def heard(source: Source) -> npt.NDArray[np.int16]:
    return np.frombuffer(b"".join(source.chunks), dtype="<i2")


def likeness(one: npt.NDArray[np.int16], other: npt.NDArray[np.int16]) -> float:
    """Of how loud two recordings are, in pieces of 20 ms: 1 is the same."""
    count = min(len(one), len(other)) // 320
    envelopes = [
        np.abs(samples[: count * 320].astype(float)).reshape(count, 320).mean(axis=1) for samples in (one, other)
    ]
    return float(np.corrcoef(envelopes)[0, 1])


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_any_kind_is_heard_as_the_recording_that_it_was_made_of(
    name: str, tmp_path: Path, speech: npt.NDArray[np.int16]
) -> None:
    source = open_recording(write(tmp_path / name, speech), None, None)
    assert (source.sample_rate, source.encoding) == (RATE, None)
    assert source.duration_s == pytest.approx(len(speech) / RATE, abs=0.1)
    samples = heard(source)
    assert len(samples) == pytest.approx(len(speech), abs=0.1 * RATE)
    assert likeness(samples, speech) > 0.97


def test_two_channels_become_one(tmp_path: Path, speech: npt.NDArray[np.int16]) -> None:
    samples = heard(open_recording(write(tmp_path / "speech.m4a", speech, layout="stereo"), None, None))
    assert likeness(samples, speech) > 0.97


def test_what_a_file_leaves_out_of_its_clock_is_silence(tmp_path: Path, speech: npt.NDArray[np.int16]) -> None:
    """As a browser records who is muted; times are those of the file."""
    samples = heard(open_recording(write(tmp_path / "speech.webm", speech, delay_s=3.0), None, None))
    assert len(samples) == pytest.approx(len(speech) + 3 * RATE, abs=0.2 * RATE)
    assert np.abs(samples[int(2.3 * RATE) : int(4.9 * RATE)]).max() < 100
    assert likeness(samples[5 * RATE :], speech[2 * RATE :]) > 0.95


def test_no_more_than_a_piece_is_decoded_ahead(tmp_path: Path, speech: npt.NDArray[np.int16]) -> None:
    chunks = open_recording(write(tmp_path / "speech.mp3", np.tile(speech, 20)), None, None).chunks
    assert 0 < len(next(chunks)) < 2 * RATE


def test_a_file_that_is_damaged_is_heard_as_far_as_it_can_be_and_told(
    tmp_path: Path, speech: npt.NDArray[np.int16]
) -> None:
    path = write(tmp_path / "speech.m4a", speech)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = b"\xff" * 6000
    path.write_bytes(content)
    chunks: list[bytes] = []
    with pytest.raises(AudioFileError, match=r"speech\.m4a: \d+ damaged pieces of it were left out$"):
        chunks.extend(open_recording(path, None, None).chunks)
    assert len(b"".join(chunks)) == pytest.approx(2 * len(speech), abs=4 * RATE)


@pytest.mark.parametrize("content", [b"ID3\x04\x00" + bytes(2000), b"OggS\x00" + bytes(200), b"RIFF\0\0\0\0WAVEjunk"])
def test_a_file_that_nothing_can_read_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mp3"
    path.write_bytes(content)
    with pytest.raises(AudioFileError) as caught:
        heard(open_recording(path, None, None))
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def test_a_film_without_sound_is_told(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    out: Any = av.open(str(path), "w")
    stream = out.add_stream("mpeg4", rate=10)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    frame: Any = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
    for packet in [*stream.encode(frame), *stream.encode(None)]:
        out.mux(packet)
    out.close()
    with pytest.raises(AudioFileError, match=r"silent\.mp4: there is no sound in it"):
        open_recording(path, None, None)


@pytest.mark.parametrize("rate", [1, 436_303_616])
def test_a_rate_that_cannot_be_is_told_before_a_resampler_is_made_for_it(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, rate, 0, "NONE", ""))
        file.writeframes(bytes(3000))
    with pytest.raises(AudioFileError, match=rf"x\.wav: it breaks off after 0\.0 s: {rate} Hz; expected 2000 to"):
        heard(open_recording(path, None, None))


def test_without_pyav_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp3").write_bytes(b"ID3\x04\x00" + bytes(2000))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioFileError, match=r"an MP3 file, .*; pip install av reads it, or convert"):
        open_recording(tmp_path / "a.mp3", None, None)


def test_speakers_on_channels_of_their_own_are_not_mixed_behind_ones_back(tmp_path: Path) -> None:
    """Where the file is one that could be sent as it is, but for them."""
    with wave.open(str(tmp_path / "call.wav"), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(bytes(range(240)))
    with pytest.raises(AudioFileError, match="2 channels that differ"):
        open_recording(tmp_path / "call.wav", None, None)
