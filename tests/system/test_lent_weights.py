"""One process owns the weights and lends them to the engines; here in memory of the host, on cards by CUDA IPC."""

import contextlib
import os
import re
import signal
from pathlib import Path
from typing import Iterator, List

import psutil
import pytest

from tcp_client import StreamingClient
from tests.harness.engines import (
    assert_serves,
    engine_pids,
    fork_server_pid,
    frozen,
    kill,
    relatives,
    wait_until,
    wait_until_all_sleep,
)
from tests.harness.server import PROJECT, ServerProcess
from tests.harness.wire import Wire, audio_packets, error_code

ENGINES = 3
OWNS = r"process (\d+) owns (\d+) MB of weights on cpu"


class LendingServer(ServerProcess):
    program = (str(PROJECT / "tests" / "harness" / "lending_server.py"),)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LendingServer]:
    settings = {"model": {"language": "en", "channel": ENGINES, "compute": "float32"}}
    with LendingServer(settings, {**os.environ, "TMPDIR": str(tmp_path)}) as process:
        yield process


def owners(server: ServerProcess) -> List[int]:
    """Each process that has owned the weights."""
    return [int(match[1]) for match in (re.search(OWNS, line) for line in server.lines) if match]


def engines(server: ServerProcess) -> List[int]:
    return [pid for pid in engine_pids(server) if pid not in owners(server)]


def shared_bytes(pid: int) -> int:
    """Of the process, in memory that is shared with others on purpose."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    match = re.search(r"^Pss_Shmem: +(\d+) kB", rollup, re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])


def test_engines_compute_with_one_copy_that_outlives_them(server: LendingServer, phrase: bytes) -> None:
    (owner,) = owners(server)
    assert len(engines(server)) == ENGINES
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(StreamingClient("127.0.0.1", server.port)) for _ in range(ENGINES)]
        for client in clients:
            client.send(phrase)
            client.finish()
        texts = [" ".join(result.text for result in client.results()) for client in clients]
    assert "better" in texts[0].lower()
    assert texts == [texts[0]] * ENGINES
    whole = 1_000_000 * int(server.wait_for_line(OWNS).group(2))
    parts = [shared_bytes(pid) for pid in [owner, *engines(server)]]
    assert sum(parts) < 1.1 * whole  # each page counts for its share of those that have it
    assert min(parts[1:]) > 0.1 * whole
    kill(engines(server)[0])
    wait_until(lambda: len(engines(server)) == ENGINES)
    wait_until_all_sleep(server)
    assert_serves(server, phrase)
    assert owners(server) == [owner]


def test_the_death_of_the_owner_starts_every_engine_again_and_is_one_line_of_the_log(
    server: LendingServer, phrase: bytes
) -> None:
    (owner,) = owners(server)
    before = engines(server)
    with Wire(server.port) as wire:
        wire.start("victim")
        wire.send(audio_packets(phrase))
        os.kill(owner, signal.SIGKILL)
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    wait_until(lambda: len(owners(server)) == 2)
    wait_until_all_sleep(server)
    assert not set(before) & set(engines(server))
    assert_serves(server, phrase)
    (line,) = [line for line in server.lines if "ERROR" in line]
    assert "what lends the weights died (it was killed" in line
    assert "every engine is started again" in line


@pytest.mark.thorough
@pytest.mark.timeout(400)  # a start hangs after four times the longest one
def test_an_owner_that_lends_no_more_is_replaced_when_an_engine_needs_it(phrase: bytes) -> None:
    with LendingServer({"model": {"language": "en", "compute": "float32", "hang_timeout": 4}}) as server:
        (owner,) = owners(server)
        with frozen(owner):
            kill(engines(server)[0])
            wait_until(lambda: len(owners(server)) == 2, timeout_s=300)
        wait_until_all_sleep(server)
        assert not psutil.pid_exists(owner)
        assert_serves(server, phrase)


@pytest.mark.thorough
def test_nothing_is_left_when_the_server_stops_or_is_killed(tmp_path: Path, phrase: bytes) -> None:
    for end in (signal.SIGTERM, signal.SIGKILL):
        with LendingServer({"model": {"language": "en", "compute": "float32"}}, {**os.environ}) as server:
            assert owners(server)
            family = relatives(server.process.pid)
            server.process.send_signal(end)
            _, alive = psutil.wait_procs(family, timeout=30)
            assert alive == []


def test_weights_that_cannot_be_lent_end_the_start_with_their_own_line(tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    path.write_bytes(b"hello")
    server = LendingServer({"model": {"size": str(path), "channel": 2}})
    try:
        assert server.wait() == 1
        (line,) = [line for line in server.lines if "CRITICAL" in line]
        assert f"model.size: cannot load {path}: it " in line
    finally:
        server.close()


def test_engines_that_are_forked_with_the_model_need_no_owner(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en", "device": "auto"}}) as server:
        assert owners(server) == []
        assert len(engines(server)) == 1


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_start_on_the_processor_loses_no_process(device: str) -> None:
    """Defends: the owner's thread, which starts what engines are forked from, stays when it owns nothing."""
    with ServerProcess({"model": {"device": device}}) as server:
        assert not [line for line in server.lines if " ERROR " in line], server.lines
        assert fork_server_pid(server) is not None


def test_who_died_is_forked_anew_and_what_engines_are_forked_from_stays(server: LendingServer, phrase: bytes) -> None:
    came_from = fork_server_pid(server)
    kill(owners(server)[-1])
    wait_until(lambda: len(owners(server)) == 2)
    wait_until_all_sleep(server)
    assert fork_server_pid(server) == came_from
    assert_serves(server, phrase)
