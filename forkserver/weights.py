"""The process that owns the weights on the cards, and lends them to the engines: one copy on each card for all.

An engine maps what it is lent (CUDA IPC; PyTorch, "Multiprocessing best practices"): its owner must live for as long.
So this process does nothing but lend. Imported by the server too, so nothing heavy before it runs.
"""

import logging
import os
import queue
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from typing import Any, Sequence

import logger
from boundary.messages import Lend, Lent, Logged, Owns, OwnsNothing, StartFailed
from boundary.settings import EngineSettings

_log = logging.getLogger(__name__)


def weights_main(settings: EngineSettings, lends_on: Sequence[str], commands: Any, answers: Any) -> None:
    """Load the weights and lend them until the server is gone, or say that there is nothing to lend.

    Args:
        settings: of every engine.
        lends_on: kinds of devices, as torch names them, that engines need a loan on.
        commands: queue from the server.
        answers: queue to the server.
    """
    commands._writer.close()
    answers._reader.close()
    logger.forward_records(settings.log_level, lambda record: answers.put(Logged(record)))
    wanted: queue.SimpleQueue[Lend] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(commands, wanted), name="receiver", daemon=True).start()
    # A fork server that could not import it knows no devices: then an engine tries, and says what is wrong.
    template: Any = sys.modules.get("forkserver.template")
    if template is None or not template.devices() or template.devices()[0].type not in lends_on:
        answers.put(OwnsNothing())
        return
    try:
        _lend(settings, wanted, answers)
    except Exception:
        _log.exception("the weights cannot be lent")
        os._exit(1)


def _receive(commands: Any, wanted: "queue.SimpleQueue[Lend]") -> None:
    """Also while the weights are loaded: whose server is gone holds no memory of a card."""
    while True:
        try:
            wanted.put(commands.get())
        except (EOFError, OSError):
            os._exit(0)


def _lend(settings: EngineSettings, wanted: "queue.SimpleQueue[Lend]", answers: Any) -> None:
    import torch.multiprocessing  # noqa: PLC0415, F401 - its pickles of tensors are handles

    from forkserver import heap, template  # noqa: PLC0415
    from recognizer import RecognizerError  # noqa: PLC0415
    from recognizer.loading import prepare  # noqa: PLC0415
    from recognizer.precision import choose_precision  # noqa: PLC0415

    size, devices = settings.model.size, template.devices()[: settings.model.channel]
    heap.prepare_to_load()
    try:
        with template.explaining(size):
            first = prepare(size, devices[0], choose_precision(settings.model.compute, devices[0]))
            loans = [first.shared(), *(first.on(device) for device in devices[1:])]
    except RecognizerError as error:
        answers.put(StartFailed(str(error)))
        return
    heap.give_back()
    where = ", ".join(str(device) for device in devices)
    _log.info("process %d owns %d MB of weights on %s", os.getpid(), first.size_bytes // 1_000_000, where)
    answers.put(Owns())
    while True:
        slot = wanted.get().slot
        loan = loans[slot % len(loans)]
        answers.put(Lent(slot, bytes(ForkingPickler.dumps(loan))))
