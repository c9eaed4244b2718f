"""Media files made from PCM, by PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

RATE = 16_000
KINDS = {
    "speech.mp3": ("libmp3lame", 44_100),
    "speech.m4a": ("aac", 44_100),
    "film.mp4": ("aac", 48_000),
    "speech.opus": ("libopus", 48_000),
    "speech.ogg": ("libopus", 48_000),
    "speech.flac": ("flac", 16_000),
    "speech.webm": ("libopus", 48_000),
    "studio.wav": ("pcm_s24le", 96_000),
    "studio.aiff": ("pcm_s16be", 44_100),
}


def write(path: Path, samples: npt.NDArray[np.int16], delay_s: float = 0.0, layout: str = "mono") -> Path:
    """A file of the kind that its name says; `delay_s`: where on its clock the sound begins to be missing."""
    codec, rate = KINDS[path.name]
    out: Any = av.open(str(path), "w")
    stream = out.add_stream(codec, rate=rate)
    stream.codec_context.layout = layout
    resampler: Any = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate, **_framed(stream))
    frame: Any = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = RATE
    frame.pts = 0
    for resampled in [*resampler.resample(frame), *resampler.resample(None)]:
        if resampled.pts is not None and resampled.time >= 2.0:
            resampled.pts += int(delay_s / resampled.time_base)
        for packet in stream.encode(resampled):
            out.mux(packet)
    for packet in stream.encode(None):
        out.mux(packet)
    out.close()
    return path


def _framed(stream: Any) -> dict[str, Any]:
    """Codecs with frames of a length of their own; an open one tells it."""
    stream.codec_context.open()
    return {"frame_size": stream.codec_context.frame_size} if stream.codec_context.frame_size else {}
