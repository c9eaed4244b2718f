"""What a server holds, to be compared before and after."""

import contextlib
from typing import NamedTuple

import psutil

from tests.harness.engines import engine_pids, wait_until
from tests.harness.server import ServerProcess


class Footprint(NamedTuple):
    """What a server holds when nobody is there; `memory_mb` of its own process."""

    engines: int
    threads: int
    descriptors: int
    memory_mb: float


def footprint(server: ServerProcess, at_most_threads: int) -> Footprint:
    """Of a server whose engines all sleep, once the last connections are closed."""
    process = psutil.Process(server.process.pid)
    with contextlib.suppress(AssertionError):  # the figures will show it
        wait_until(lambda: not _connected(process) and process.num_threads() <= at_most_threads, 30)
    engines = len(engine_pids(server))
    return Footprint(engines, process.num_threads(), process.num_fds(), process.memory_info().rss / 1e6)


def _connected(process: psutil.Process) -> bool:
    return any(connection.status != psutil.CONN_LISTEN for connection in process.net_connections("tcp"))
