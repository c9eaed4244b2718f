"""Long recordings without pauses, made in memory of short ones.

Those of one language follow each other as the manifest has them, which keeps a speaker's together: quiet edges off, a
short gap between. So this is what a server hears of speech that does not pause, and ends utterances by their length;
it is not one speaker for minutes. Voice, room and loudness change every few seconds, and no sentence leads to the next:
what was said before helps less than in a lecture. Pauses inside a recording stay.
"""

from bisect import bisect_right
from itertools import accumulate
from typing import List, NamedTuple, Sequence

import numpy as np

from bench.recordings import Recording
from boundary.settings import EngineSettings, default_session
from engine.segmenter import Segmenter, Utterance
from recognizer.audio import SAMPLE_RATE

GAP_S = 0.15
_FRAME = SAMPLE_RATE // 100
_QUIET_DB = -35.0  # against the loudest frames
_EDGE_FRAMES = 5  # that stay around what is not quiet: a soft beginning is speech
_BYTES_PER_S = 2 * SAMPLE_RATE


class Part(NamedTuple):
    """A recording, and where its trimmed sound begins and ends: seconds from the beginning of the long one."""

    recording: Recording
    start_s: float
    end_s: float


class LongRecording(NamedTuple):
    """Short ones, one after the other; 16-bit mono PCM at 16 kHz."""

    name: str
    language: str
    parts: List[Part]
    pcm: bytes

    @property
    def duration_s(self) -> float:
        """Of its sound."""
        return len(self.pcm) / _BYTES_PER_S


def trimmed(pcm: bytes) -> bytes:
    """Without what is quiet at the edges."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64)
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    if not loudness.any():
        return b""
    loud = np.flatnonzero(loudness > np.percentile(loudness, 95) * 10 ** (_QUIET_DB / 20))
    first, last = max(0, loud[0] - _EDGE_FRAMES), loud[-1] + 1 + _EDGE_FRAMES
    return pcm[2 * _FRAME * first : 2 * _FRAME * last]


def join(name: str, recordings: Sequence[Recording]) -> LongRecording:
    """One after the other, with a gap behind each."""
    pcm = bytearray()
    parts: List[Part] = []
    for recording in recordings:
        start_s = len(pcm) / _BYTES_PER_S
        pcm += trimmed(recording.pcm)
        parts.append(Part(recording, start_s, len(pcm) / _BYTES_PER_S))
        pcm += bytes(2 * round(GAP_S * SAMPLE_RATE))
    return LongRecording(name, recordings[0].language, parts, bytes(pcm))


def join_all(recordings: Sequence[Recording], duration_s: float, takes: int = 1) -> List[LongRecording]:
    """All of them in their order as long recordings of about that length.

    Each further take has the same with its beginning put at its end, so that it is cut at other places.
    """
    ends_s = list(accumulate(len(one.pcm) / _BYTES_PER_S for one in recordings))
    count = max(1, round(ends_s[-1] / duration_s))
    bounds = [bisect_right(ends_s, ends_s[-1] * number / count) for number in range(count)] + [len(recordings)]
    groups = [recordings[first:last] for first, last in zip(bounds, bounds[1:]) if first < last]
    return [
        join(f"{group[0].language} {number}.{take + 1}", _turned(group, take, takes))
        for take in range(takes)
        for number, group in enumerate(groups, 1)
    ]


def _turned(group: Sequence[Recording], take: int, takes: int) -> List[Recording]:
    first = len(group) * take // takes
    return [*group[first:], *group[:first]]


def cuts_s(pcm: bytes) -> List[float]:
    """Where the server, as it is configured without a file, ends an utterance because of its length."""
    settings = EngineSettings()
    segmenter = Segmenter(settings, default_session(settings))
    happened = (*segmenter.feed(pcm), *segmenter.finish())
    return [one.audio_end_s for one in happened if isinstance(one, Utterance) and one.is_cut_off]
