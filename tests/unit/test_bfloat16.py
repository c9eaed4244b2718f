"""Matrices in bfloat16 in oneDNN's order: torch's, and as good for any number of rows."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu

from recognizer.bfloat16 import PackedConvolution, PackedLinear, in_pieces, lengths, pack

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.ops.mkldnn._is_mkldnn_bf16_supported(),
    reason="oneDNN does not compute in bfloat16 on this processor, or torch has no such functions of it",
)

ROWS = (1, 31, 32, 33, 250, 256, 257, 700)


def linear(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(64, 48).requires_grad_(False)


def is_near(found: Tensor, right: Tensor) -> bool:
    """As near as bfloat16 is."""
    return bool((found.float() - right).norm() <= 0.01 * right.norm())


@torch.inference_mode()
@pytest.mark.parametrize("n_rows", ROWS)
def test_products_gelu_and_sums_are_those_of_float32(n_rows: int) -> None:
    exact = linear(1)
    packed = PackedLinear(exact)
    x, before = torch.randn(1, n_rows, 64).bfloat16(), torch.randn(1, n_rows, 48).bfloat16()
    right = exact(x.float())
    assert is_near(packed(x), right)
    assert is_near(packed.gelu(x), gelu(right))
    assert is_near(packed.add_to(before, x), right + before)
    assert packed(x).shape == (1, n_rows, 48)


@torch.inference_mode()
def test_what_comes_in_float32_goes_out_in_float32() -> None:
    x = torch.randn(40, 64)
    found = PackedLinear(linear(2))(x)
    assert found.dtype == torch.float32
    assert is_near(found, linear(2)(x))


@torch.inference_mode()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("length", [4, 64, 500, 1400])
def test_a_convolution_is_that_of_torch(stride: int, length: int) -> None:
    torch.manual_seed(length)
    weight, bias, x = torch.randn(40, 16, 3) / 7, torch.randn(40), torch.randn(1, 16, length).bfloat16()
    found = PackedConvolution(weight.bfloat16(), bias.bfloat16(), stride)(x)
    right = gelu(conv1d(x.float(), weight, bias, stride=stride, padding=1))
    assert found.shape == right.shape
    assert is_near(found, right)


@pytest.mark.parametrize("n_rows", range(1, 900, 37))
def test_pieces_have_few_lengths_and_lose_nothing(n_rows: int) -> None:
    met = []

    def make(piece: Tensor, other: Tensor) -> Tensor:
        met.append(len(piece))
        return piece + other

    x = torch.arange(n_rows * 3.0).view(1, n_rows, 3)
    assert torch.equal(in_pieces(make, x, x), 2 * x)
    assert set(met) <= set(lengths())


@torch.inference_mode()
def test_all_matrices_of_a_module_are_packed() -> None:
    inner = nn.Sequential(linear(4))
    module = nn.Sequential(linear(3), inner, nn.Identity())
    pack(module)
    assert [type(part) for part in (module[0], inner[0])] == [PackedLinear, PackedLinear]
