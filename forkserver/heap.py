"""Where the C library puts what torch allocates, so that engines share what is equal and keep little beside it.

glibc takes large blocks from the kernel one by one and returns them when freed; having freed one, it takes the next
ones of that size from its heap. While the model is loaded, the heap must stay small: a hole in it that an engine fills
later is a page that is no longer shared. In an engine, the heap is faster. (mallopt(3), malloc_trim(3).)
"""

import ctypes
import os
from pathlib import Path

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LOADING_BYTES = 128 * 1024  # glibc's own value at the start, which stays when it is set
_WORKING_BYTES = 32 * 1024 * 1024  # the most that glibc takes
# oneDNN keeps the code for each shape that it has met, some 0.2 MB: for 1024 of them where nobody says otherwise (its
# developer guide, "Primitive Cache"). Utterances of usual lengths have one or two hundred, all together.
_KEPT_SHAPES = "256"

# An utterance of usual length takes 10 to 20 MB; what a longer one has taken would stay else (docs/benchmarks.md).
_MOST_TAKEN_BYTES = 20_000_000
_MEMORY = Path("/proc/self/statm")  # proc(5), in pages: the second number is resident, the third of that of files
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_libc = ctypes.CDLL(None)
_is_glibc = hasattr(_libc, "mallopt") and hasattr(_libc, "malloc_trim")


def give_back() -> None:
    """Nothing is being computed: return to the kernel what is free."""
    if _is_glibc:
        _libc.malloc_trim(0)


def prepare_to_load() -> None:
    """What is allocated from now on is to be shared by engines; to be called before torch computes."""
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KEPT_SHAPES)
    if _is_glibc:
        _libc.mallopt(_M_MMAP_THRESHOLD, _LOADING_BYTES)


def prepare_to_work() -> None:
    """What is allocated from now on comes and goes with each utterance."""
    if _is_glibc:
        _libc.mallopt(_M_MMAP_THRESHOLD, _WORKING_BYTES)
        _libc.mallopt(_M_TRIM_THRESHOLD, 2 * _WORKING_BYTES)  # as glibc does when it raises the other by itself


class Taken:
    """What this process has taken from the kernel for its work since it last gave back what was free of it."""

    def __init__(self) -> None:
        self._before_bytes = _anonymous_bytes()

    def give_back(self) -> None:
        """As `give_back`."""
        give_back()
        self._before_bytes = _anonymous_bytes()

    def give_back_much(self) -> None:
        """The same where it is much: taking it anew costs the next recognition some time (docs/benchmarks.md)."""
        if _anonymous_bytes() - self._before_bytes > _MOST_TAKEN_BYTES:
            self.give_back()


def _anonymous_bytes() -> int:
    _, resident, of_files = _MEMORY.read_bytes().split()[:3]
    return (int(resident) - int(of_files)) * _PAGE_BYTES
