"""The process that engines are forked from, seen from the server.

It loads torch and the model once (`preload.py`, `template.py`); an engine is a fork of it, ready in milliseconds, whose
pages are shared until it writes to them. Nothing that breaks across a fork, threads or CUDA, is started in it.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
from typing import Any

from config.sections import ModelConfig

CONTEXT = multiprocessing.get_context("forkserver")
MODEL_VARIABLE = "STT_ENGINE_MODEL"  # the template's only way to learn what to load: it is imported, not called
SERVER_VARIABLE = "STT_SERVER_PID"

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A thread that waits for work sleeps: a spinning one would take the core of another engine. (GNU OpenMP's manual, 4)
# OpenBLAS, which numpy brings, would keep memory for threads that nothing here uses.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}


def start(model: ModelConfig) -> None:
    """Start it, deaf to Ctrl-C; it loads the model before it forks the first engine. Main thread only."""
    # Whatever the working directory, PYTHONPATH tells it where its preload is; no argument does.
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if _PROJECT not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([_PROJECT] + [path for path in paths if path])
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ[SERVER_VARIABLE] = str(os.getpid())
    os.environ[MODEL_VARIABLE] = model.model_dump_json()
    CONTEXT.set_forkserver_preload(["forkserver.tether", "forkserver.preload"])
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, previous)


def stop() -> None:
    """End it, also while it loads; engines that it has forked go on."""
    server: Any = multiprocessing.forkserver._forkserver
    with contextlib.suppress(ProcessLookupError):
        if server._forkserver_pid is not None:
            os.kill(server._forkserver_pid, signal.SIGKILL)
    server._stop()
