"""Kills and freezes engines, and now and then what they are forked from."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from typing import Counter as CounterType

import psutil

from tests.harness.engines import engine_pids, fork_server_pid, frozen
from tests.harness.server import ServerProcess

PAUSE_S = (1.0, 6.0)
FREEZE_S = 1.0  # that an engine survives; a longer one is for the server to end


class Monkey:
    """Does harm in a thread of its own; `deeds` counts it."""

    def __init__(self, server: ServerProcess, hang_timeout_s: float, seed: int) -> None:
        self._server = server
        self._hang_timeout_s = hang_timeout_s
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self.deeds: CounterType[str] = Counter()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more harm; whatever is frozen goes on."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._chance.uniform(*PAUSE_S)):
            with contextlib.suppress(psutil.Error, ProcessLookupError):  # it has just died
                deed = strike(self._server, self._chance, self._hang_timeout_s, self._stopping)
                self.deeds[deed] += 1


def strike(server: ServerProcess, chance: random.Random, hang_timeout_s: float, stopping: threading.Event) -> str:
    """Harm an engine of the server, or all, or what they are forked from; returns what was done.

    A freeze ends early when `stopping` is set. Raises psutil.Error or ProcessLookupError where the victim has died.
    """
    deed: str = chance.choices(
        ["kill", "kill all", "freeze", "freeze for good", "kill the fork server"], [40, 5, 30, 20, 5]
    )[0]
    engines = engine_pids(server)
    if not engines:
        return "nothing"
    victim = chance.choice(engines)
    if deed == "kill":
        os.kill(victim, signal.SIGKILL)
    elif deed == "kill all":
        for pid in engines:
            os.kill(pid, signal.SIGKILL)
    elif deed == "freeze":
        _freeze(victim, FREEZE_S, stopping)
    elif deed == "freeze for good":
        _freeze(victim, 1.5 * hang_timeout_s, stopping)
    elif (fork_server := fork_server_pid(server)) is not None:
        os.kill(fork_server, signal.SIGKILL)
    return deed


def _freeze(pid: int, seconds: float, stopping: threading.Event) -> None:
    with frozen(pid):
        stopping.wait(seconds)
