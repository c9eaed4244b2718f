"""Matrices in int8 whose results stay near those of float32.

FBGEMM, torch's int8 on x86, adds products of two bytes in 16 bits. torch keeps them from overflowing by taking a bit
from the activations (`reduce_range`), which have one scale for all that is multiplied at once and so can spare none;
here the weights, which have a scale for each row, give it. Measured (docs/benchmarks.md): the encoder's error falls to
half.
"""

import warnings
from typing import Callable

import torch
from torch import Tensor, nn

_WEIGHT_LIMIT = 63  # 7 bits: 2 × 255 × 63 fits into 16
_SMALLEST = 1e-6  # of an activation, where all are zero


class Int8Linear(nn.Module):
    """A plain `nn.Linear` with weights in int8 and activations that are quantised as they come.

    One that narrows stands behind GELU, where a few positions are a hundred times as loud as the others: each gets a
    scale of its own (Yao et al., "ZeroQuant", 2022, section 4.1: token-wise quantization).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.scales_rows = scales_rows(linear)
        self.bias = linear.bias if self.scales_rows else None
        self._packed = torch.ops.quantized.linear_prepack(
            quantized(linear.weight.detach()), None if self.scales_rows else linear.bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """`x` (…, n_in) → (…, n_out)."""
        if not self.scales_rows:
            plain: Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, False)
            return plain
        assert self.bias is not None
        loudest = x.abs().amax(-1, keepdim=True).clamp(min=_SMALLEST)
        scaled: Tensor = torch.ops.quantized.linear_dynamic(x / loudest, self._packed, False)
        return torch.addcmul(self.bias, scaled, loudest)


def scales_rows(linear: nn.Linear) -> bool:
    """Whether it stands behind GELU."""
    return linear.in_features > linear.out_features


def quantized(weight: Tensor) -> Tensor:
    """`weight` (n_out, n_in) in 7 bits, with a scale for each row."""
    scales = (weight.abs().amax(1) / _WEIGHT_LIMIT).clamp(min=_SMALLEST).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a torch later than the pinned one does this elsewhere
        return torch.quantize_per_channel(weight, scales, torch.zeros(len(scales), dtype=torch.long), 0, torch.qint8)


def quantize(module: nn.Module, make: Callable[[nn.Linear], nn.Module] = Int8Linear) -> None:
    """Turn every plain `nn.Linear` in `module` into one in int8, which `make` makes of it."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, make(child))
        else:
            quantize(child, make)
