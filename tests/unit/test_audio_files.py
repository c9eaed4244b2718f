"""Audio files for the client, and audio for the recogniser."""

import struct
import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("name", ["speech.pcm", "speech.raw", "speech", "speech.wave"])
@pytest.mark.parametrize("content", [PCM, b"", b"odd", b"RIFF"], ids=len)
def test_a_file_that_is_no_wav_is_sent_as_it_is(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_audio(tmp_path / name, 16000) == content


@pytest.mark.parametrize("name", ["speech.wav", "SPEECH.WAV"])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_a_wav_of_the_servers_rate_is_sent_without_its_header(tmp_path: Path, name: str, rate: int) -> None:
    assert read_audio(write_wav(tmp_path / name, PCM, rate), rate) == PCM


def test_a_wav_without_samples_is_empty(tmp_path: Path) -> None:
    assert read_audio(write_wav(tmp_path / "a.wav", b""), 16000) == b""
    assert read_audio(write_wav(tmp_path / "b.wav", b"", 8000), 16000) == b""


def test_8_bit_samples_are_widened(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bytes([0, 1, 127, 128, 129, 255]), sample_bytes=1)
    assert struct.unpack("<6h", read_audio(path, 16000)) == (-32768, -32512, -256, 0, 256, 32512)


@pytest.mark.parametrize("channels", [2, 3])
def test_equal_channels_become_one(tmp_path: Path, channels: int) -> None:
    frames = b"".join(channels * PCM[i : i + 2] for i in range(0, len(PCM), 2))
    assert read_audio(write_wav(tmp_path / "a.wav", frames, channels=channels), 16000) == PCM


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (11025, 16000), (16000, 48000), (44100, 48000)])
def test_a_lower_rate_is_raised(tmp_path: Path, from_rate: int, to_rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", tone(440, from_rate), from_rate)
    samples = np.frombuffer(read_audio(path, to_rate), dtype="<i2").astype(np.float32)
    assert len(samples) == pytest.approx(to_rate, abs=2)
    assert loudest_hz(samples, to_rate) == pytest.approx(440, abs=1)
    assert level(samples) == pytest.approx(16384 / np.sqrt(2), rel=0.01)


# --- files that cannot


def refusal(path: Path, rate: int = 16000) -> str:
    with pytest.raises(AudioFileError) as caught:
        read_audio(path, rate)
    message = str(caught.value)
    assert message.isprintable()  # so in one line
    assert message.startswith(str(path))
    return message


def audio_or_refusal(path: Path) -> bytes | None:
    """What is sent at 16 kHz; None when it is refused in one line."""
    try:
        return read_audio(path, 16000)
    except AudioFileError as error:
        if not str(error).isprintable():
            raise
        return None


def test_a_higher_rate_is_refused_with_advice(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", PCM, 44100)
    message = refusal(path)
    assert "44100 Hz, the server takes 16000" in message
    assert message.endswith("ffmpeg -i a.wav -ac 1 -ar 16000 -c:a pcm_s16le converted.wav")


def test_channels_that_differ_are_refused(tmp_path: Path) -> None:
    frames = interleaved(PCM, PCM[:-2] + b"\x00\x01")
    assert "2 channels that differ" in refusal(write_wav(tmp_path / "a.wav", frames, channels=2))


@pytest.mark.parametrize("sample_bytes", [3, 4])
def test_wider_samples_are_refused(tmp_path: Path, sample_bytes: int) -> None:
    path = write_wav(tmp_path / "a.wav", bytes(120), sample_bytes=sample_bytes)
    assert f"{8 * sample_bytes}-bit samples" in refusal(path)


FLOAT_WAV = b"RIFF\x26\x00\x00\x00WAVEfmt \x10\x00\x00\x00" + struct.pack("<HHLLHH", 3, 1, 16000, 64000, 4, 32)


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"hello, I am no wav file at all", FLOAT_WAV + b"data\x00\x00\x00\x00"], ids=len
)
def test_what_is_no_pcm_wav_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    message = refusal(path)
    assert "not a PCM wav file" in message
    assert "()" not in message


@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_the_advice_names_the_servers_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"no wav")
    assert f"-ar {rate} " in refusal(path, rate)


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


def test_a_wav_cut_off_in_a_sample_is_converted_up_to_there_or_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", PCM, 8000)
    path.write_bytes(path.read_bytes()[:-3])
    audio = audio_or_refusal(path)
    assert audio is None or len(audio) == pytest.approx(2 * len(PCM), abs=10)


def test_a_wav_without_a_rate_is_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", PCM)
    content = path.read_bytes()
    path.write_bytes(content[:24] + bytes(4) + content[28:])
    refusal(path)


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=4), st.sampled_from([8000, 16000]))
@example({17: 1}, 16000)  # the format chunk reaches into the data
def test_a_damaged_wav_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: dict[int, int], rate: int
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
