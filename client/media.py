"""Media files of every kind that FFmpeg knows → PCM, while they are read: PyAV, where it is installed."""

import importlib
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Generator, Iterator, NamedTuple, Optional, Union

from client.errors import AudioFileError, UndecodedFile

_RATE = 16_000  # Hz
_SAMPLE_BYTES = 2
_LEAST_GAP_S = 0.1  # between where a piece of sound should begin and where it does: a pause that was left out
_MOST_GAP_S = 600.0  # more is no pause, but a clock that was set
_MICROSECONDS = 1_000_000
_LOWEST_HZ, _HIGHEST_HZ = 2_000, 768_000  # others are damage, and may take a resampler minutes and gigabytes

# FFmpeg's names of what recordings are kept in. Not among them: playlists and session descriptions, which make it open
# other files and addresses.
_CONTAINERS = (
    "aac ac3 aiff amr amrnb amrwb ape asf au avi caf dsf dts dv eac3 flac flv gxf loas matroska mov mp3 mpc mpc8 mpeg "
    "mpegts mpegvideo mxf nut ogg oma qcp rm sox tak tta voc w64 wav wsd wtv wv xwma"
)
_OPTIONS = {"format_whitelist": _CONTAINERS.replace(" ", ","), "protocol_whitelist": "file"}


class Media(NamedTuple):
    """16-bit mono PCM of a file's first audio stream; speakers on channels of their own are mixed.

    Its times are those of the file: where the sound begins later or has gaps, there is silence.

    Attributes:
        chunks: in pieces of any length, also of none; AudioFileError at the end where pieces were damaged. Closed,
            they leave the file alone.
        sample_rate: Hz.
        duration_s: where the file says it.
    """

    chunks: Generator[bytes, None, None]
    sample_rate: int
    duration_s: Optional[float]


def decode(path: Path, undecoded: UndecodedFile) -> Media:
    """Open a file that is of another kind than wav and raw audio. Raises AudioFileError."""
    try:
        importlib.import_module("av")
    except ImportError:
        raise AudioFileError(f"{undecoded.what}; pip install av reads it, or {undecoded.advice}") from None
    return open_media(str(path), str(path), undecoded.what)


def open_media(source: Union[str, BinaryIO], name: str, what: str) -> Media:
    """A file by its path or, open, as such; it stays open. PyAV has to be installed.

    Args:
        source: of the file.
        name: for errors.
        what: begins the error where FFmpeg cannot read it.

    Raises:
        AudioFileError: nothing can be decoded of it.
    """
    av: Any = importlib.import_module("av")
    try:
        container = av.open(source, "r", options=_OPTIONS)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise AudioFileError(f"{what}, and FFmpeg cannot read it: {_reason(error)}") from error
    if not container.streams.audio:
        container.close()
        raise AudioFileError(f"{name}: there is no sound in it")
    duration_s = container.duration / _MICROSECONDS if container.duration else None
    return Media(_chunks(name, av, container), _RATE, duration_s)


def _chunks(name: str, av: Any, container: Any) -> Generator[bytes, None, None]:
    with closing(container):
        damaged = 0
        resampler = av.AudioResampler(format="s16", layout="mono", rate=_RATE)
        clock = _Clock((container.start_time or 0) / _MICROSECONDS)
        try:
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:  # decoders have many words for damage
                    damaged += 1
                    frames = ()
                if not frames:
                    yield b""  # who waits for sound may have something else to do
                for frame in frames:
                    _check_rate(frame.sample_rate)
                    yield from clock.silence_before(frame.time)
                    yield from clock.counted(resampler.resample(frame))
            yield from clock.counted(resampler.resample(None))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise AudioFileError(f"{name}: it breaks off after {clock.now_s:.1f} s: {_reason(error)}") from error
        if not clock.samples:
            raise AudioFileError(f"{name}: there is no sound in it that can be decoded")
        if damaged:
            raise AudioFileError(f"{name}: {damaged} damaged pieces of it were left out")


def _check_rate(rate: int) -> None:
    if not _LOWEST_HZ <= rate <= _HIGHEST_HZ:
        raise ValueError(f"{rate} Hz; expected {_LOWEST_HZ} to {_HIGHEST_HZ}")


class _Clock:
    """Where in the file the next sample belongs."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self.samples = 0

    @property
    def now_s(self) -> float:
        return self.samples / _RATE

    def silence_before(self, time_s: Optional[float]) -> Iterator[bytes]:
        """What is missing before a frame that belongs at `time_s` of the file's clock."""
        gap_s = 0.0 if time_s is None else time_s - self._start_s - self.now_s
        if gap_s > _MOST_GAP_S:
            self._start_s += gap_s
        elif gap_s > _LEAST_GAP_S:
            missing = int(gap_s * _RATE)
            self.samples += missing
            for start in range(0, missing, _RATE):
                yield bytes(_SAMPLE_BYTES * min(_RATE, missing - start))

    def counted(self, frames: Any) -> Iterator[bytes]:
        for frame in frames:
            self.samples += frame.samples
            yield bytes(frame.planes[0])[: _SAMPLE_BYTES * frame.samples]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
