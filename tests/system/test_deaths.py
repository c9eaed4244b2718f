"""An engine that dies, at whatever point: its client is told, nobody else notices, and it comes back."""

import contextlib
import os
import resource
import signal
import time
from typing import Callable, Iterator, List, Set

import psutil
import pytest

from protocol.packets import Header
from tests.harness.engines import (
    assert_serves,
    engine_pids,
    kill,
    relatives,
    statuses,
    wait_until,
    wait_until_all_sleep,
)
from tests.harness.server import ServerProcess
from tests.harness.wire import FINISH, Wire, audio_packets, error_code

SOME_WORK_S = 0.05  # of processor time, that only a recognition takes


@pytest.fixture(scope="module")
def one() -> Iterator[ServerProcess]:
    with ServerProcess({"model": {"language": "en"}, "network": {"engine_wait": 60}}) as process:
        yield process


def kill_and_wait(server: ServerProcess, pid: int) -> None:
    """Until the server has noticed, and has another: before that it says that the dead one sleeps."""
    kill(pid)
    wait_until(lambda: engine_pids(server) not in ([], [pid]))


# --- at every point of a session


def granted(wire: Wire, engine: psutil.Process, speech: bytes) -> None:
    wire.start("victim")


def receiving(wire: Wire, engine: psutil.Process, speech: bytes) -> None:
    wire.start("victim")
    wire.send(audio_packets(speech[:64000]))


def recognising(wire: Wire, engine: psutil.Process, speech: bytes) -> None:
    wire.start("victim")
    before_s = engine.cpu_times().user
    wire.send(audio_packets(speech))
    wait_until(lambda: engine.cpu_times().user > before_s + SOME_WORK_S)


def sending(wire: Wire, engine: psutil.Process, speech: bytes) -> None:
    wire.start("victim")
    wire.send(audio_packets(speech * 3))
    packet = wire.read()
    assert packet is not None
    assert packet.header is Header.RESULT


def finishing(wire: Wire, engine: psutil.Process, speech: bytes) -> None:
    wire.start("victim")
    before_s = engine.cpu_times().user
    wire.send(audio_packets(speech * 3) + FINISH)
    wait_until(lambda: engine.cpu_times().user > before_s + SOME_WORK_S)


@pytest.mark.parametrize("point", [granted, receiving, recognising, sending, finishing])
def test_death_at_any_point_is_told_and_the_engine_comes_back(
    one: ServerProcess, speech: bytes, phrase: bytes, point: Callable[[Wire, psutil.Process, bytes], None]
) -> None:
    """Defends: the keeper reads the end of the pipe, buries the lease, and forks the next one."""
    wait_until_all_sleep(one)
    (pid,) = engine_pids(one)
    with Wire(one.port) as wire:
        point(wire, psutil.Process(pid), speech)
        kill(pid)
        packets = wire.read_all()
    assert error_code(packets) == "ENGINE_FAILED"
    assert_serves(one, phrase)
    assert engine_pids(one) != [pid]


def test_an_engine_that_is_killed_as_soon_as_it_is_there_is_back_again(one: ServerProcess, phrase: bytes) -> None:
    for _ in range(2):
        wait_until_all_sleep(one)
        (pid,) = engine_pids(one)
        kill_and_wait(one, pid)
    assert_serves(one, phrase)


def test_an_engine_that_keeps_dying_is_shown_as_starting_while_it_is_left_alone(
    one: ServerProcess, phrase: bytes
) -> None:
    """Defends: the back-off. Without it a crash loop would take a core."""
    wait_until_all_sleep(one)
    deaths = 0
    seen: List[bytes] = []
    while deaths < 4:
        for pid in engine_pids(one):
            kill(pid)
            deaths += 1
        seen += statuses(one)
    assert b"engine 0: starting" in seen
    # It has died within seconds four times: 0.5, 1, then 2 s of rest.
    last_s = time.monotonic()
    wait_until_all_sleep(one)
    assert time.monotonic() - last_s > 0.5
    assert_serves(one, phrase)


def test_an_engine_without_memory_fails_its_session_alone(one: ServerProcess, speech: bytes, phrase: bytes) -> None:
    wait_until_all_sleep(one)
    (pid,) = engine_pids(one)
    with Wire(one.port) as wire:
        wire.start("victim")
        size_bytes = psutil.Process(pid).memory_info().vms
        resource.prlimit(pid, resource.RLIMIT_AS, (size_bytes, size_bytes))
        wire.send(audio_packets(speech) + FINISH)
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    assert_serves(one, phrase)


# --- all at once, and before there is one


def test_when_all_engines_die_at_once_every_client_is_told_and_all_come_back(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en", "channel": 3}}) as server:
        wires = [Wire(server.port) for _ in range(3)]
        for number, wire in enumerate(wires):
            wire.start(f"victim {number}")
            wire.send(audio_packets(phrase))
        for pid in engine_pids(server):
            os.kill(pid, signal.SIGKILL)
        for wire in wires:
            assert error_code(wire.read_all()) == "ENGINE_FAILED"
            wire.socket.close()
        wait_until_all_sleep(server)
        assert len(engine_pids(server)) == 3
        assert_serves(server, phrase)


def test_a_death_while_the_model_loads_is_made_good(phrase: bytes) -> None:
    server = ServerProcess({"model": {"language": "en"}})
    try:
        loader: List[psutil.Process] = []

        def is_loading() -> bool:
            loader[:] = [process for process in relatives(server.process.pid) if process.cpu_times().user > 0.5]
            return bool(loader)

        wait_until(is_loading)
        loader[0].kill()
        with server:
            assert_serves(server, phrase)
    finally:
        server.close()


def test_a_server_whose_engines_never_come_up_gives_up_and_says_why() -> None:
    """Defends: five starts in a row that never got ready are enough."""
    server = ServerProcess({})
    try:
        killed: Set[int] = set()
        while server.process.poll() is None:
            for process in relatives(server.process.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.cpu_times().user > SOME_WORK_S and process.pid not in killed:
                        process.kill()
                        killed.add(process.pid)
        assert server.wait() == 1
        assert len(killed) > 1
        (line,) = [line for line in server.lines if "CRITICAL" in line]
        assert "its process" in line
    finally:
        server.close()


def test_a_machine_without_memory_for_the_model_is_named() -> None:
    server = ServerProcess({}, prefix=["prlimit", "--as=1000000000"])
    try:
        assert server.wait() == 1
        (line,) = [line for line in server.lines if "CRITICAL" in line]
        assert "memory" in line
        assert not any("Traceback" in line for line in server.lines)
    finally:
        server.close()
