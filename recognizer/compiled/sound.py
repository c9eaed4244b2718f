"""A FastEncoder by compiled code: its entrance, and its layers."""

import functools
from typing import Any, List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from recognizer.compiled.library import Convolution, EncoderLayer, Library, Sound
from recognizer.compiled.matrices import CompiledLinear, lay_in_order, norm_of
from recognizer.int8 import quantize

_TILE = 16  # of tiles.h
_RIGHT_MOST = 2047  # of shorts.h


class CompiledEntrance:
    """Log-mel and positions → what the first layer hears.

    Args:
        library: what computes it.
        convolutions: both, in float32; their weights are (n_out, n_in, 3).
    """

    def __init__(self, library: Library, convolutions: Sequence[Any]) -> None:
        self._library = library
        pack = _in_tiles if library.has_tiles else functools.partial(_in_packs, library.width)
        packed = [(*pack(of.weight.detach()), of.bias.detach()) for of in convolutions]
        self._kept = packed
        self._convolutions = [
            Convolution(*(tensor.data_ptr() for tensor in tensors), of.weight.shape[1], of.weight.shape[0], of.stride)
            for of, tensors in zip(convolutions, packed)
        ]

    def embed(self, mel: Tensor, positions: Tensor) -> Tensor:
        """Log-mel (n_mels, 2 * n), `positions` (n, n_state) → (1, n, n_state); raises MemoryError, TypeError."""
        return self._library.embed(self._convolutions, mel, positions)


def _in_packs(width: int, weight: Tensor) -> Tuple[Tensor, Tensor]:
    """(n_out, n_in, 3) → 16 bits (n_out / width, 3 * n_in / 2, width, 2), and units of each output."""
    n_out = len(weight)
    units = weight.abs().amax((1, 2)).clamp(min=1e-6) / _RIGHT_MOST
    rows = (weight / units[:, None, None]).round().short().transpose(1, 2).reshape(n_out // width, width, -1, 2)
    return rows.transpose(1, 2).contiguous(), units


def _in_tiles(weight: Tensor) -> Tuple[Tensor, Tensor]:
    """(n_out, n_in, 3) → pairs of bfloat16 (n_out / 32, 3 * n_in / 32, 2, 16, 16, 2), filled up with zeros; units."""
    n_out = len(weight)
    rows = weight.transpose(1, 2).reshape(n_out, -1)
    rows = pad(rows, (0, -rows.shape[1] % (2 * _TILE))).bfloat16()
    tiles = rows.view(n_out // (2 * _TILE), 2, _TILE, -1, _TILE, 2)  # the columns of a tile are outputs
    return tiles.permute(0, 3, 1, 4, 2, 5).contiguous(), torch.ones(n_out)


class CompiledLayer:
    """What one layer computes.

    Args:
        library: what computes it.
        layer: whose matrices are compiled ones.
        silence_weight: is added to the scores of silence.
    """

    def __init__(self, library: Library, layer: Any, silence_weight: float) -> None:
        self._library, self._weight = library, silence_weight
        norms = (layer.norm, layer.feed_forward.norm)
        self._kept = [tensor.detach() for norm in norms for tensor in (norm.weight, norm.bias)]
        self._linears = _linears(layer)
        self._sizes = (len(layer.norm.weight), layer.n_head)
        self._layer = EncoderLayer(*map(norm_of, norms), *(linear.matrix for linear in self._linears), *self._sizes)

    def hear(self, x: Tensor, kept: Tensor, start: int, first: int, n_silent: int) -> None:
        """`x` (1, n, n_state) becomes what the next layer hears; raises MemoryError, IndexError, TypeError.

        `kept` (2, n_head, n_kept, HEAD) has keys and values of what was heard before, and gets those of `x` from
        `start` on. It attends to all from `first` on, of which the first `n_silent` are of silence.
        """
        n_state, n_head = self._sizes
        expected = {(1, x.shape[1], n_state), (2, n_head, kept.shape[2], n_state // n_head)}
        if {x.dtype, kept.dtype} != {torch.float32} or {x.shape, kept.shape} != expected:
            raise TypeError(f"expected float32 {expected}, got {x.dtype} {x.shape}, {kept.dtype} {kept.shape}")
        if not (x.is_contiguous() and kept.is_contiguous()):
            raise TypeError("both have to lie in one piece")
        sizes = (x.shape[1], kept.shape[2], start, first, n_silent)
        self._library.hear(self._layer, Sound(x.data_ptr(), kept.data_ptr(), *sizes, self._weight))


def compile_layers(library: Library, layers: Sequence[Any], silence_weight: float) -> List[CompiledLayer]:
    """Compute these, in float32 on the processor, with compiled matrices of int8 from now on."""
    for layer in layers:
        quantize(layer, lambda linear: CompiledLinear(library, linear))
    lay_in_order([linear for layer in layers for linear in _linears(layer)])
    return [CompiledLayer(library, layer, silence_weight) for layer in layers]


def _linears(layer: Any) -> Sequence[CompiledLinear]:
    return layer.qkv, layer.out, layer.feed_forward.rise, layer.feed_forward.fall
