"""What a server takes on the card and on the host, by the number of its engines; none is spoken to."""

import time
from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional

import psutil
import torch

from bench import serving
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Memory
from bench.load.usage import memory_mb
from tests.harness.server import ServerProcess


class Served(NamedTuple):
    """A server that runs.

    Attributes:
        before_mb: of the card's memory that was taken before it was started.
        start_s: until it listened.
    """

    server: ServerProcess
    model: str
    engines: int
    before_mb: Optional[float]
    start_s: float


def measure(settings: Settings, told: Teller) -> None:
    """Rows of the last model with one engine and with the most: its engines have done what a start does."""
    model = list(settings.models)[-1]
    for engines in sorted({1, settings.engines[-1]}):
        try:
            with serve(settings, model, engines) as served:
                told.row("memory", memory_of(served, settings, speaking=False))
        except SystemExit as error:  # it does not fit, say
            told.fault(f"{engines} engines of {model}: {error}")


@contextmanager
def serve(settings: Settings, model: str, engines: int) -> Iterator[Served]:
    """A server of the model, until the context ends; raises SystemExit where it does not start."""
    before_mb, began_s = card_mb(settings), time.monotonic()
    with serving.own(engines, **settings.ours(model)) as server:
        yield Served(server, model, engines, before_mb, time.monotonic() - began_s)


def card_mb(settings: Settings) -> Optional[float]:
    """What is taken of the card's memory, by whomever."""
    if not settings.has_card:
        return None
    free, total = torch.cuda.mem_get_info(settings.device)
    return float(total - free) / 1e6


def memory_of(served: Served, settings: Settings, speaking: bool) -> Memory:
    """A row of what it takes now."""
    now_mb = card_mb(settings)
    device_mb = None if now_mb is None or served.before_mb is None else now_mb - served.before_mb
    of_host = memory_mb(psutil.Process(served.server.process.pid))
    return Memory(served.model, served.engines, speaking, device_mb, *of_host)
