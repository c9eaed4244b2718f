"""Matrices by compiled code, in the order in which they are read: those of int8.py, and the vocabulary."""

from typing import Sequence, Union

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recognizer.compiled.library import Library, Matrix, Norm, Vocabulary
from recognizer.compiled.pages import large_pages
from recognizer.int8 import quantized, scales_rows
from recognizer.layers import Norm as NormLayer

_TOGETHER = 4  # inputs whose products are summed by one instruction

_STEP = (
    0.35  # of a row's root mean square: Max, "Quantizing for Minimum Distortion", 1960, for 15 steps of a normal one
)
_MOST_OF_A_HALF, _STANDS_FOR_0, _MOST_OF_A_BYTE, _PARTS = 7, 8, 127, 254
_SMALLEST = 1e-6  # step, where all are zero
_ROWS_AT_ONCE = (
    4096  # of a vocabulary, a multiple of any width: all of them, in float32, would be hundreds of megabytes
)


class CompiledLinear(nn.Module):
    """A plain `nn.Linear` with weights in int8: Int8Linear but for the last rounding, and ties where rows are scaled.

    Args:
        library: what multiplies.
        linear: float32; a multiple of eight inputs.
    """

    def __init__(self, library: Library, linear: nn.Linear) -> None:
        super().__init__()
        self._library = library
        weight = quantized(linear.weight.detach())
        n_out, n_in = weight.shape
        missing = -n_out % library.width
        weights = pad(weight.int_repr(), (0, 0, 0, missing))
        scales = pad(weight.q_per_channel_scales().float(), (0, missing))
        bias = torch.zeros(n_out) if linear.bias is None else linear.bias.detach().float()
        self._sums = weights.sum(1, dtype=torch.int32)
        self._weights = weights.view(-1, library.width, n_in // _TOGETHER, _TOGETHER).transpose(1, 2).contiguous()
        self._outliers = library.take_out(self._weights)
        self._scales, self._bias = scales, pad(bias, (0, missing))
        self._sizes = (n_in, n_out, scales_rows(linear))
        self.matrix = self._matrix()

    @property
    def weights(self) -> Tensor:
        """In the order in which they are read."""
        return self._weights

    def move(self, weights: Tensor) -> None:
        """Have the same weights there."""
        self._weights = weights.view(self._weights.shape).copy_(self._weights)
        self.matrix = self._matrix()

    def _matrix(self) -> Matrix:
        tensors = (self._weights, self._scales, self._sums, self._bias, *self._outliers)
        return Matrix(*(tensor.data_ptr() for tensor in tensors), *self._sizes)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, n_in) → (…, n_out)."""
        return self._library.multiply(self.matrix, x)


class CompiledVocabulary(nn.Module):
    """Embeddings of tokens: for logits in four bits for all and in eight for the best, else in 16 (vocabulary.h).

    Args:
        library: what computes.
        embedding: float32 (n_vocab, n_state), a multiple of 64.
    """

    def __init__(self, library: Library, embedding: Tensor) -> None:
        super().__init__()
        self._library = library
        n_vocab, n_state = embedding.shape
        self._sizes = (n_state, n_vocab)
        self._shared = embedding.mean(0)
        whole = -(-n_vocab // library.width) * library.width
        self._n_coarse = whole * n_state // 2
        self._weights = torch.empty(self._n_coarse + n_vocab * n_state, dtype=torch.int8)
        self._scales, self._fine_scales = torch.zeros(whole), torch.empty(n_vocab)
        self._sums = torch.zeros(whole, dtype=torch.int32)
        self._rest = torch.empty(n_vocab, n_state, dtype=torch.int8)
        for first in range(0, n_vocab, _ROWS_AT_ONCE):
            self._fill(first, embedding[first : first + _ROWS_AT_ONCE] - self._shared)
        self.vocabulary = self._vocabulary()

    def _fill(self, first: int, own: Tensor) -> None:
        """In the rows from there on."""
        (n, n_state), width = own.shape, self._library.width
        coarse_steps = (_STEP * own.square().mean(1).sqrt()).clamp(min=_SMALLEST)
        fine_steps = (own.abs().amax(1) / _MOST_OF_A_BYTE).clamp(min=_SMALLEST)
        coarse = _numbers(own / coarse_steps[:, None], _MOST_OF_A_HALF)
        self._scales[first : first + n], self._fine_scales[first : first + n] = coarse_steps, fine_steps
        self._sums[first : first + n] = coarse.sum(1, dtype=torch.int32)
        halves = pad(coarse, (0, 0, 0, -n % width)).add_(_STANDS_FOR_0).view(-1, width, n_state // 8, 2, _TOGETHER)
        both = halves[..., 0, :] | halves[..., 1, :] << 4
        _put(self._weights, first * n_state // 2, both.transpose(1, 2))
        in_steps = own / fine_steps[:, None]
        fine = _numbers(in_steps, _MOST_OF_A_BYTE)
        _put(self._weights, self._n_coarse + first * n_state, fine)
        self._rest[first : first + n] = _numbers((in_steps - fine) * _PARTS, _MOST_OF_A_BYTE)

    @property
    def weights(self) -> Tensor:
        """In the order in which they are read."""
        return self._weights

    def move(self, weights: Tensor) -> None:
        """Have the same weights there."""
        self._weights = weights.copy_(self._weights)
        self.vocabulary = self._vocabulary()

    def _vocabulary(self) -> Vocabulary:
        fine = self._weights[self._n_coarse :]
        tensors = (self._weights, self._scales, self._sums, fine, self._fine_scales, self._rest, self._shared)
        return Vocabulary(*(tensor.data_ptr() for tensor in tensors), *self._sizes)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, n_state) → logits (…, n_vocab)."""
        return self._library.weigh(self.vocabulary, x)


def _numbers(x: Tensor, most: int) -> Tensor:
    """Whole ones, int8."""
    return x.round().clamp_(-most, most).to(torch.int8)


def _put(weights: Tensor, first: int, part: Tensor) -> None:
    weights[first : first + part.numel()].view(part.shape).copy_(part)


def norm_of(norm: NormLayer) -> Norm:
    """As C has it: whoever has it keeps the weights."""
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)


def lay_in_order(matrices: Sequence[Union[CompiledLinear, CompiledVocabulary]]) -> None:
    """One behind the other, as they are read."""
    sizes = [matrix.weights.numel() for matrix in matrices]
    for matrix, part in zip(matrices, torch.split(large_pages(sum(sizes)), sizes)):
        matrix.move(part)
