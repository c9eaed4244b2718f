"""The encoder's attention is that of torch, whichever way it is computed."""

import math
from typing import Iterator, Optional, Tuple

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recognizer import attention, processor
from recognizer.attention import attend, onednn_is_faster

SHAPES = [(1, 20), (95, 300), (96, 275), (250, 406), (400, 537), (1000, 1000)]


@pytest.fixture
def onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor that multiplies faster with it."""
    monkeypatch.setattr(attention, "onednn_is_faster", lambda: True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def heads(n: int, m: int) -> Tuple[Tensor, Tensor, Tensor]:
    """As the encoder has them: the queries of all heads side by side."""
    torch.manual_seed(n)
    query = torch.randn(1, n, 8, 64).transpose(1, 2)
    return query, torch.randn(1, 8, m, 64), torch.randn(1, 8, m, 64)


def weights_of(kind: str, n: int, m: int) -> Optional[Tensor]:
    row = torch.zeros(m)
    row[m // 2 :] = math.log(8)
    row[: m // 10] = -math.inf
    return {"none": None, "one row": row[None, None, None], "each row": row.expand(1, 1, n, m)}[kind]


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("kind", ["none", "one row", "each row"])
@pytest.mark.parametrize(("n", "m"), SHAPES)
@torch.inference_mode()
def test_it_is_as_exact_as_torchs_own(n: int, m: int, kind: str) -> None:
    if processor.has_amx():
        pytest.skip("products are not exact with AMX, and not asked for there")
    tensors, weights = heads(n, m), weights_of(kind, n, m)
    query, key, value = (one.double() for one in tensors)
    mask = None if weights is None else weights.double()
    exact = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(attend(*tensors, weights).double(), exact, atol=2e-6, rtol=1e-5)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize(("n", "m"), SHAPES)
@torch.inference_mode()
def test_no_bit_of_it_depends_on_how_many_threads_compute(n: int, m: int) -> None:
    """An utterance has the same text alone and beside others."""
    tensors, weights = heads(n, m), weights_of("one row", n, m)
    alone = attend(*tensors, weights)
    for threads in (2, 4):
        torch.set_num_threads(threads)
        assert torch.equal(attend(*tensors, weights), alone)


@pytest.mark.usefixtures("onednn")
@torch.inference_mode()
def test_other_products_stay_as_they_were() -> None:
    before = torch.get_float32_matmul_precision()
    attend(*heads(10, 20))
    assert torch.get_float32_matmul_precision() == before
    with pytest.raises(RuntimeError):
        attend(torch.randn(1, 8, 10, 64), torch.randn(1, 8, 20, 32), torch.randn(1, 8, 20, 32))
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("capability", "amx", "amd", "faster"),
    [
        ("AVX512", False, True, True),
        ("AVX512", False, False, False),
        ("AVX512", True, True, False),
        ("AVX2", False, True, False),
    ],
)
def test_it_is_onednns_where_that_is_faster_and_exact(
    monkeypatch: pytest.MonkeyPatch, capability: str, amx: bool, amd: bool, faster: bool
) -> None:
    monkeypatch.setattr(processor, "capability", lambda: capability)
    monkeypatch.setattr(processor, "has_amx", lambda: amx)
    monkeypatch.setattr(processor, "is_of_amd", lambda: amd)
    onednn_is_faster.cache_clear()
    try:
        assert onednn_is_faster() is faster
        assert ("oneDNN" in attention.chosen()) is faster
    finally:
        onednn_is_faster.cache_clear()
