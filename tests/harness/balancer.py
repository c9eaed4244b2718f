"""HAProxy as deploy/haproxy.cfg sets it up, on free ports of 127.0.0.1."""

import csv
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, List, Optional, Sequence, Type

import pytest

from tests.harness.server import PROJECT

CONFIGURATION = PROJECT / "deploy" / "haproxy.cfg"
_WAIT_S = 20.0
_LOOK_S = 0.05
_FREE_PORT = ("127.0.0.1", 0)
_NOBODY = 1


def find_haproxy() -> str:
    """The program; the test is skipped where it is not installed."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("HAProxy is not installed; apt-get install haproxy brings it")
    return program


class Balancer:
    """A HAProxy before servers and gateways; entering the context waits until it uses all of them.

    Args:
        servers: ports of the speech-to-text servers, three at most.
        gateways: ports of the gateways, two at most.
        engines: of each server.
        agents: ports of the servers' agents.
        queue: how many clients may wait for an engine.

    Attributes:
        tcp: the port of the protocol.
        http: the port of the gateways' doors.
    """

    def __init__(
        self,
        servers: Sequence[int],
        gateways: Sequence[int] = (),
        engines: int = 1,
        agents: Sequence[int] = (),
        queue: int = 64,
    ) -> None:
        self._servers, self._gateways = len(servers), len(gateways)
        self._temporary = tempfile.TemporaryDirectory(prefix="stt-balancer-")
        self._socket = Path(self._temporary.name) / "stats.sock"
        self._listeners = [socket.create_server(_FREE_PORT) for _ in range(3)]
        self.tcp, self.http, self.figures = (listener.getsockname()[1] for listener in self._listeners)
        names = ("STT_TCP", "STT_HTTP", "STT_FIGURES")
        environment = {name: f"fd@{listener.fileno()}" for name, listener in zip(names, self._listeners)}
        environment.update(_ports("STT_SERVER_", 3, servers, "127.0.0.1:"))
        environment.update(_ports("STT_GATEWAY_", 2, gateways, "127.0.0.1:"))
        environment.update(_ports("STT_AGENT_", 3, agents))
        environment.update(STT_STATS_SOCKET=str(self._socket), STT_CHANNELS=str(engines), STT_QUEUE=str(queue))
        self._environment = {**os.environ, **environment}
        self._lines: List[str] = []
        self._start()

    def __enter__(self) -> "Balancer":
        try:
            self._wait_until_all_are_used()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    @property
    def servers(self) -> List[str]:
        """The names of those that there are."""
        return [f"s{number}" for number in range(1, self._servers + 1)]

    def tell(self, command: str) -> str:
        """What it answers to a command on its socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self._socket))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(65536), b"")).decode()

    def figures_of(self, backend: str) -> Dict[str, Dict[str, str]]:
        """By server, and `BACKEND` for all together: HAProxy's own figures (`show stat`)."""
        rows = csv.DictReader(self.tell("show stat").lstrip("# ").splitlines())
        return {row["svname"]: row for row in rows if row["pxname"] == backend}

    def sessions(self) -> List[int]:
        """How many each server has at the moment."""
        figures = self.figures_of("servers")
        return [int(figures[name]["scur"]) for name in self.servers]

    def queued(self) -> int:
        """How many wait for an engine."""
        figures = self.figures_of("servers")
        return sum(int(figures[name]["qcur"]) for name in ["BACKEND", *self.servers])

    def wait_for_state(self, backend: str, name: str, state: str) -> None:
        """Until HAProxy says so of that server: `UP`, `DOWN`, `DRAIN`."""
        self.wait_until(lambda: self.figures_of(backend)[name]["status"].split()[0] == state)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Look until it holds; raises RuntimeError when it takes too long or HAProxy ends instead."""
        deadline_s = time.monotonic() + _WAIT_S
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError("HAProxy does not get there:\n" + "\n".join(self._lines))
            time.sleep(_LOOK_S)

    def kill(self) -> None:
        """End it at once; who connects meanwhile waits for the next one."""
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def start_again(self) -> None:
        """After `kill`, on the same ports; does not wait for what it serves."""
        self._socket.unlink()
        self._start()

    def close(self) -> None:
        """End it for good."""
        self.kill()
        for listener in self._listeners:
            listener.close()
        self._temporary.cleanup()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [find_haproxy(), "-db", "-f", str(CONFIGURATION)],
            env=self._environment,
            pass_fds=[listener.fileno() for listener in self._listeners],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _wait_until_all_are_used(self) -> None:
        self.wait_until(self._socket.exists)
        for name in self.servers:
            self.wait_for_state("servers", name, "UP")
        for number in range(1, self._gateways + 1):
            self.wait_for_state("gateways", f"g{number}", "UP")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout:
            for line in self._process.stdout:
                self._lines.append(line.rstrip("\n"))


def _ports(prefix: str, places: int, ports: Sequence[int], host: str = "") -> Dict[str, str]:
    """Variables with these ports; where there are fewer than places, one on which nobody listens."""
    given = [*ports, *[_NOBODY] * (places - len(ports))]
    return {f"{prefix}{number}": f"{host}{port}" for number, port in enumerate(given, 1)}
