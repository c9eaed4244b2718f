"""What a telephone line makes of sound: 300 to 3400 Hz, 8 kHz, µ-law (ITU-T G.711)."""

import numpy as np
import numpy.typing as npt
import soxr

from boundary.settings import EngineSettings, default_session
from engine.intake import Intake
from recognizer.audio import SAMPLE_RATE, Samples

RATE = 8000
ENCODING = "mulaw"

_LOWEST_HZ, _HIGHEST_HZ = 300.0, 3400.0
_TAPS = 257  # of the band's filter: its edges are about 250 Hz wide
_KAISER_BETA = 8.0  # about 80 dB of stop band
_INT16_SCALE = 32768.0


def through(samples: Samples) -> bytes:
    """What arrives of 16 kHz samples: µ-law at 8 kHz."""
    return encoded(at_telephone_rate(in_band(samples)))


def in_band(samples: Samples) -> Samples:
    """16 kHz samples without what a telephone does not pass on."""
    at = np.arange(_TAPS) - (_TAPS - 1) / 2
    below = [2 * hz / SAMPLE_RATE * np.sinc(2 * hz / SAMPLE_RATE * at) for hz in (_LOWEST_HZ, _HIGHEST_HZ)]
    band = (below[1] - below[0]) * np.kaiser(_TAPS, _KAISER_BETA)
    return np.convolve(samples, band, "same").astype(np.float32)


def at_telephone_rate(samples: Samples) -> Samples:
    """16 kHz samples at 8 kHz."""
    resampled: Samples = soxr.resample(samples, SAMPLE_RATE, RATE, quality="HQ")
    return resampled


def encoded(samples: Samples) -> bytes:
    """Samples as the µ-law bytes whose values are nearest."""
    values = _decoded(bytes(range(256))).astype(np.int32)
    codes = values.argsort(kind="stable")
    borders = (values[codes][1:] + values[codes][:-1]) / 2
    wanted = np.rint(samples * _INT16_SCALE)
    return bytes(codes[np.searchsorted(borders, wanted)].astype(np.uint8))


def heard(audio: bytes) -> Samples:
    """What a receiver without limits hears of µ-law bytes: 16 kHz samples."""
    samples = _decoded(audio).astype(np.float32) / _INT16_SCALE
    resampled: Samples = soxr.resample(samples, RATE, SAMPLE_RATE, quality="HQ")
    return resampled


def _decoded(audio: bytes) -> npt.NDArray[np.int16]:
    """By the server's own table."""
    session = default_session(EngineSettings())._replace(sample_rate=RATE, encoding=ENCODING)
    return np.frombuffer(Intake(session).feed(audio), "<i2")
