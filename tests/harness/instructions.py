"""What compiled code can be tested with on this processor."""

import ctypes

import pytest

from recognizer import processor
from recognizer.compiled.build import SETS

_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA = 158, 0x1023, 18  # as tiles.c asks


def _is_allowed(name: str) -> bool:
    return name != "amx" or ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA) == 0


USABLE = [name for name, (_, needed) in SETS.items() if processor.flags().issuperset(needed) and _is_allowed(name)]
needs_instructions = pytest.mark.skipif(not USABLE, reason="this processor has none of the instructions")
EACH_SET = [pytest.param(name, marks=needs_instructions) for name in USABLE or [""]]
