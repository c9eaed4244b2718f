"""Audio files for the client, and audio for the recogniser."""

from __future__ import annotations

import shlex
import struct
import wave
from pathlib import Path
from typing import Dict, List, Optional

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from client.audio_files import Recording
from client.errors import UndecodedFile
from recognizer.audio import to_samples
from tcp_client import AudioFileError, read_audio

PCM = struct.pack("<200h", *(100 * value for value in range(-100, 100)))


def write_wav(path: Path, frames: bytes, rate: int = 16000, channels: int = 1, sample_bytes: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(sample_bytes)
        file.setframerate(rate)
        file.writeframes(frames)
    return path


def interleaved(left: bytes, right: bytes) -> bytes:
    return b"".join(left[i : i + 2] + right[i : i + 2] for i in range(0, len(left), 2))


def tone(frequency_hz: float, rate: int, duration_s: float = 1.0) -> bytes:
    """A sine of half the full scale."""
    times = np.arange(int(rate * duration_s)) / rate
    return bytes((16384 * np.sin(2 * np.pi * frequency_hz * times)).astype("<i2").tobytes())


def level(samples: npt.NDArray[np.float32]) -> float:
    """Root mean square, without the edges where a resampler's filter begins and ends."""
    middle = samples[1000:-1000].astype(np.float64)
    return float(np.sqrt(np.mean(middle**2)))


def loudest_hz(samples: npt.NDArray[np.float32], rate: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


# --- files that can be sent


@pytest.mark.parametrize("name", ["speech.pcm", "speech.raw", "speech", "speech.bin", "SPEECH.PCM"])
@pytest.mark.parametrize("content", [PCM, b"odd", b"RIFF", b"RIFF\0\0\0\0WAV"], ids=len)
def test_a_file_that_may_be_raw_is_sent_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_audio(tmp_path / name) == Recording(content)


@pytest.mark.parametrize("first", [-1, -1025, -1281, -3329, -3585, -3841])
def test_loud_raw_audio_that_looks_like_mp3_or_aac_is_believed_by_its_name(tmp_path: Path, first: int) -> None:
    content = struct.pack("<2h", first, 0x5050) + PCM
    (tmp_path / "speech.pcm").write_bytes(content)
    assert read_audio(tmp_path / "speech.pcm") == Recording(content)


def test_raw_audio_without_a_name_is_sent_where_nothing_speaks_against_it(tmp_path: Path) -> None:
    for first in (-1, 0, 1, 255, -256):
        content = struct.pack("<2h", first, first) + PCM
        (tmp_path / "speech").write_bytes(content)
        assert read_audio(tmp_path / "speech") == Recording(content)


@pytest.mark.parametrize("name", ["speech.wav", "SPEECH.WAV", "speech.wave", "speech", "speech.pcm"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_wav_is_sent_without_its_header_at_its_own_rate(tmp_path: Path, name: str, rate: int) -> None:
    """Whatever is said of raw audio."""
    path = write_wav(tmp_path / name, PCM, rate)
    assert read_audio(path) == read_audio(path, 32_000, "mulaw") == Recording(PCM, rate, "pcm_s16le")


@pytest.mark.parametrize(("kind", "encoding"), [(6, "alaw"), (7, "mulaw")])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_of_g711_is_sent_as_it_is(tmp_path: Path, kind: int, encoding: str, channels: int) -> None:
    companded = bytes(range(240))
    data = bytes(value for value in companded for _ in range(channels))
    (tmp_path / "call.wav").write_bytes(riff(kind, channels, 8, data=data))
    assert read_audio(tmp_path / "call.wav") == Recording(companded, 16000, encoding)


def test_what_is_said_of_raw_audio_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "call").write_bytes(PCM)
    assert read_audio(tmp_path / "call", 8000, "alaw") == Recording(PCM, 8000, "alaw")


def test_what_is_called_raw_audio_may_begin_as_mp3_does(tmp_path: Path) -> None:
    """As µ-law does, where it is silent and then loud."""
    (tmp_path / "call").write_bytes(b"\xff\xfb\x50\xc4" + PCM)
    assert read_audio(tmp_path / "call", encoding="mulaw").encoding == "mulaw"


def test_8_bit_samples_are_widened(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bytes([0, 1, 127, 128, 129, 255]), sample_bytes=1)
    assert struct.unpack("<6h", read_audio(path).audio) == (-32768, -32512, -256, 0, 256, 32512)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("sample_bytes", [1, 2])
def test_equal_channels_become_one(tmp_path: Path, channels: int, sample_bytes: int) -> None:
    mono = write_wav(tmp_path / "mono.wav", PCM, sample_bytes=sample_bytes)
    frames = b"".join(channels * PCM[i : i + sample_bytes] for i in range(0, len(PCM), sample_bytes))
    several = write_wav(tmp_path / "several.wav", frames, channels=channels, sample_bytes=sample_bytes)
    assert read_audio(several) == read_audio(mono)


# --- files that cannot


def refusal(path: Path) -> str:
    with pytest.raises(AudioFileError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert message.isprintable()  # so in one line
    assert message.startswith(str(path))
    return message


def audio_or_refusal(path: Path) -> Optional[bytes]:
    """What is sent; None when it is refused in one line."""
    try:
        return read_audio(path).audio
    except AudioFileError as error:
        if not str(error).isprintable():
            raise
        return None


def advised(message: str) -> List[str]:
    """The words of the command that a message ends with, as a shell reads them."""
    return shlex.split(message[message.index("ffmpeg ") :])


TO_MONO = ["-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "converted.wav"]


@pytest.mark.parametrize("rate", [7999, 48_001, 96_000])
def test_a_rate_that_no_server_takes_is_refused_with_advice(tmp_path: Path, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", PCM, rate)
    message = refusal(path)
    assert f"{rate} Hz, a server takes 8000 to 48000" in message
    assert advised(message) == ["ffmpeg", "-i", str(path), *TO_MONO]


def test_the_advice_names_the_file_with_its_folder_as_a_shell_takes_it(tmp_path: Path) -> None:
    folder = tmp_path / "our calls; $(rm) 'x'"
    folder.mkdir()
    path = write_wav(folder / "ä b.wav", PCM, 96_000)
    assert advised(refusal(path))[2] == str(path)


def test_two_channels_that_differ_are_not_to_be_mixed(tmp_path: Path) -> None:
    frames = interleaved(PCM, PCM[:-2] + b"\x00\x01")
    message = refusal(write_wav(tmp_path / "a.wav", frames, channels=2))
    assert "2 channels that differ; convert it, for one session for each channel: " in message
    words = advised(message)
    assert words[3:5] == ["-filter_complex", "channelsplit[left][right]"]
    assert "-ac" not in words
    assert words.count("-ar") == words.count("pcm_s16le") == 2
    assert words[words.index("[left]") + 5] == "left.wav"
    assert words[-1] == "right.wav"


def test_of_more_channels_that_differ_one_is_taken(tmp_path: Path) -> None:
    words = advised(refusal(write_wav(tmp_path / "a.wav", PCM[:396], channels=3)))
    assert words[3:5] == ["-af", "pan=mono|c0=c0"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("sample_bytes", [3, 4])
def test_wider_samples_are_refused(tmp_path: Path, sample_bytes: int, channels: int) -> None:
    """Where both channels hold the same, there is nothing to keep apart."""
    path = write_wav(tmp_path / "a.wav", bytes(120), channels=channels, sample_bytes=sample_bytes)
    message = refusal(path)
    assert f": {8 * sample_bytes}-bit samples, expected 16-bit" in message
    assert advised(message)[3:] == TO_MONO


def test_wider_samples_of_two_speakers_are_not_to_be_mixed(tmp_path: Path) -> None:
    message = refusal(write_wav(tmp_path / "a.wav", bytes(range(120)), channels=2, sample_bytes=3))
    assert "24-bit samples" in message
    assert "channelsplit" in message


def riff(kind: int, channels: int, bits: int, extension: bytes = b"", data: bytes = bytes(240)) -> bytes:
    """A wav file with any format, as `wave` does not write it."""
    frame_bytes = channels * bits // 8
    form = struct.pack("<HHIIHH", kind, channels, 16000, 16000 * frame_bytes, frame_bytes, bits) + extension
    chunks = b"".join(
        name + struct.pack("<I", len(body)) + body
        for name, body in ((b"fmt ", form), (b"LIST", b"odd\0"), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def extensible(subformat: int, bits: int) -> bytes:
    """What follows the format in the extensible form: valid bits, speakers, what it stands for."""
    guid = struct.pack("<H", subformat) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<HHI", 22, bits, 4) + guid


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (riff(0xFFFE, 1, 24, extensible(1, 24)), "24-bit samples"),
        (riff(0xFFFE, 1, 32, extensible(3, 32)), "32-bit floating point samples"),
        (riff(0xFFFE, 1, 16, extensible(1, 16)[:10] + bytes(14)), "unknown (format 65534) samples"),
        (riff(3, 1, 64), "64-bit floating point samples"),
        (riff(6, 1, 16), "A-law samples"),
        (riff(7, 2, 16), "µ-law samples"),
        (riff(0x11, 1, 4), "ADPCM (IMA) samples"),
        (riff(0x55, 1, 0), "MP3 samples"),
        (riff(0x1234, 1, 16), "unknown (format 4660) samples"),
    ],
)
def test_samples_of_another_kind_are_named(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    message = refusal(tmp_path / "a.wav")
    assert f": {what}, expected 16-bit integers; convert it" in message


def test_the_extensible_form_of_what_can_be_sent_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(riff(0xFFFE, 1, 16, extensible(1, 16), data=PCM))
    assert read_audio(tmp_path / "a.wav").audio == PCM


def test_a_wav_of_a_length_that_its_writer_did_not_know_is_sent_to_its_end(tmp_path: Path) -> None:
    content = write_wav(tmp_path / "a.wav", PCM).read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:40] + b"\xff\xff\xff\xff" + content[44:])
    assert read_audio(tmp_path / "a.wav").audio == PCM


@pytest.mark.parametrize("name", ["a.wav", "a.pcm", "a.raw", "a", "a.mp3"])
def test_an_empty_file_is_called_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert refusal(tmp_path / name) == f"{tmp_path / name}: the file is empty; there is nothing to send"


def test_a_wav_without_samples_is_called_so(tmp_path: Path) -> None:
    assert ": a wav file without audio; " in refusal(write_wav(tmp_path / "a.wav", b""))
    assert ": a wav file without audio; " in refusal(write_wav(tmp_path / "b.wav", b"", 8000, channels=2))


@pytest.mark.parametrize("content", [b"RIFF", b"hello, I am no wav file at all"], ids=len)
@pytest.mark.parametrize("name", ["a.wav", "a.WAVE"])
def test_a_name_of_a_wav_does_not_make_one(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert ": named like a wav file, but without its header, neither wav nor raw PCM; " in refusal(tmp_path / name)


# The beginnings of files as ffmpeg writes them.
CONTAINERS = {
    "an MP3 file": [b"ID3\x04\x00\x00\x00\x00\x00\x23TSSE"],
    "an Ogg file": [b"OggS\x00\x02\x00\x00"],
    "a FLAC file": [b"fLaC\x00\x00\x00\x22"],
    "an MP4 file": [b"\x00\x00\x00\x1cftypM4A \x00\x00\x02\x00", b"\x00\x00\x00\x14ftypqt  \x00\x00\x02\x00"],
    "a WebM or Matroska file": [b"\x1a\x45\xdf\xa3\x01\x00\x00\x00"],
    "an AVI file": [b"RIFF\xb4\x48\x00\x00AVI LIST"],
    "a wav file in one of the forms for more than 4 GB": [
        *(b"RF64\xff\xff\xff\xffWAVEds64", b"BW64\xff\xff\xff\xffWAVEds64", b"riff\x2e\x91\xcf\x11\xa5\xd6"),
    ],
    "an AIFF file": [b"FORM\x00\x00\x7d\x2eAIFFCOMM", b"FORM\x00\x00\x7d\x2eAIFCFVER"],
    "an AU file": [b".snd\x00\x00\x00\x20\x00\x00\x7d\x00"],
    "a CAF file": [b"caff\x00\x01\x00\x00desc"],
    "an AMR file": [b"#!AMR\n\x3c\x91", b"#!AMR-WB\n\x44"],
    "a WMA file": [b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9"],
}


@pytest.mark.parametrize("name", ["x.pcm", "x.raw", "x", "x.wav", "x.mp3"])
@pytest.mark.parametrize(("what", "content"), [(what, content) for what in CONTAINERS for content in CONTAINERS[what]])
def test_a_container_is_known_by_its_first_bytes_whatever_its_name(
    tmp_path: Path, name: str, what: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content + PCM)
    message = refusal(tmp_path / name)
    assert f"{name}: {what}" in message
    assert ", neither wav nor raw PCM; convert it: " in message
    assert advised(message) == ["ffmpeg", "-i", str(tmp_path / name), *TO_MONO]


@pytest.mark.parametrize(
    ("content", "what"), [(b"\xff\xfb\x50\xc4", "an MP3 file"), (b"\xff\xf1\x60\x40", "an AAC file")], ids=len
)
@pytest.mark.parametrize("name", ["x", "x.mp3", "x.wav"])
def test_mp3_and_aac_without_a_header_are_known_where_the_name_does_not_say_raw(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content + PCM)
    assert f"{name}: {what} (raw PCM after all? then name it .pcm), neither wav" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "what"), [("x.mp3", "an MP3 file"), ("X.M4A", "an MP4 file"), ("x.opus", "an Ogg file")]
)
def test_a_name_of_a_container_is_believed(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(PCM)
    assert f"{name}: named like {what}" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["missing.wav", "missing.pcm"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path / name) == f"{tmp_path / name}: No such file or directory"


@pytest.mark.parametrize("name", ["folder.wav", "folder"])
def test_a_folder_is_no_audio(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert refusal(tmp_path / name).endswith("Is a directory")


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_cut_off_anywhere_is_sent_up_to_there_or_refused(tmp_path: Path, channels: int) -> None:
    frames = PCM if channels == 1 else interleaved(PCM, PCM)
    content = write_wav(tmp_path / "whole.wav", frames, channels=channels).read_bytes()
    path = tmp_path / "cut.wav"
    for end in range(len(content)):
        path.write_bytes(content[:end])
        audio = audio_or_refusal(path)
        assert audio is None or PCM.startswith(audio)


def test_a_wav_cut_off_in_a_sample_is_sent_up_to_there(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", PCM)
    path.write_bytes(path.read_bytes()[:-3])
    assert audio_or_refusal(path) == PCM[:-4]


def test_a_wav_without_a_rate_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", PCM)
    content = path.read_bytes()
    path.write_bytes(content[:24] + bytes(4) + content[28:])
    assert ": 0 Hz, a server takes 8000 to 48000" in refusal(path)


@pytest.mark.parametrize(
    ("content", "decodable"),
    [
        (riff(1, 1, 24), True),
        (riff(3, 2, 32), True),
        (riff(0x11, 1, 4), True),
        (b"fLaC" + PCM, True),
        (riff(1, 2, 16, data=bytes(range(240))), False),
        (riff(1, 2, 24, data=bytes(range(240))), False),
    ],
)
def test_what_a_decoder_could_read_is_told_from_what_must_not_be_mixed(
    tmp_path: Path, content: bytes, decodable: bool
) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioFileError) as caught:
        read_audio(tmp_path / "a.wav")
    assert isinstance(caught.value, UndecodedFile) == decodable


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=4), st.sampled_from([8000, 16000]))
@example({17: 1}, 16000)  # the format chunk reaches into the data
def test_a_damaged_wav_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: Dict[int, int], rate: int
) -> None:
    path = write_wav(tmp_path_factory.getbasetemp() / "damaged.wav", PCM, rate)
    content = bytearray(path.read_bytes())
    for offset, value in damage.items():
        content[offset] = value
    path.write_bytes(content)
    audio_or_refusal(path)  # and no other error


# --- the recogniser's samples


def test_16_bit_samples_become_fractions_of_one() -> None:
    samples = to_samples(struct.pack("<5h", -32768, -16384, 0, 16384, 32767), 16000)
    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, -0.5, 0.0, 0.5, 32767 / 32768]


def test_no_audio_is_no_samples() -> None:
    assert to_samples(b"", 16000).size == 0


@pytest.mark.parametrize("rate", [8000, 16000, 32000, 48000])
def test_a_tone_keeps_its_frequency_level_and_length(rate: int) -> None:
    samples = to_samples(tone(440, rate, 2), rate)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(32000, abs=2)
    assert loudest_hz(samples, 16000) == pytest.approx(440, abs=1)
    assert level(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.001)


@pytest.mark.parametrize("rate", [32000, 48000])
@pytest.mark.parametrize("frequency_hz", [9000, 10_000, 12_000, 15_500])
def test_a_tone_that_16_khz_cannot_hold_does_not_fold_back(rate: int, frequency_hz: int) -> None:
    quietest = 16384 / 32768 / np.sqrt(2) / 1000  # 60 dB below the tone; 16-bit rounding alone is at -90
    assert level(to_samples(tone(frequency_hz, rate), rate)) < quietest


@pytest.mark.parametrize("frequency_hz", [100, 1000, 3400])
def test_telephone_speech_gains_no_tone(frequency_hz: int) -> None:
    spectrum = np.abs(np.fft.rfft(to_samples(tone(frequency_hz, 8000, 1), 8000)[2000:-2000]))
    hertz = np.arange(len(spectrum)) * 16000 / 12000
    assert spectrum[hertz > 4500].max() < spectrum.max() / 1000
