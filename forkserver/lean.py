"""openai-whisper without what nothing here uses of it."""

import contextlib
import sys
import types
from typing import Any, Callable, Iterator


@contextlib.contextmanager
def without_numba() -> Iterator[None]:
    """Functions that numba is asked to compile by what is imported meanwhile are left as they are.

    openai-whisper asks it for its own time warping, in whose place alignment.py is. Numba and LLVM behind it are 50 MB
    of memory, and 0.3 s of a start (docs/benchmarks.md).
    """
    if "numba" in sys.modules:
        yield
        return
    stand_in = types.ModuleType("numba")
    vars(stand_in)["jit"] = _left_as_it_is
    sys.modules["numba"] = stand_in
    try:
        yield
    finally:
        sys.modules.pop("numba", None)


def _left_as_it_is(**_: Any) -> Callable[[Any], Any]:
    return lambda function: function
