"""What engines are forked from dies, freezes or cannot load: sessions go on, and every engine can still be ended."""

import os
import shutil
import signal
from pathlib import Path
from typing import Iterator

import psutil
import pytest

from recognizer.weights import cache_folder
from tests.harness.engines import (
    assert_serves,
    engine_pids,
    fork_server_pid,
    frozen,
    kill,
    relatives,
    statuses,
    wait_until,
    wait_until_all_sleep,
)
from tests.harness.server import ServerProcess
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results

HANG_TIMEOUT_S = 6


def other_than(server: ServerProcess, pid: int) -> bool:
    """Whether there is a fork server, and another one."""
    return fork_server_pid(server) not in (None, pid)


def kill_fork_server(server: ServerProcess) -> int:
    pid = fork_server_pid(server)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: fork_server_pid(server) is None)
    return pid


@pytest.fixture(scope="module")
def pair() -> Iterator[ServerProcess]:
    settings = {"model": {"language": "en", "channel": 2, "hang_timeout": HANG_TIMEOUT_S}}
    with ServerProcess(settings) as server:
        yield server


def mix(server: ServerProcess) -> int:
    """Leave engine 0 to a fork server that is gone, and engine 1 to the one that came after it; engine 0's id."""
    wait_until_all_sleep(server)
    before = kill_fork_server(server)
    first, second = engine_pids(server)
    kill(second)
    wait_until(lambda: other_than(server, before))
    wait_until_all_sleep(server)
    assert first in engine_pids(server)
    return first


def test_an_engine_of_a_fork_server_that_is_gone_is_replaced_when_it_freezes_and_when_it_dies(
    pair: ServerProcess, phrase: bytes
) -> None:
    oldest = mix(pair)
    with frozen(oldest), Wire(pair.port) as wire:
        wire.start()  # engine 0 is the first to be given
        wire.send(audio_packets(phrase))
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    pair.wait_for_line(f"engine 0: it gave no answer for {HANG_TIMEOUT_S} s")
    wait_until_all_sleep(pair)
    assert oldest not in engine_pids(pair)
    kill(engine_pids(pair)[0])
    wait_until_all_sleep(pair)
    assert_serves(pair, phrase)


def test_engines_hold_no_socket_of_the_server(pair: ServerProcess) -> None:
    assert psutil.Process(pair.process.pid).net_connections("tcp")
    for pid in engine_pids(pair):
        assert psutil.Process(pid).net_connections("tcp") == []


def test_a_session_on_an_engine_of_a_fork_server_that_is_gone_may_finish_while_the_server_stops(phrase: bytes) -> None:
    """And the stop ends them all, also while another engine waits to be forked from a frozen one."""
    with ServerProcess({"model": {"language": "en", "channel": 2}}) as server:
        mix(server)
        fork_server = fork_server_pid(server)
        assert fork_server is not None
        with frozen(fork_server), Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(phrase))
            os.kill(engine_pids(server)[1], signal.SIGKILL)  # nobody reaps it meanwhile
            wait_until(lambda: statuses(server) == [b"engine 0: running", b"engine 1: starting"])
            family = relatives(server.process.pid)
            server.process.terminate()
            server.wait_for_line("stopping: ")
            wire.send(FINISH)
            packets = wire.read_all()
            assert server.wait() == 0
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []


def test_weights_that_are_away_for_a_moment_stop_no_server_that_serves(tmp_path: Path, phrase: bytes) -> None:
    (published,) = cache_folder().glob("base.*.pt")
    weights, away = tmp_path / "model.pt", tmp_path / "away.pt"
    shutil.copy(published, weights)
    settings = {"model": {"language": "en", "channel": 2, "size": str(weights)}}
    with ServerProcess(settings) as server, Wire(server.port) as wire:
        wire.start()
        wire.send(audio_packets(phrase))
        weights.rename(away)
        before = kill_fork_server(server)
        kill(engine_pids(server)[1])
        line = server.wait_for_line("engine 1: (model.size: .*)").group(1)
        assert str(weights) in line
        assert not any("validation error" in line for line in server.lines)
        away.rename(weights)
        wait_until(lambda: statuses(server) == [b"engine 0: running", b"engine 1: sleeping"])
        assert other_than(server, before)
        assert_serves(server, phrase)
        wire.send(FINISH)
        packets = wire.read_all()
    assert "better" in results(packets)[0].lower()
    assert packets[-1] == END


def test_why_nothing_can_be_forked_is_said(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os, sys\nprint('torch is broken here', file=sys.stderr)\nos._exit(3)\n")
    server = ServerProcess({}, {**os.environ, "PYTHONPATH": str(tmp_path)})
    try:
        assert server.wait() == 1
        (line,) = [line for line in server.lines if "CRITICAL" in line]
        assert "what engines are forked from has ended with status 3" in line
        assert "torch is broken here" in server.lines
        assert not any("Connection refused" in line or "Traceback" in line for line in server.lines)
    finally:
        server.close()
