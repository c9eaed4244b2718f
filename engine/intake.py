"""Audio as a client sends it → 16-bit PCM at a rate that WebRTC VAD takes."""

from typing import Any, Iterator

import numpy as np
import numpy.typing as npt
import soxr

from boundary.settings import SessionSettings

_VAD_RATES = (8000, 16000, 32000, 48000)  # of WebRTC VAD
_OTHER_RATES_BECOME = 16000  # Hz: what Whisper hears
_BLOCKS_PER_S = 50  # of the resampler
_INT16_MAX = 32767


class Intake:
    """One session's audio, bytes in, bytes out; keeps what makes no whole sample, and the resampler's state.

    Attributes:
        sample_rate: of what comes out.
    """

    def __init__(self, settings: SessionSettings) -> None:
        self._table = _G711.get(settings.encoding)
        self._rest = b""
        self._resampler: Any = None
        self.sample_rate = settings.sample_rate
        if settings.sample_rate not in _VAD_RATES:
            self.sample_rate = _OTHER_RATES_BECOME
            self._block_samples = settings.sample_rate // _BLOCKS_PER_S
            self._resampler = soxr.ResampleStream(
                settings.sample_rate, self.sample_rate, num_channels=1, dtype="float32", quality="HQ"
            )

    def feed(self, audio: bytes) -> bytes:
        """What came of so much; the same in all for any sizes."""
        pcm = audio if self._table is None else self._table[np.frombuffer(audio, dtype=np.uint8)].tobytes()
        return pcm if self._resampler is None else b"".join(self._resample(pcm))

    def finish(self) -> bytes:
        """What is left when no more comes."""
        if self._resampler is None:
            return b""
        whole = self._rest[: len(self._rest) // 2 * 2]
        return _to_pcm(self._resampler.resample_chunk(_to_floats(whole), last=True))

    def _resample(self, pcm: bytes) -> Iterator[bytes]:
        """In blocks of one size: what the resampler gives must not depend on the sizes of packets."""
        pcm = self._rest + pcm
        block_bytes = 2 * self._block_samples
        whole = len(pcm) // block_bytes * block_bytes
        for start in range(0, whole, block_bytes):
            yield _to_pcm(self._resampler.resample_chunk(_to_floats(pcm[start : start + block_bytes])))
        self._rest = pcm[whole:]


def _to_floats(pcm: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32)


def _to_pcm(samples: npt.NDArray[np.float32]) -> bytes:
    return np.rint(samples).clip(-_INT16_MAX - 1, _INT16_MAX).astype("<i2").tobytes()


# --- ITU-T G.711: each byte is the sign, the segment (3 bits) and the step in it (4 bits) of a sample -----------------


def _mu_law() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    segment, step = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = ((2 * step + 33) << (segment + 2)) - 132
    return np.where(code & 0x80, -size, size).astype("<i2")


def _a_law() -> npt.NDArray[np.int16]:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment, step = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    size = np.where(segment == 0, (2 * step + 1) << 3, (2 * step + 33) << (segment + 2))
    return np.where(code & 0x80, size, -size).astype("<i2")


_G711 = {"mulaw": _mu_law(), "alaw": _a_law()}
