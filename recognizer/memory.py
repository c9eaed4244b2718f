"""Telling a machine without memory from a fault."""

from typing import Iterator, Optional

import torch

# What a RuntimeError says for want of memory: torch's allocator for the CPU, CUDA's own, and the libraries that bring
# workspaces of their own.
_SAID = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it, or what led to it, is for want of memory, of the host or of a card."""
    return any(
        isinstance(cause, (MemoryError, torch.cuda.OutOfMemoryError)) or any(said in str(cause) for said in _SAID)
        for cause in _chain(error)
    )


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
