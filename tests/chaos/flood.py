"""Hostile connections, as many as the machine can make, and what is left of them in the server."""

import contextlib
import random
import socket
import threading
import time
from typing import List, NamedTuple

from tests.chaos.footprint import Footprint, footprint
from tests.chaos.rubbish import rubbish
from tests.harness.engines import wait_until_all_sleep
from tests.harness.server import ServerProcess, Settings
from tests.harness.wire import Wire, results, session_bytes

THREADS = 4
SETTINGS: Settings = {
    "model": {"language": "en"},
    "network": {"socket_timeout": 5, "max_connections": 64, "engine_wait": 30},
}


class FloodReport(NamedTuple):
    """What happened."""

    connections: int
    seconds: float
    before: Footprint
    after: Footprint
    log_lines: int
    faults: int  # tracebacks in the log
    still_right: bool  # whether a session afterwards is as before

    def __str__(self) -> str:
        return (
            f"{self.connections} hostile connections in {self.seconds:.0f} s\nbefore: {self.before}\n"
            f"after:  {self.after}\n{self.log_lines} lines in the log, {self.faults} faults, "
            f"a session afterwards is {'right' if self.still_right else 'WRONG'}"
        )


def flood(connections: int, seed: int, speech: bytes) -> FloodReport:
    """So many hostile connections against one server."""
    with ServerProcess(SETTINGS) as server:
        expected = _session(server, speech)
        wait_until_all_sleep(server)
        before = footprint(server, at_most_threads=5)  # main, acceptor, clock, log, keeper
        started_s = time.monotonic()
        threads = [
            threading.Thread(target=_bother, args=(server.port, connections // THREADS, f"{seed}-{number}", speech))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started_s
        after = footprint(server, at_most_threads=before.threads)
        wait_until_all_sleep(server)
        still_right = _session(server, speech) == expected != []
        faults = sum("Traceback" in line or "fails" in line for line in server.lines)
        return FloodReport(connections, seconds, before, after, len(server.lines), faults, still_right)


def _session(server: ServerProcess, pcm: bytes) -> List[str]:
    with Wire(server.port) as wire:
        wire.send(session_bytes(pcm))
        return results(wire.read_all())


def _bother(port: int, connections: int, seed: str, pcm: bytes) -> None:
    chance = random.Random(seed)
    for _ in range(connections):
        with contextlib.suppress(OSError), Wire(port) as wire:  # turned away, or thrown out
            for piece in rubbish(chance, pcm):
                wire.socket.setblocking(False)  # whatever is not taken at once is not sent
                with contextlib.suppress(BlockingIOError):
                    wire.socket.send(piece)
            if chance.random() < 0.01:
                wire.socket.settimeout(1)
                with contextlib.suppress(socket.timeout):
                    wire.socket.recv(65536)
            if chance.random() < 0.5:
                wire.reset()
