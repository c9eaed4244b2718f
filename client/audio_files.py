"""Recordings → mono audio that a server takes as it is; what is of another kind has to be decoded (`media.py`)."""

import re
import shlex
import struct
from pathlib import Path
from typing import NamedTuple, Optional

from client.errors import AudioFileError, UndecodedFile

PCM, A_LAW, MU_LAW = "pcm_s16le", "alaw", "mulaw"
LOWEST_RATE, HIGHEST_RATE = 8000, 48_000  # Hz that a server takes
_SAMPLE_BYTES = 2
_RAW_SUFFIXES = (".pcm", ".raw")
_WAV_SUFFIXES = (".wav", ".wave")

# What files that are not raw audio begin with. Four bytes and more: raw audio does not begin with them by chance.
_SIGNATURES = (
    (re.compile(rb"OggS"), "an Ogg file (Opus, Vorbis)"),
    (re.compile(rb"fLaC"), "a FLAC file"),
    (re.compile(rb"ID3[\x02-\x04]"), "an MP3 file"),
    (re.compile(rb"....ftyp", re.DOTALL), "an MP4 file (M4A, MOV, 3GP)"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "a WebM or Matroska file"),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "an AVI file"),
    (re.compile(rb"(?:RF64|BW64|riff\x2e\x91\xcf\x11)"), "a wav file in one of the forms for more than 4 GB"),
    (re.compile(rb"FORM....AIF[FC]", re.DOTALL), "an AIFF file"),
    (re.compile(rb"\.snd\x00\x00"), "an AU file"),
    (re.compile(rb"caff\x00\x01"), "a CAF file"),
    (re.compile(rb"#!AMR"), "an AMR file"),
    (re.compile(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"), "a WMA file"),
)
# Two bytes, of which the others only narrow it down: loud raw audio could begin so, and is believed to be raw by name.
_WEAK_SIGNATURES = (
    (re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb][\x10-\xef]"), "an MP3 file"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9][\x40-\xbf]"), "an AAC file"),
)
_SUFFIXES = {
    **dict.fromkeys((".ogg", ".oga", ".opus"), "an Ogg file (Opus, Vorbis)"),
    **dict.fromkeys((".mp4", ".m4a", ".mov", ".3gp"), "an MP4 file (M4A, MOV, 3GP)"),
    **dict.fromkeys((".webm", ".mkv", ".mka"), "a WebM or Matroska file"),
    **dict.fromkeys((".aif", ".aiff", ".aifc"), "an AIFF file"),
    ".mp3": "an MP3 file",
    ".flac": "a FLAC file",
    ".aac": "an AAC file",
    ".amr": "an AMR file",
    ".au": "an AU file",
    ".avi": "an AVI file",
    ".caf": "a CAF file",
    ".wma": "a WMA file",
}

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_SUBFORMAT_TAIL = b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"  # after the format that it stands for
_SAMPLES = {
    _FLOAT: "floating point",
    _A_LAW: "A-law",
    _MU_LAW: "µ-law",
    0x02: "ADPCM (Microsoft)",
    0x11: "ADPCM (IMA)",
    0x31: "GSM 6.10",
    0x50: "MPEG",
    0x55: "MP3",
}
_SIGNED = bytes(value ^ 0x80 for value in range(256))  # the 8-bit samples of wav files are unsigned


class _Wav(NamedTuple):
    """What a wav file holds; `frames` is cut to whole ones, of one sample for each channel."""

    kind: int
    channels: int
    sample_bytes: int
    sample_rate: int
    frames: bytes


class Recording(NamedTuple):
    """Mono audio as it is sent. What is None is not known of a raw file, and left to the server.

    Attributes:
        audio: the samples.
        sample_rate: Hz.
        encoding: as `SessionOptions` has it; None is 16-bit PCM, too.
    """

    audio: bytes
    sample_rate: Optional[int] = None
    encoding: Optional[str] = None


def read_audio(path: Path, sample_rate: Optional[int] = None, encoding: Optional[str] = None) -> Recording:
    """What is in a file: wav by its header, anything else as it is, if it can be raw audio.

    A wav file is sent as it is where a server takes that, and converted where that loses nothing: 8-bit samples, all
    channels the same.

    Args:
        path: of the file.
        sample_rate: Hz of raw audio; None: the server's.
        encoding: of raw audio.

    Raises:
        UndecodedFile: it is of a kind that has to be decoded first.
        AudioFileError: it is missing, unreadable, empty, or has speakers on channels of their own.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror}") from error
    if not content:
        raise AudioFileError(f"{path}: the file is empty; there is nothing to send")
    if re.match(rb"RIFF....WAVE", content, re.DOTALL):
        return _sendable(path, content)
    kind = _other_kind(path, content, called_raw=sample_rate is not None or encoding is not None)
    if kind is not None:
        raise UndecodedFile(f"{path}: {kind}, neither wav nor raw PCM", _advice(path))
    return Recording(content, sample_rate, encoding)


def _other_kind(path: Path, content: bytes, called_raw: bool) -> Optional[str]:
    """What it is in place of raw audio; None where it may be raw audio."""
    suffix = path.suffix.lower()
    for pattern, kind in _SIGNATURES:
        if pattern.match(content):
            return kind
    if suffix in _RAW_SUFFIXES or (called_raw and suffix not in _SUFFIXES):
        return None
    for pattern, kind in _WEAK_SIGNATURES:
        if pattern.match(content):
            return f"{kind} (raw PCM after all? then name it .pcm)"
    if suffix in _WAV_SUFFIXES:
        return "named like a wav file, but without its header"
    return f"named like {_SUFFIXES[suffix]}" if suffix in _SUFFIXES else None


def _sendable(path: Path, content: bytes) -> Recording:
    wav = _parse(content)
    if wav is None:
        raise UndecodedFile(f"{path}: a wav file that is damaged or cut off", _advice(path))
    channels = 1 if wav.kind in (_PCM, _FLOAT, _A_LAW, _MU_LAW) and _all_the_same(wav) else wav.channels
    advice = _advice(path, channels)
    encoding = _encoding(wav)
    if encoding is None:
        what = f"{path}: {_samples(wav)} samples, expected 16-bit integers"
        if channels == 1:
            raise UndecodedFile(what, advice)
        raise AudioFileError(f"{what}; {advice}")
    if not wav.frames:
        raise AudioFileError(f"{path}: a wav file without audio; there is nothing to send")
    if channels > 1:
        raise AudioFileError(f"{path}: {channels} channels that differ; {advice}")
    if not LOWEST_RATE <= wav.sample_rate <= HIGHEST_RATE:
        raise UndecodedFile(f"{path}: {wav.sample_rate} Hz, a server takes {LOWEST_RATE} to {HIGHEST_RATE}", advice)
    return Recording(_first_channel(wav), wav.sample_rate, encoding)


def _encoding(wav: _Wav) -> Optional[str]:
    """In which its samples can be sent; None where they cannot."""
    if wav.kind == _PCM and wav.sample_bytes <= _SAMPLE_BYTES:
        return PCM
    return {_A_LAW: A_LAW, _MU_LAW: MU_LAW}.get(wav.kind) if wav.sample_bytes == 1 else None


def _parse(content: bytes) -> Optional[_Wav]:
    """The parts of a wav file; None where they are not there. Data that is cut off ends where the file does."""
    form = b""
    offset = 12
    while offset + 8 <= len(content):
        name, length = struct.unpack_from("<4sI", content, offset)
        body = content[offset + 8 : offset + 8 + length]
        if name == b"fmt ":
            form = body
        elif name == b"data":
            return _parse_format(form, body)
        offset += 8 + length + length % 2
    return None


def _parse_format(form: bytes, data: bytes) -> Optional[_Wav]:
    if len(form) < 16:
        return None
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if kind == _EXTENSIBLE and form[26:40] == _SUBFORMAT_TAIL:
        (kind,) = struct.unpack_from("<H", form, 24)
    sample_bytes = -(-bits // 8)
    if not channels or (kind == _PCM and not sample_bytes):
        return None
    whole_bytes = len(data) - len(data) % max(1, channels * sample_bytes)
    return _Wav(kind, channels, sample_bytes, rate, data[:whole_bytes])


def _samples(wav: _Wav) -> str:
    name = _SAMPLES.get(wav.kind, f"unknown (format {wav.kind})")
    bits = f"{8 * wav.sample_bytes}-bit"
    return {_PCM: bits, _FLOAT: f"{bits} {name}"}.get(wav.kind, name)


def _all_the_same(wav: _Wav) -> bool:
    """Whether every channel holds what the first does."""
    frame_bytes = wav.channels * wav.sample_bytes
    return all(
        wav.frames[offset::frame_bytes] == wav.frames[offset % wav.sample_bytes :: frame_bytes]
        for offset in range(wav.sample_bytes, frame_bytes)
    )


def _first_channel(wav: _Wav) -> bytes:
    """Its samples: G.711 as they are, 8 or 16 bits as 16-bit PCM."""
    frame_bytes = wav.channels * wav.sample_bytes
    if wav.kind != _PCM:
        return wav.frames[::frame_bytes]
    pcm = bytearray(_SAMPLE_BYTES * (len(wav.frames) // frame_bytes))
    if wav.sample_bytes == 1:
        pcm[1::2] = wav.frames[::frame_bytes].translate(_SIGNED)
    else:
        pcm[0::2] = wav.frames[0::frame_bytes]
        pcm[1::2] = wav.frames[1::frame_bytes]
    return bytes(pcm)


def _advice(path: Path, channels: int = 1) -> str:
    """The line that makes a file of it which can be sent; speakers on channels of their own are not mixed."""
    source = f"ffmpeg -i {shlex.quote(str(path))}"
    form = "-ar 16000 -c:a pcm_s16le"
    if channels == 1:
        return f"convert it: {source} -ac 1 {form} converted.wav"
    if channels == 2:
        parts = (f"-map '[{part}]' {form} {part}.wav" for part in ("left", "right"))
        split = f"{source} -filter_complex 'channelsplit[left][right]' {' '.join(parts)}"
        return f"convert it, for one session for each channel: {split}"
    return f"convert it, for one session for each channel, here the first: {source} -af 'pan=mono|c0=c0' {form} c0.wav"
