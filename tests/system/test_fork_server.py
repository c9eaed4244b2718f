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


@pytest.fixture
def mixed() -> Iterator[ServerProcess]:
    """Two engines, engine 0 from a fork server that is gone, engine 1 from the one that came after it."""
    settings = {"model": {"language": "en", "channel": 2, "hang_timeout": HANG_TIMEOUT_S}}
    with ServerProcess(settings) as server:
        first, second = engine_pids(server)
        before = kill_fork_server(server)
        kill(second)
        wait_until(lambda: other_than(server, before))
        wait_until_all_sleep(server)
        assert first in engine_pids(server)
        yield server


def test_a_stop_ends_engines_of_a_fork_server_that_is_gone(mixed: ServerProcess) -> None:
    family = relatives(mixed.process.pid)
    mixed.process.terminate()
    assert mixed.wait() == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_frozen_engine_of_a_fork_server_that_is_gone_is_replaced(mixed: ServerProcess, phrase: bytes) -> None:
    oldest = engine_pids(mixed)[0]
    with frozen(oldest), Wire(mixed.port) as wire:
        wire.start()  # engine 0 is the first to be given
        wire.send(audio_packets(phrase))
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    mixed.wait_for_line(f"engine 0: it gave no answer for {HANG_TIMEOUT_S} s")
    wait_until_all_sleep(mixed)
    assert oldest not in engine_pids(mixed)
    assert_serves(mixed, phrase)


def test_a_killed_engine_of_a_fork_server_that_is_gone_is_replaced(mixed: ServerProcess, phrase: bytes) -> None:
    kill(engine_pids(mixed)[0])
    mixed.wait_for_line("engine 0: its process died")
    wait_until_all_sleep(mixed)
    assert_serves(mixed, phrase)


def test_a_session_on_an_engine_of_a_fork_server_that_is_gone_may_finish_while_the_server_stops(
    mixed: ServerProcess, phrase: bytes
) -> None:
    with Wire(mixed.port) as wire:
        wire.start()
        wire.send(audio_packets(phrase))
        mixed.process.terminate()
        mixed.wait_for_line("stopping: ")
        wire.send(FINISH)
        packets = wire.read_all()
    assert "better" in results(packets)[0].lower()
    assert packets[-1] == END
    assert mixed.wait() == 0


def test_a_frozen_fork_server_does_not_hold_up_a_stop(mixed: ServerProcess) -> None:
    """An engine waits to be forked from it."""
    pid = fork_server_pid(mixed)
    assert pid is not None
    with frozen(pid):
        kill(engine_pids(mixed)[1])
        mixed.wait_for_line("engine 1: its process died")
        family = relatives(mixed.process.pid)
        mixed.process.terminate()
        assert mixed.wait() == 0
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


def test_engines_hold_no_socket_of_the_server(mixed: ServerProcess) -> None:
    assert psutil.Process(mixed.process.pid).net_connections("tcp")
    for pid in engine_pids(mixed):
        assert psutil.Process(pid).net_connections("tcp") == []
