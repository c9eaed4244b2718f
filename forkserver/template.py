"""What an engine is forked from: importing this module in the fork server loads the model that `start` announced.

For a card nothing is loaded here, as CUDA cannot be shared across a fork. There an engine computes with a loan
(`weights.py`), or loads the model itself, which only one does at a time.
"""

import contextlib
import fcntl
import gc
import json
import logging
import mmap
import multiprocessing
import os
import pickle
from dataclasses import replace
from typing import Iterator, List, NamedTuple, Optional, Tuple

import torch

from boundary.settings import EngineSlot
from config.sections import ModelConfig
from forkserver import heap
from forkserver.start import MODEL_VARIABLE
from recognizer import RecognizerError
from recognizer.devices import count_cards_aside, find_devices
from recognizer.loading import borrow
from recognizer.memory import is_out_of_memory
from recognizer.recognizer import Recognizer
from recognizer.settings import RecognizerSettings

# Also for an engine whose fork server could not import this, for want of memory say: it works, and shares nothing.
IS_SHARED = multiprocessing.current_process().name == "MainProcess"


class _Prepared(NamedTuple):
    """Where engines compute, and a model that is loaded or why it is not."""

    devices: Tuple[torch.device, ...] = ()
    recognizer: Optional[Recognizer] = None
    failure: str = ""


class _Keeper(logging.Handler):
    """Keeps records: nobody listens to the fork server, so an engine tells them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: List[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.records.append(record)


def devices() -> Tuple[torch.device, ...]:
    """What the engines are spread over; none where that cannot be told."""
    return _prepared.devices


def take_recognizer(model: ModelConfig, slot: EngineSlot) -> Recognizer:
    """An engine's recogniser: of what it was lent or forked with, or a new one.

    Raises:
        RecognizerError: there is none.
    """
    if _prepared.failure:
        raise RecognizerError(_prepared.failure)
    settings = settings_of(model)
    if slot.loan is not None:
        return _made(settings, slot.loan)
    if _prepared.recognizer is not None:
        return _prepared.recognizer
    if _prepared.devices:
        settings = replace(settings, device=str(_prepared.devices[slot.engine % len(_prepared.devices)]))
    with _alone():
        return _made(settings)


def retell() -> None:
    """Log what was logged while the model was loaded, in the first engine that is forked with it."""
    if _told[0]:
        return
    _told[0] = 1
    for record in _keeper.records:
        record.processName = multiprocessing.current_process().name
        source = logging.getLogger(record.name)
        if source.isEnabledFor(record.levelno):
            source.handle(record)


def settings_of(model: ModelConfig) -> RecognizerSettings:
    """The recogniser's part of the configuration."""
    return RecognizerSettings(
        **model.model_dump(include={"size", "device", "beam_size", "compute", "window", "compiled"})
    )


@contextlib.contextmanager
def explaining(size: str) -> Iterator[None]:
    """A lack of memory becomes a RecognizerError that says what to do."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RecognizerError(
            f"model.size: there is no memory for {size}, on this machine or card, or within this process's limits; "
            f"take a smaller model.size or fewer engines (model.channel), or give it more memory"
        ) from error


def _made(settings: RecognizerSettings, loan: Optional[bytes] = None) -> Recognizer:
    with explaining(settings.size):
        loaded = None if loan is None else borrow(pickle.loads(loan), settings.beam_size)
        recognizer = Recognizer(settings, threads=1, loaded=loaded)
        recognizer.warm_up()
        return recognizer


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """What is forked from one process does this in turn, however an earlier one has ended."""
    fcntl.lockf(_turn, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(_turn, fcntl.LOCK_UN)


def _prepare(announced: Optional[str]) -> _Prepared:
    if announced is None:
        return _Prepared()
    root = logging.getLogger()
    root.addHandler(_keeper)
    root.setLevel(logging.DEBUG)
    prepared = _loaded(announced)
    root.removeHandler(_keeper)
    gc.collect()
    gc.freeze()  # a collection in an engine would write to every object's page
    heap.give_back()  # also after a failure, for the engine that is to tell of it
    return prepared


def _loaded(announced: str) -> _Prepared:
    try:
        # Checked by the server; what a path leads to may have gone since, and the recogniser says that better.
        settings = settings_of(ModelConfig.model_construct(**json.loads(announced)))
        devices = tuple(find_devices(settings.device, count_cards_aside))
        if devices[0].type != "cpu":
            return _Prepared(devices)
        heap.prepare_to_load()
        return _Prepared(devices, _made(settings))
    except RecognizerError as error:
        return _Prepared(failure=str(error))
    except Exception as error:
        logging.getLogger(__name__).exception("the model cannot be loaded")
        return _Prepared(failure=f"the model cannot be loaded: {type(error).__name__}: {error}")


_told = mmap.mmap(-1, 1)  # shared with all that are forked
_turn = os.memfd_create("turn")  # POSIX locks on it are each process's own, and end with it
_keeper = _Keeper()
_prepared = _prepare(os.environ.get(MODEL_VARIABLE))
