"""Telling a machine without memory from a fault."""

from typing import Iterator, Optional

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it, or what led to it, is for want of memory: torch's CPU allocator says so with a RuntimeError."""
    return any(
        isinstance(cause, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(cause)
        for cause in _chain(error)
    )


def _chain(error: Optional[BaseException]) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
