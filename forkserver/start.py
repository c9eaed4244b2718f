"""The process that engines are forked from, seen from the server.

It loads torch and the model once (`preload.py`, `template.py`); an engine is a fork of it, ready in milliseconds, whose
pages are shared until it writes to them. Nothing that breaks across a fork, threads or CUDA, is started in it.
"""

import contextlib
import errno
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import re
import signal
import sys
import threading
import time
from typing import Any

from config.sections import ModelConfig

CONTEXT = multiprocessing.get_context("forkserver")
MODEL_VARIABLE = "STT_ENGINE_MODEL"  # the template's only way to learn what to load: it is imported, not called
SERVER_VARIABLE = "STT_SERVER_PID"

_PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# A thread that waits for work sleeps: a spinning one would take the core of another engine. (GNU OpenMP's manual, 4)
# OpenBLAS, which numpy brings, would keep memory for threads that nothing here uses.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
# What torch takes settings of its allocator from. Memory whose segments expand is not to be had by CUDA IPC.
_ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
DEAF_TO = (signal.SIGINT, signal.SIGTERM)  # the server alone decides when its processes end
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
_LOOK_AGAIN_S = 0.05
_LOOKS = 20


class ForkFailed(Exception):
    """No engine could be forked; the text says why.

    Attributes:
        short_of_room: the machine had no process, descriptor or memory left.
    """

    def __init__(self, reason: str, short_of_room: bool = False) -> None:
        super().__init__(f"its process cannot be started ({reason})")
        self.short_of_room = short_of_room


class ForkServer:
    """multiprocessing's fork server, of which a process has one; for several threads. Make it in the main thread.

    Args:
        model: that it loads before it forks the first engine.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as a shell can have it, nobody could be waited for
        # Typed Any for what multiprocessing shows to nobody: its process's id, and how to let go of it.
        self._server: Any = multiprocessing.forkserver._forkserver
        # Whatever the working directory, PYTHONPATH tells it where its preload is; no argument does.
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if _PROJECT not in paths:
            os.environ["PYTHONPATH"] = os.pathsep.join([_PROJECT] + [path for path in paths if path])
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for name in _ALLOCATOR_VARIABLES if model.share == "auto" else ():
            if name in os.environ:
                os.environ[name] = lendable(os.environ[name])
        os.environ[SERVER_VARIABLE] = str(os.getpid())
        os.environ[MODEL_VARIABLE] = model.model_dump_json()
        CONTEXT.set_forkserver_preload(["forkserver.tether", "forkserver.preload"])
        _hide_main_module()
        multiprocessing.resource_tracker.ensure_running()  # its own start would let signals through later

    def fork(self, process: Any) -> int:
        """Start a process of CONTEXT's, and the fork server where none runs: then this takes as long as its model.

        Returns:
            The fork server's process id.

        Raises:
            ForkFailed: also after `stop`.
        """
        with self._lock:
            # What a terminal or a service manager sends to every process waits until the tether ignores it.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
            try:
                if not self._stopped:
                    multiprocessing.forkserver.ensure_running()
                if self._stopped:  # by now, too: nobody would end it again
                    raise ForkFailed("the server stops")
                process.start()
            except (EOFError, ConnectionError) as error:
                raise ForkFailed(self._ending()) from error
            except OSError as error:
                raise ForkFailed(error.strerror or str(error), error.errno in _NO_ROOM) from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            pid: int = self._server._forkserver_pid
            return pid

    def replace(self, pid: int) -> None:
        """End it, if it is still the process `pid`; the next engine gets a new one."""
        with self._lock:
            if self._server._forkserver_pid == pid:
                self._end()

    def kill(self) -> None:
        """End its process without waiting for that: who waits to be forked from it learns that it is gone."""
        pid = self._server._forkserver_pid  # once: another thread may be replacing it
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it for good, also while it loads; engines that it has forked go on."""
        self._stopped = True
        while True:
            self.kill()
            if self._lock.acquire(timeout=_LOOK_AGAIN_S):  # else multiprocessing has just brought it back
                break
        try:
            self._end()
        finally:
            self._lock.release()

    def _end(self) -> None:
        self.kill()
        self._server._stop()

    def _ending(self) -> str:
        """How its process has ended."""
        pid, what = self._server._forkserver_pid, "what engines are forked from"
        result = None
        for _ in range(_LOOKS):
            result = pid and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if result:
                break
            time.sleep(_LOOK_AGAIN_S)
        if not result:
            return f"{what} has let go of it"
        if result.si_code == os.CLD_EXITED:
            return f"{what} has ended with status {result.si_status}; if it said why, that stands above"
        return f"{what} was ended by signal {result.si_status}"


def lendable(allocator_settings: str) -> str:
    """Settings of torch's allocator for memory that other processes can map: without segments that expand."""
    return re.sub(r"(expandable_segments\s*:\s*)\w+", r"\1False", allocator_settings)


def _hide_main_module() -> None:
    """Each child of multiprocessing's would run the server's main module once more (`multiprocessing.spawn`)."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    vars(main).pop("__file__", None)
