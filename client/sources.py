"""Where audio comes from: a stream of bytes, with what a server has to know of them."""

from pathlib import Path
from typing import Iterator, NamedTuple, Optional

from client.audio_files import A_LAW, MU_LAW, Recording, read_audio
from client.errors import UndecodedFile
from client.media import decode

ASSUMED_RATE = 16_000  # Hz of a server that is not configured otherwise
_CHUNK_BYTES = 32 * 1024


class Source(NamedTuple):
    """Mono audio to send.

    Attributes:
        chunks: the audio, in pieces of any length; ClientError where it breaks off.
        sample_rate: Hz; None: the server's.
        encoding: as `SessionOptions` has it; None is 16-bit PCM, too.
        duration_s: of all of it, where that is known.
    """

    chunks: Iterator[bytes]
    sample_rate: Optional[int]
    encoding: Optional[str]
    duration_s: Optional[float]

    @property
    def bytes_per_second(self) -> int:
        """Of audio."""
        return bytes_per_second(self.sample_rate, self.encoding)


def bytes_per_second(sample_rate: Optional[int], encoding: Optional[str]) -> int:
    """Of audio of that form; see Source."""
    return (sample_rate or ASSUMED_RATE) * (1 if encoding in (A_LAW, MU_LAW) else 2)


def open_recording(path: Path, sample_rate: Optional[int], encoding: Optional[str]) -> Source:
    """A file of any kind; `sample_rate` and `encoding` are those of raw audio. Raises AudioFileError."""
    try:
        recording = read_audio(path, sample_rate, encoding)
    except UndecodedFile as error:
        media = decode(path, error)
        return Source(media.chunks, media.sample_rate, None, media.duration_s)
    duration_s = len(recording.audio) / bytes_per_second(recording.sample_rate, recording.encoding)
    return Source(_chunks(recording), recording.sample_rate, recording.encoding, duration_s)


def _chunks(recording: Recording) -> Iterator[bytes]:
    audio = recording.audio
    return (audio[offset : offset + _CHUNK_BYTES] for offset in range(0, len(audio), _CHUNK_BYTES))
