"""What an engine is forked from: importing this module in the fork server loads the model that `start` announced.

On CUDA nothing is loaded here, as a device cannot be shared across a fork: each engine brings the model to it itself.
"""

import gc
import json
import logging
import mmap
import multiprocessing
import os
from typing import List, NamedTuple, Optional

from config.sections import ModelConfig
from forkserver import heap
from forkserver.start import MODEL_VARIABLE
from recognizer import RecognizerError
from recognizer.memory import is_out_of_memory
from recognizer.recognizer import Recognizer, RecognizerSettings, resolve_device

# Also for an engine whose fork server could not import this, for want of memory say: it works, and shares nothing.
IS_SHARED = multiprocessing.current_process().name == "MainProcess"


class _Prepared(NamedTuple):
    """A model that is loaded, or why it is not."""

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


def take_recognizer(model: ModelConfig) -> Recognizer:
    """The recogniser that this process was forked with, or a new one; raises RecognizerError when there is none."""
    if _prepared.failure:
        raise RecognizerError(_prepared.failure)
    return _prepared.recognizer or _load(_settings(model))


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


def _settings(model: ModelConfig) -> RecognizerSettings:
    return RecognizerSettings(**model.model_dump(include={"size", "device", "beam_size", "compute", "window"}))


def _load(settings: RecognizerSettings) -> Recognizer:
    try:
        recognizer = Recognizer(settings, threads=1)
        recognizer.warm_up()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise RecognizerError(
            f"model.size: there is no memory for {settings.size}, on this machine or within this process's limits; "
            f"take a smaller model.size or fewer engines (model.channel), or give it more memory"
        ) from error
    return recognizer


def _prepare(announced: Optional[str]) -> _Prepared:
    if announced is None:
        return _Prepared()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # looks for CUDA without starting it
    root = logging.getLogger()
    root.addHandler(_keeper)
    root.setLevel(logging.DEBUG)
    try:
        # Checked by the server; what a path leads to may have gone since, and the recogniser says that better.
        settings = _settings(ModelConfig.model_construct(**json.loads(announced)))
        if resolve_device(settings.device).type != "cpu":
            return _Prepared()
        heap.prepare_to_load()
        recognizer = _load(settings)
    except RecognizerError as error:
        return _Prepared(failure=str(error))
    except Exception as error:
        logging.getLogger(__name__).exception("the model cannot be loaded")
        return _Prepared(failure=f"the model cannot be loaded: {type(error).__name__}: {error}")
    finally:
        root.removeHandler(_keeper)
    gc.collect()
    gc.freeze()  # a collection in an engine would write to every object's page
    heap.give_back()
    return _Prepared(recognizer)


_told = mmap.mmap(-1, 1)  # shared with all that are forked
_keeper = _Keeper()
_prepared = _prepare(os.environ.get(MODEL_VARIABLE))
