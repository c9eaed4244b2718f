"""What the processor can do, as far as torch and oneDNN may use it."""

import os
import re

import torch

_CPUINFO = "/proc/cpuinfo"


def capability() -> str:
    """Of torch's own kernels: AVX512, AVX2, DEFAULT; ATEN_CPU_CAPABILITY sets a limit."""
    return str(torch.backends.cpu.get_cpu_capability())


def can_tell_amx() -> bool:
    """Whether torch knows: 2.4, the last for Python 3.8, does not."""
    return hasattr(torch.cpu, "_is_amx_tile_supported")


def has_amx() -> bool:
    """Whether oneDNN multiplies with it; ONEDNN_MAX_CPU_ISA, or DNNL_MAX_CPU_ISA, sets a limit."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    is_below = limit.startswith(("SSE", "AVX")) and "AMX" not in limit
    return can_tell_amx() and not is_below and torch.cpu._is_amx_tile_supported()


def is_of_amd() -> bool:
    """Who made it; False where that is not told."""
    try:
        with open(_CPUINFO, encoding="ascii", errors="replace") as cpuinfo:
            vendor = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo.read(4096), re.MULTILINE)
    except OSError:
        return False
    return vendor is not None and vendor.group(1) == "AuthenticAMD"
