"""Start and stop: what is wrong is said in one line, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import psutil
import pytest

from protocol.packets import MAGIC, Header
from tests.harness.engines import wait_until
from tests.harness.server import PROJECT, ServerProcess
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results, session_bytes, user_packet


def family_of(server: ServerProcess) -> List[psutil.Process]:
    return [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]


def assert_all_gone(family: List[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def failing_start(settings: Dict[str, Dict[str, Any]], environment: Dict[str, str]) -> List[str]:
    """Start a server that cannot run; returns what it printed."""
    server = ServerProcess(settings, {**os.environ, **environment})
    family = family_of(server)
    try:
        assert server.wait() == 1
        assert_all_gone(family)
        assert not any("Traceback" in line for line in server.lines)
        return [line for line in server.lines if "CRITICAL" in line]
    finally:
        server.close()


# --- starting


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        (line,) = failing_start({"network": {"port": port}}, {})
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in line


def test_weights_that_cannot_be_had_are_named_with_what_to_do(tmp_path: Path) -> None:
    # A proxy that nobody answers stands for a network that is not there.
    environment = {"XDG_CACHE_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    (line,) = failing_start({"model": {"size": "tiny", "channel": 2}}, environment)
    assert "model.size: no weights for 'tiny'" in line
    assert str(tmp_path / "whisper" / "tiny.pt") in line
    assert "set model.size to a path" in line


def test_a_missing_cuda_device_is_named() -> None:
    (line,) = failing_start({"model": {"device": "cuda:7"}}, {})
    assert "model.device: cuda:7 was asked for" in line


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tmp_path / "config.yaml"
    config.write_text(f"logging: {{log_path: {tmp_path}/file/log}}")
    command = [sys.executable, str(PROJECT / "tcp_server.py"), "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("logging.log_path: cannot write")
    assert ended.stderr.count("\n") == 1


def test_a_signal_while_the_model_loads_stops_the_server() -> None:
    server = ServerProcess({})
    try:
        family = family_of(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() in (0, -signal.SIGTERM)  # the latter before Python has installed its handlers
        assert_all_gone(family)
    finally:
        server.close()


# --- stopping


def test_a_stopped_server_lets_sessions_finish_and_leaves_no_process(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en", "channel": 2}}) as server:
        family = family_of(server)
        with Wire(server.port) as speaking, Wire(server.port) as late:
            speaking.start()
            speaking.send(audio_packets(phrase))
            late.send(MAGIC)
            server.process.send_signal(signal.SIGTERM)
            assert error_code(late.read_all()) == "SERVER_STOPPING"
            with pytest.raises(ConnectionRefusedError):
                Wire(server.port)
            speaking.send(FINISH)
            packets = speaking.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        assert server.wait() == 0
        assert_all_gone(family)


def test_when_the_drain_time_is_over_what_was_said_is_still_delivered(speech: bytes) -> None:
    with ServerProcess({"model": {"language": "en"}, "network": {"drain_timeout": 0.5}}) as server:
        family = family_of(server)
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(speech[: 4 * 32000]))  # in mid-utterance, and never finished
            server.wait_for_line("user test")
            server.process.send_signal(signal.SIGTERM)
            packets = wire.read_all()
        assert error_code(packets) == "SERVER_STOPPING"
        assert "tried" in results(packets)[0].lower()
        assert server.wait() == 0
        assert_all_gone(family)


def test_an_idle_session_is_ended_when_the_drain_time_is_over() -> None:
    with ServerProcess({"network": {"drain_timeout": 0.2}}) as server, Wire(server.port) as wire:
        wire.send(MAGIC + user_packet())
        welcome = wire.read()
        assert welcome is not None
        assert welcome.header is Header.WELCOME
        server.process.send_signal(signal.SIGTERM)
        assert error_code(wire.read_all()) == "SERVER_STOPPING"
        assert server.wait() == 0


def test_a_second_signal_ends_the_server_at_once_and_clients_are_told(speech: bytes) -> None:
    with ServerProcess({"network": {"drain_timeout": 600}}) as server:
        family = family_of(server)
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(speech))
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping: sessions in progress have 600 s")
            server.process.send_signal(signal.SIGINT)
            assert error_code(wire.read_all()) == "SERVER_STOPPING"
            assert server.wait() == 1
        assert_all_gone(family)


def test_until_balancers_have_noticed_a_stop_who_comes_is_still_served(speech: bytes) -> None:
    """Defends: `network.stop_delay`, which a second signal ends."""
    with ServerProcess({"model": {"language": "en"}, "network": {"stop_delay": 600}}) as server:
        family = family_of(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line("stopping: ")
        with Wire(server.port) as wire:
            wire.send(session_bytes(speech))
            packets = wire.read_all()
        assert "better" in results(packets)[-1].lower()
        assert packets[-1] == END
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 1
        assert_all_gone(family)


FLOOD = """
import socket, sys
address = ("127.0.0.1", int(sys.argv[1]))
print("begun", flush=True)
while True:
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        pass
"""


def test_a_flood_of_clients_does_not_hold_up_a_stop() -> None:
    """Defends: the acceptor looks for the stop between two clients, and then takes no more than the queue holds."""
    with ServerProcess({"network": {"drain_timeout": 1, "max_connections": 16}}) as server:
        command = [sys.executable, "-c", FLOOD, str(server.port)]
        floods = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
        try:
            for flood in floods:
                assert flood.stdout is not None
                assert flood.stdout.readline() == b"begun\n"
            server.process.terminate()
            assert server.wait() == 0  # while they go on
            assert all(flood.poll() is None for flood in floods)
        finally:
            for flood in floods:
                flood.kill()
                flood.communicate()


def test_ctrl_c_in_a_terminal_reaches_every_process_and_still_stops_in_order(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en"}}) as server:
        family = family_of(server)
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(phrase))
            server.wait_for_line("user test")
            for process in family:
                process.send_signal(signal.SIGINT)
            wire.send(FINISH)
            packets = wire.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        assert server.wait() == 0
        assert_all_gone(family)
        assert not any("Traceback" in line for line in server.lines)


def test_a_stop_signal_to_every_process_lets_sessions_finish(phrase: bytes) -> None:
    """As a service manager sends it."""
    with ServerProcess({"model": {"language": "en"}}) as server:
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(phrase))
            for process in reversed(family_of(server)):
                process.send_signal(signal.SIGTERM)
            wire.send(FINISH)
            packets = wire.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        assert server.wait() == 0


def test_a_server_that_is_killed_while_the_model_loads_leaves_nothing_behind() -> None:
    server = ServerProcess({})
    try:
        wait_until(lambda: len(family_of(server)) >= 3)  # a helper of multiprocessing's, and the one that loads
        family = family_of(server)
        server.process.kill()
        _, alive = psutil.wait_procs(family[1:], timeout=3)
        assert alive == []
    finally:
        server.close()
