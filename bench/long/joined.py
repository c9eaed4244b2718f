"""Long recordings without pauses, made of shorter ones of one language: in memory only."""

from typing import Iterator, List, Sequence

import webrtcvad

from bench.recordings import Recording
from recognizer.audio import SAMPLE_RATE

_FRAME_S = 0.03
_FRAME_BYTES = int(2 * SAMPLE_RATE * _FRAME_S)
_EDGE_FRAMES = 2  # kept of the silence at both ends: soft sounds are part of it


def joined(recordings: Sequence[Recording], language: str, least_s: float) -> Iterator[Recording]:
    """One after the other without the silence at their ends, each of at least so many seconds; a rest is left out."""
    parts: List[Recording] = []
    pcm = bytearray()
    for recording in recordings:
        if recording.language != language or not recording.references:
            continue
        parts.append(recording)
        pcm += trimmed(recording.pcm)
        if len(pcm) >= 2 * SAMPLE_RATE * least_s:
            yield _joined(parts, bytes(pcm))
            parts, pcm = [], bytearray()


def trimmed(pcm: bytes) -> bytes:
    """16-bit mono PCM at 16 kHz from its first to its last voiced frame."""
    vad = webrtcvad.Vad(1)
    starts = range(0, len(pcm) - _FRAME_BYTES + 1, _FRAME_BYTES)
    voiced = [start for start in starts if vad.is_speech(pcm[start : start + _FRAME_BYTES], SAMPLE_RATE)]
    if not voiced:
        return b""
    edge_bytes = _EDGE_FRAMES * _FRAME_BYTES
    return pcm[max(0, voiced[0] - edge_bytes) : voiced[-1] + _FRAME_BYTES + edge_bytes]


def _joined(parts: Sequence[Recording], pcm: bytes) -> Recording:
    """With each spelling of the parts: all of the first, all of the second."""
    spellings = max(len(part.references) for part in parts)
    references = [
        " ".join(part.references[min(index, len(part.references) - 1)] for part in parts) for index in range(spellings)
    ]
    return Recording(f"{parts[0].name} and {len(parts) - 1} more", parts[0].language, references, pcm)
