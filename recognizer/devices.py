"""Which devices `model.device` means."""

import logging
import os
from typing import Callable, List

import torch

from recognizer import RecognizerError

_log = logging.getLogger(__name__)

_MOST_CARDS = 100  # that an exit status can tell, clear of those of a shell


def find_devices(device: str, count_cards: Callable[[], int]) -> List[torch.device]:
    """The devices that engines are spread over: a card, all cards, or the processor.

    Args:
        device: `cpu`, `cuda` (every card), `cuda:N` (that one), or `auto`: `cuda` where there is a card, else `cpu`.
        count_cards: asked only where it matters.

    Raises:
        RecognizerError: there is no such card.
    """
    count = 0 if device == "cpu" else count_cards()
    if device == "cpu" or (device == "auto" and not count):
        return [torch.device("cpu")]
    index = torch.device(device).index if device != "auto" else None
    if (index or 0) >= count:
        raise RecognizerError(
            f"model.device: {device} was asked for, but torch {torch.__version__} finds {count} CUDA devices; "
            f"set it to cpu or auto, or install a CUDA build of torch"
        )
    return [torch.device("cuda", card) for card in (range(count) if index is None else [index])]


def count_cards() -> int:
    """How many cards this process can use. It may start CUDA, which no process that forks may have done."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def count_cards_aside(count: Callable[[], int] = count_cards) -> int:
    """The same in a process of its own, for one that forks: where NVML is missing, CUDA has to be started to count.

    (`torch.cuda.is_available`; a forked process cannot use CUDA that its parent has started.)
    """
    if torch.version.cuda is None:
        return 0
    pid = os.fork()
    if pid == 0:
        found = _MOST_CARDS + 1
        try:
            found = min(count(), _MOST_CARDS)
        finally:
            os._exit(found)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) > _MOST_CARDS:
        _log.warning("CUDA cannot be asked for its devices: it is taken for absent")
        return 0
    return os.WEXITSTATUS(status)
