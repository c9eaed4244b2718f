"""Memory in large pages, where Linux gives them: a recognition takes a tenth less time by it (docs/benchmarks.md).

Without them each 4 KB of weights has to be looked up anew (Linux, "Transparent Hugepage Support").
"""

import contextlib
import mmap

import torch
from torch import Tensor

_PAGE = 2 * 1024 * 1024  # of x86-64


def large_pages(n_bytes: int) -> Tensor:
    """So many bytes, int8; each process that is forked has them, and copies what it writes to; raises MemoryError."""
    try:  # private, as torch's own memory: shared by forks until one writes
        memory = mmap.mmap(-1, n_bytes + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"not enough memory for {n_bytes} bytes") from error
    with contextlib.suppress(OSError, AttributeError):  # not every kernel has them
        memory.madvise(mmap.MADV_HUGEPAGE)
    whole = torch.frombuffer(memory, dtype=torch.int8)
    first = -whole.data_ptr() % _PAGE
    return whole[first : first + n_bytes]
