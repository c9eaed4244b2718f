"""Media files of every kind that FFmpeg knows → PCM, while they are read: PyAV, where it is installed."""

import importlib
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional

from client.errors import AudioFileError, UndecodedFile

_RATE = 16_000  # Hz
_SAMPLE_BYTES = 2
_LEAST_GAP_S = 0.1  # between where a piece of sound should begin and where it does: a pause that was left out
_MOST_GAP_S = 600.0  # more is no pause, but a clock that was set
_MICROSECONDS = 1_000_000


class Media(NamedTuple):
    """16-bit mono PCM of a file's first audio stream; speakers on channels of their own are mixed.

    Its times are those of the file: where the sound begins later or has gaps, there is silence.

    Attributes:
        chunks: in pieces of any length; AudioFileError at the end where pieces were damaged.
        sample_rate: Hz.
        duration_s: where the file says it.
    """

    chunks: Iterator[bytes]
    sample_rate: int
    duration_s: Optional[float]


def decode(path: Path, undecoded: UndecodedFile) -> Media:
    """Open a file that is of another kind than wav and raw audio. Raises AudioFileError."""
    try:
        av: Any = importlib.import_module("av")
    except ImportError:
        raise AudioFileError(f"{undecoded.what}; pip install av reads it, or {undecoded.advice}") from None
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise AudioFileError(f"{undecoded.what}, and FFmpeg cannot read it: {_reason(error)}") from error
    if not container.streams.audio:
        container.close()
        raise AudioFileError(f"{path}: there is no sound in it")
    duration_s = container.duration / _MICROSECONDS if container.duration else None
    return Media(_chunks(path, av, container), _RATE, duration_s)


def _chunks(path: Path, av: Any, container: Any) -> Iterator[bytes]:
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
                    continue
                for frame in frames:
                    yield from clock.silence_before(frame.time)
                    yield from clock.counted(resampler.resample(frame))
            yield from clock.counted(resampler.resample(None))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise AudioFileError(f"{path}: it breaks off after {clock.now_s:.1f} s: {_reason(error)}") from error
        if not clock.samples:
            raise AudioFileError(f"{path}: there is no sound in it that can be decoded")
        if damaged:
            raise AudioFileError(f"{path}: {damaged} damaged pieces of it were left out")


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
