"""Sound as clients send it → mono 16-bit PCM, as the TCP protocol takes it. Other rates are the server's business."""

from typing import Any

import numpy as np

WIDTHS_BYTES = (1, 2, 3, 4)  # of a sample; one byte is unsigned, as in WAV files
MOST_CHANNELS = 16
PCM16_BYTES = 2  # of a sample of what the protocol takes
_OFFSET = 128  # silence in unsigned bytes
_BYTE = 8  # bits


class MonoPcm:
    """A stream of interleaved PCM, little-endian → its channels mixed to one, 16 bits a sample.

    Args:
        width_bytes: of a sample, one of WIDTHS_BYTES.
        channels: 1 to MOST_CHANNELS.
    """

    def __init__(self, width_bytes: int, channels: int) -> None:
        self._width_bytes = width_bytes
        self._channels = channels
        self._torn = b""  # the beginning of a frame whose rest is still to come

    def take(self, data: bytes) -> bytes:
        """The next bytes, which may end within a frame; its rest is awaited."""
        frame_bytes = self._width_bytes * self._channels
        data = self._torn + data
        whole = len(data) - len(data) % frame_bytes
        data, self._torn = data[:whole], data[whole:]
        if self._width_bytes == PCM16_BYTES and self._channels == 1:
            return data
        samples = self._samples(data).reshape(-1, self._channels)
        mixed: np.ndarray[Any, np.dtype[np.int32]] = samples.sum(axis=1, dtype=np.int32) // self._channels
        return mixed.astype("<i2").tobytes()

    def _samples(self, data: bytes) -> "np.ndarray[Any, np.dtype[np.int16]]":
        """Their upper 16 bits."""
        octets = np.frombuffer(data, np.uint8)
        if self._width_bytes == 1:
            return ((octets.astype(np.int16) - _OFFSET) << _BYTE).astype(np.int16)
        upper = octets.reshape(-1, self._width_bytes)[:, -2:]
        return np.ascontiguousarray(upper).view("<i2").reshape(-1)
