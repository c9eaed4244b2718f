"""What the processor can do, as far as torch and oneDNN may use it."""

import os
import re
from typing import FrozenSet

import torch

_CPUINFO = "/proc/cpuinfo"


def capability() -> str:
    """Of torch's own kernels: AVX512, AVX2, DEFAULT; ATEN_CPU_CAPABILITY sets a limit."""
    return str(torch.backends.cpu.get_cpu_capability())


def has_amx() -> bool:
    """Whether it may be used, also by oneDNN: ONEDNN_MAX_CPU_ISA, or DNNL_MAX_CPU_ISA, sets a limit."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    is_below = limit.startswith(("SSE", "AVX")) and "AMX" not in limit
    return "amx_tile" in flags() and not is_below


def is_of_amd() -> bool:
    """Who made it; False where that is not told."""
    return _told("vendor_id") == "AuthenticAMD"


def flags() -> FrozenSet[str]:
    """What it can do, as Linux names it; nothing where that is not told."""
    return frozenset(_told("flags").split())


def _told(name: str) -> str:
    """What /proc/cpuinfo says of the first processor."""
    try:
        with open(_CPUINFO, encoding="ascii", errors="replace") as cpuinfo:
            found = re.search(rf"^{name}\s*:(.*)$", cpuinfo.read(16384), re.MULTILINE)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""
