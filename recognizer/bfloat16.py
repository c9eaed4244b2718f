"""Matrices in bfloat16 as oneDNN wants them: in its own order, with what follows them done before the sums are rounded.

torch brings the weights into that order at every call. What torch.compile writes for a processor uses the same
functions (torch._inductor, "mkldnn fusion"). With AMX the encoder takes a quarter less time (docs/benchmarks.md).

oneDNN writes code for each number of rows, with AMX some 8 MB in 15 ms for each length of window, and keeps it. So here
rows come in pieces of few lengths, which `rehearse` has met before engines are forked.
"""

from typing import Any, Callable, List

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recognizer import processor

_OPERATIONS: Any = torch.ops.mkldnn
_PIECE = 256  # rows at once
_STEP = 32  # what is left of them is filled up to a multiple of it


class PackedLinear(nn.Module):
    """A plain `nn.Linear` in bfloat16, whatever numbers it has and is given."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._weight = _OPERATIONS._reorder_linear_weight(linear.weight.detach().bfloat16(), None)
        self._bias = None if linear.bias is None else linear.bias.detach().bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, n_in) → (…, n_out)."""
        return self._then("none", x.bfloat16()).to(x.dtype)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of it."""
        return self._then("gelu", x)

    def add_to(self, before: Tensor, x: Tensor) -> Tensor:
        """`before` (…, n_out) and it."""
        add = _OPERATIONS._linear_pointwise.binary
        return in_pieces(lambda rows, to: add(rows, to, self._weight, self._bias, "add"), x, before)

    def _then(self, function: str, x: Tensor) -> Tensor:
        make = _OPERATIONS._linear_pointwise
        return in_pieces(lambda rows: make(rows, self._weight, self._bias, function, [], "none"), x)


class PackedConvolution(nn.Module):
    """A convolution over three frames, with its activation, as one matrix.

    Args:
        weight: (n_out, n_in, 3)
        bias: (n_out,)
        stride: frames.
    """

    def __init__(self, weight: Tensor, bias: Tensor, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        n_out, _, self._width = weight.shape
        linear = nn.Linear(weight[0].numel(), n_out, device="meta", dtype=weight.dtype)
        linear.weight = nn.Parameter(weight.detach().transpose(1, 2).reshape(n_out, -1), requires_grad=False)
        linear.bias = nn.Parameter(bias.detach(), requires_grad=False)
        self._linear = PackedLinear(linear)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (1, n_in, length) → (1, n_out, length / stride)."""
        frames = pad(x[0], (1, 1)).unfold(1, self._width, self.stride)  # (n_in, length / stride, 3)
        return self._linear.gelu(frames.permute(1, 2, 0).flatten(1)).T[None]


def in_pieces(make: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """What `make` makes of rows of `inputs` (…, n), all with the same rows, a few at a time."""
    rows = [x.reshape(-1, x.shape[-1]) for x in inputs]
    made: List[Tensor] = []
    for first in range(0, len(rows[0]), _PIECE):
        pieces = [x[first : first + _PIECE] for x in rows]
        n = len(pieces[0])
        if n % _STEP:
            pieces = [pad(piece, (0, 0, 0, -n % _STEP)) for piece in pieces]
        made.append(make(*pieces)[:n])
    whole = torch.cat(made) if len(made) > 1 else made[0]
    return whole.view(*inputs[0].shape[:-1], whole.shape[-1])


def can_pack() -> bool:
    """Whether this processor gains by it, and this torch can."""
    names = ("_reorder_linear_weight", "_linear_pointwise")
    return processor.has_amx() and all(hasattr(_OPERATIONS, name) for name in names)


def lengths() -> range:
    """Rows of the pieces."""
    return range(_STEP, _PIECE + 1, _STEP)


def pack(module: nn.Module) -> None:
    """Turn every plain `nn.Linear` in `module` into a PackedLinear."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, PackedLinear(child))
        else:
            pack(child)
