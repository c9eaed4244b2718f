"""Matrices in int8 by compiled code: those of int8.py, in the order in which they are read."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recognizer.compiled.library import Library, Matrix
from recognizer.int8 import quantized, scales_rows

_TOGETHER = 4  # inputs whose products are summed by one instruction


class CompiledLinear(nn.Module):
    """A plain `nn.Linear` with weights in int8, as Int8Linear: the same but for the last rounding.

    Args:
        library: what multiplies.
        linear: float32; a multiple of four inputs.
    """

    def __init__(self, library: Library, linear: nn.Linear) -> None:
        super().__init__()
        self._library = library
        weight = quantized(linear.weight.detach())
        n_out, n_in = weight.shape
        missing = -n_out % library.block
        weights = pad(weight.int_repr(), (0, 0, 0, missing))
        scales = pad(weight.q_per_channel_scales().float(), (0, missing))
        bias = torch.zeros(n_out) if linear.bias is None else linear.bias.detach().float()
        self._sums = weights.sum(1, dtype=torch.int32)
        self._weights = weights.view(-1, library.block, n_in // _TOGETHER, _TOGETHER).transpose(1, 2).contiguous()
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
        tensors = (self._weights, self._scales, self._sums, self._bias)
        return Matrix(*(tensor.data_ptr() for tensor in tensors), *self._sizes)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, n_in) → (…, n_out)."""
        return self._library.multiply(self.matrix, x)
