"""In which numbers encoder and decoder compute, and what is fastest on a processor."""

from typing import NamedTuple, TypeVar

import torch
from torch import nn

from recognizer.int8 import quantize

_Module = TypeVar("_Module", bound=nn.Module)
_SMALL_STATE = 512  # of tiny and base
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


class Precision(NamedTuple):
    """What a model computes in, and why."""

    dtype: str
    reason: str

    def __str__(self) -> str:
        return f"{self.dtype}, because {self.reason}"


def choose_precision(compute: str, device: torch.device) -> Precision:
    """What `model.compute` means on this device."""
    if device.type == "cuda":
        dtype = "float16" if compute in ("auto", "int8") else compute
        return Precision(dtype, "the device is CUDA")
    if compute != "auto":
        return Precision(compute, f"model.compute is {compute}")
    return Precision("int8", "the device is a processor")


def apply_precision(module: _Module, precision: str) -> _Module:
    """`module` with its weights in that precision."""
    if precision == "int8":
        quantize(module)
        return module
    return module.to(DTYPES[precision])


def is_shared(encoder: str, n_state: int) -> bool:
    """Whether more threads than one are to compute an encoder of that width in those numbers.

    Products of floating-point matrices are cut by the number of threads, and each cut rounds elsewhere: an utterance
    could have another text while other engines are idle. What that costs is in docs/benchmarks.md ("Live text").
    Larger models are shared: there seconds count for more than a letter.
    """
    return encoder == "int8" or n_state > _SMALL_STATE
