"""Sound of any width, of several channels → mono, 16 bits."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audio import WIDTHS_BYTES, MonoPcm


def samples(data: bytes) -> list[int]:
    return list(np.frombuffer(data, "<i2"))


@pytest.mark.parametrize(
    ("width_bytes", "data"),
    [
        (1, struct.pack("<3B", 0, 128, 192)),
        (2, struct.pack("<3h", -32768, 0, 16384)),
        (3, b"".join((value << 8).to_bytes(3, "little", signed=True) for value in (-32768, 0, 16384))),
        (4, struct.pack("<3i", -32768 << 16, 0, 16384 << 16)),
    ],
)
def test_every_width_is_brought_to_16_bits(width_bytes: int, data: bytes) -> None:
    assert samples(MonoPcm(width_bytes, 1).take(data)) == [-32768, 0, 16384]


def test_channels_are_mixed_without_overflow() -> None:
    stereo = struct.pack("<6h", 32767, 32767, -32768, -32768, 1000, -1000)
    assert samples(MonoPcm(2, 2).take(stereo)) == [32767, -32768, 0]


def test_mono_of_16_bits_is_left_as_it_is() -> None:
    assert MonoPcm(2, 1).take(b"\x01\x02\x03\x04") == b"\x01\x02\x03\x04"


@given(st.sampled_from(WIDTHS_BYTES), st.integers(1, 3), st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_how_the_bytes_are_cut_makes_no_difference(width_bytes: int, channels: int, data: bytes, at: list[int]) -> None:
    whole, cut = MonoPcm(width_bytes, channels), MonoPcm(width_bytes, channels)
    edges = [0, *sorted(min(edge, len(data)) for edge in at), len(data)]
    pieces = [cut.take(data[start:end]) for start, end in zip(edges, edges[1:])]
    assert b"".join(pieces) == whole.take(data)
    assert len(whole.take(b"")) == 0
