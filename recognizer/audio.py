"""PCM from a client → the samples that Whisper's log-mel front end takes."""

import numpy as np
import numpy.typing as npt
import soxr

SAMPLE_RATE = 16000  # whisper.audio.SAMPLE_RATE
_INT16_SCALE = 32768.0

Samples = npt.NDArray[np.float32]


def to_samples(pcm: bytes, sample_rate: int) -> Samples:
    """Mono 16-bit little-endian PCM → float32 in [-1, 1) at 16 kHz.

    Other rates go through soxr's band-limited resampler ("HQ", 100 dB of stop band), so that nothing
    above 8 kHz folds back into the speech band.
    """
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / _INT16_SCALE
    if sample_rate == SAMPLE_RATE:
        return samples
    resampled: Samples = soxr.resample(samples, sample_rate, SAMPLE_RATE, quality="HQ")
    return resampled
