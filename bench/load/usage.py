"""What the processes of a server, and the load generator itself, use."""

import contextlib
import statistics
import threading
import time
from typing import List, NamedTuple, Optional, Tuple

import psutil

from bench.load.plan import Window

_MB = 1e6


class Usage(NamedTuple):
    """What was used within the window; None where that was not measured.

    Attributes:
        generator_cores, server_cores: processor time over the time that passed.
        server_pss_mb: of all processes of the server; what they share is counted once.
        engine_pss_mb: of an engine (median), with its share of what it shares.
        engine_private_mb: of an engine (median), what it alone has: one engine more takes so much more.
    """

    generator_cores: Optional[float] = None
    server_cores: Optional[float] = None
    server_pss_mb: Optional[float] = None
    engine_pss_mb: Optional[float] = None
    engine_private_mb: Optional[float] = None


class UsageWatch(threading.Thread):
    """Measures within the window while its context is held; `pid` is the server's, None for one of another machine.

    Attributes:
        usage: what was measured; nothing where the context was left early, or the server had ended.
    """

    def __init__(self, pid: Optional[int], window: Window) -> None:
        super().__init__(name="usage", daemon=True)
        self.usage = Usage()
        self._server = None if pid is None else psutil.Process(pid)
        self._window = window
        self._left = threading.Event()

    def __enter__(self) -> "UsageWatch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.join()

    def run(self) -> None:
        """Measure."""
        if self._wait_until(self._window.start_s):
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            started_s, before = time.monotonic(), self._processor_s()
            if self._wait_until(self._window.end_s):
                return
            passed_s, after = time.monotonic() - started_s, self._processor_s()
            generator_cores, server_cores = ((end - start) / passed_s for start, end in zip(before, after))
            if self._server is None:
                self.usage = Usage(generator_cores)
            else:
                self.usage = Usage(generator_cores, server_cores, *memory_mb(self._server))

    def _wait_until(self, time_s: float) -> bool:
        """Whether it was left before."""
        return self._left.wait(max(0.0, time_s - time.monotonic()))

    def _processor_s(self) -> Tuple[float, float]:
        """Of this process and of the server's processes, with those that have ended."""
        server_s = 0.0
        for process in [] if self._server is None else [self._server, *self._server.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                server_s += sum(process.cpu_times()[:4])  # user, system, and both of children that have ended
        return time.process_time(), server_s


def memory_mb(server: psutil.Process) -> Tuple[float, Optional[float], Optional[float]]:
    """Of all processes of a server; of an engine, and what it alone has: as of Usage."""
    everyone = {process.pid: process for process in (server, *server.children(recursive=True))}
    direct = {process.pid for process in server.children()}
    all_mb = 0.0
    engines: List[Tuple[float, float]] = []
    for pid, process in everyone.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = process.memory_full_info()
            all_mb += memory.pss / _MB
            # The server's own children are helpers; engines are forked from one of them.
            if pid != server.pid and pid not in direct:
                engines.append((memory.pss / _MB, memory.uss / _MB))
    if not engines:
        return all_mb, None, None
    pss_mb, private_mb = zip(*engines)
    return all_mb, statistics.median(pss_mb), statistics.median(private_mb)
