"""Matrices in int8 by compiled code: those of int8.py, in the order in which they are read."""

from typing import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recognizer.compiled.library import Library, Matrix, Norm
from recognizer.compiled.pages import large_pages
from recognizer.int8 import quantized, scales_rows
from recognizer.layers import Norm as NormLayer

_TOGETHER = 4  # inputs whose products are summed by one instruction


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


def norm_of(norm: NormLayer) -> Norm:
    """As C has it: whoever has it keeps the weights."""
    return Norm(norm.weight.data_ptr(), norm.bias.data_ptr(), norm.eps)


def lay_in_order(linears: Sequence[CompiledLinear]) -> None:
    """One behind the other, as they are read."""
    sizes = [linear.weights.numel() for linear in linears]
    for linear, part in zip(linears, torch.split(large_pages(sum(sizes)), sizes)):
        linear.move(part)
