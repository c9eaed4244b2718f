"""The encoder's attention, the way that is fastest on the processor.

torch's own (`scaled_dot_product_attention`) multiplies float32 with MKL, which on processors of AMD with AVX-512 is
half as fast as oneDNN (docs/benchmarks.md). torch gives products of float32 to oneDNN where it may round them to
bfloat16. oneDNN does so with AMX alone; without it, they are as exact as MKL's.
"""

import contextlib
import functools
import math
from typing import Iterator, Optional

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from recognizer import processor

_QUERIES = 96  # at once: their scores stay in the processor's cache
_MOST_KEYS = 1280  # of more, torch's own way is faster: it never has all scores of a query at once


def attend(query: Tensor, key: Tensor, value: Tensor, weights: Optional[Tensor] = None) -> Tensor:
    """`query` (1, n_head, n, n_dim), `key` and `value` (1, n_head, m, n_dim) → (1, n_head, n, n_dim).

    `weights` (1, 1, n or 1, m) is added to the scores.
    """
    is_on_processor = query.device.type == "cpu" and query.dtype == torch.float32
    if is_on_processor and key.shape[2] <= _MOST_KEYS and onednn_is_faster():
        return _by_onednn(query[0], key[0], value[0], weights)[None]
    return scaled_dot_product_attention(query, key, value, attn_mask=weights)


@functools.lru_cache(maxsize=None)
def onednn_is_faster() -> bool:
    """Whether this processor multiplies float32 faster with oneDNN, and as exactly."""
    return processor.capability() == "AVX512" and not processor.has_amx() and processor.is_of_amd()


def chosen() -> str:
    """What float32 is multiplied with there, and why."""
    if onednn_is_faster():
        return "by oneDNN, because MKL is slow on processors of AMD with AVX-512"
    return "torch's own"


def _by_onednn(query: Tensor, key: Tensor, value: Tensor, weights: Optional[Tensor]) -> Tensor:
    """As `attend`, of tensors without the first dimension."""
    n_head, n, n_dim = query.shape
    keys = key.transpose(1, 2)
    bias = query.new_zeros(1) if weights is None else weights[0]
    bias = bias.expand(n_head, n, key.shape[1])
    out = torch.empty_like(query)
    with _onednn():
        for first in range(0, n, _QUERIES):
            part = slice(first, first + _QUERIES)
            scores = torch.baddbmm(bias[:, part], query[:, part], keys, alpha=1 / math.sqrt(n_dim))
            out[:, part] = torch.bmm(scores.softmax(-1), value)
    return out


@contextlib.contextmanager
def _onednn() -> Iterator[None]:
    """Products of float32 are oneDNN's meanwhile. Not for small ones, as the decoder's: starting one costs too much."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
