"""Harms a whole fleet: engines, what they are forked from, servers, gateways, the balancer."""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from typing import Callable, Dict, List, Tuple
from typing import Counter as CounterType

import psutil

from tests.chaos.monkey import strike
from tests.harness.balancer import Balancer
from tests.harness.fleet import Fleet

_PAUSE_S = (1.0, 6.0)
_AFTERMATH_S = 5.0  # within which an end may still be that of a death: until checks have seen it
_ENGINES_SHARE = 70  # of the deeds; the others are in the table below


class FleetMonkey:
    """Does harm in a thread of its own; `deeds` counts it. What it ends, it starts again where it was."""

    def __init__(self, fleet: Fleet, balancer: Balancer, hang_timeout_s: float, seed: int) -> None:
        self._fleet = fleet
        self._balancer = balancer
        self._hang_timeout_s = hang_timeout_s
        self._chance = random.Random(seed)
        self._stopping = threading.Event()
        self._deaths: List[Tuple[float, float]] = []  # from when to when somebody was gone
        self._others: Dict[Callable[[], str], int] = {
            self._kill_server: 8,
            self._restart_server: 8,
            self._kill_gateway: 6,
            self._restart_gateway: 5,
            self._kill_balancer: 3,
        }
        self.deeds: CounterType[str] = Counter()
        self.failures: List[str] = []  # what did not come back
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more harm; whatever was ended or frozen is back."""
        self._stopping.set()
        self._thread.join()

    def has_cut(self, start_s: float, end_s: float) -> bool:
        """Whether a server, a gateway or the balancer died in that time (of `time.monotonic`), or just before."""
        return any(first - _AFTERMATH_S < end_s and start_s < last + _AFTERMATH_S for first, last in self._deaths)

    def _run(self) -> None:
        while not self._stopping.wait(self._chance.uniform(*_PAUSE_S)):
            if self._chance.random() * 100 < _ENGINES_SHARE:
                server = self._chance.choice(self._fleet.servers)
                with contextlib.suppress(psutil.Error, ProcessLookupError):  # it has just died
                    self.deeds[strike(server, self._chance, self._hang_timeout_s, self._stopping)] += 1
                continue
            deed = self._chance.choices(list(self._others), list(self._others.values()))[0]
            started_s = time.monotonic()
            self._deaths.append((started_s, float("inf")))
            try:
                self.deeds[deed()] += 1
            except RuntimeError as error:
                self.failures.append(str(error))
            self._deaths[-1] = (started_s, time.monotonic())

    def _kill_server(self) -> str:
        number = self._chance.randrange(len(self._fleet.servers))
        server = self._fleet.servers[number]
        os.kill(server.process.pid, signal.SIGKILL)
        server.wait()
        self._fleet.start_server(number)
        return "kill a server"

    def _restart_server(self) -> str:
        number = self._chance.randrange(len(self._fleet.servers))
        self._told_to_stop(self._fleet.servers[number].stop(), "server")
        self._fleet.start_server(number)
        return "restart a server"

    def _kill_gateway(self) -> str:
        number = self._chance.randrange(len(self._fleet.gateways))
        gateway = self._fleet.gateways[number]
        os.kill(gateway.process.pid, signal.SIGKILL)
        gateway.wait()
        self._fleet.start_gateway(number)
        return "kill a gateway"

    def _restart_gateway(self) -> str:
        number = self._chance.randrange(len(self._fleet.gateways))
        self._told_to_stop(self._fleet.gateways[number].stop(), "gateway")
        self._fleet.start_gateway(number)
        return "restart a gateway"

    def _kill_balancer(self) -> str:
        self._balancer.kill()
        self._balancer.start_again()
        return "kill the balancer"

    def _told_to_stop(self, status: int, what: str) -> None:
        if status:
            self.failures.append(f"a {what} that was told to stop ended with status {status}")
