"""The card, told in a line; and the files of random weights."""

from pathlib import Path

import torch

from bench.gpu.models import is_random, write_random
from bench.gpu.parts import Settings, Teller
from engine.cores import usable_cores

_DRIVER = Path("/proc/driver/nvidia/version")


def measure(settings: Settings, told: Teller) -> None:
    """Tell it, try the device, write the files."""
    where = torch.ones(1, device=settings.device) + 1  # a card that is of no use says so here
    told.note(_card(where.device) if settings.has_card else "no card, the processor")
    told.note(f"torch {torch.__version__}, {settings.compute}, {usable_cores()} cores")
    for model, path in settings.models.items():
        if is_random(model):
            write_random(model, Path(path))


def _card(device: torch.device) -> str:
    card = torch.cuda.get_device_properties(device)
    driver = _DRIVER.read_text(encoding="utf-8").splitlines()[0] if _DRIVER.exists() else "driver unknown"
    return f"{card.name}, {card.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}, {' '.join(driver.split())}"
