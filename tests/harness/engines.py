"""The engines of a server, seen from outside."""

import contextlib
import signal
import time
from typing import Callable, Iterator, List, Optional

import psutil

from forkserver.start import SERVER_VARIABLE
from protocol.packets import MAGIC
from tests.harness.server import ServerProcess
from tests.harness.wire import END, STATUS, Wire, results, session_bytes


def wait_until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Ask until it holds, with a pause between: two cores are few."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, condition
        time.sleep(0.02)


@contextlib.contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """These processes stand still meanwhile; whoever is left of them goes on afterwards, whatever happens."""
    processes = [psutil.Process(pid) for pid in pids]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)


def kill(pid: int) -> None:
    """End a process, and wait until it is gone."""
    process = psutil.Process(pid)
    process.kill()
    process.wait(60)


def fork_server_pid(server: ServerProcess) -> Optional[int]:
    """What the next engine will be forked from; None while there is none."""
    for process in relatives(server.process.pid):
        with contextlib.suppress(psutil.Error):
            if process.ppid() == server.process.pid and "multiprocessing.forkserver" in " ".join(process.cmdline()):
                return process.pid
    return None


def engine_pids(server: ServerProcess) -> List[int]:
    """The engines' processes, oldest first: relatives of the server, but not its children (fork server, helper).

    Told by a variable that they inherit, as they outlive what they were forked from.
    """
    engines = [process for process in relatives(server.process.pid) if process.ppid() != server.process.pid]
    return [engine.pid for engine in sorted(engines, key=lambda engine: engine.create_time())]


def relatives(server_pid: int) -> List[psutil.Process]:
    """Every process that the server brought forth, directly or not, also after its death."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(SERVER_VARIABLE) == str(server_pid) and process.pid != server_pid:
                found.append(process)
        except psutil.Error:  # it has just ended, or is none of ours
            continue
    return found


def statuses(server: ServerProcess) -> List[bytes]:
    with Wire(server.port) as wire:
        wire.send(MAGIC + STATUS)
        *packets, end = wire.read_all()
    assert end == END
    return [packet.data for packet in packets]


def assert_serves(server: ServerProcess, phrase: bytes) -> None:
    """A session with the phrase "Fail again. Fail better." ends well."""
    with Wire(server.port) as wire:
        wire.send(session_bytes(phrase))
        packets = wire.read_all()
    assert "better" in results(packets)[0].lower()
    assert packets[-1] == END


def wait_until_all_sleep(server: ServerProcess) -> None:
    """Until every engine is free."""
    wait_until(lambda: all(status.endswith(b"sleeping") for status in statuses(server)))
