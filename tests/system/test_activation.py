"""A listening socket that outlives the server: a restart refuses nobody and tears no session."""

import os
import socket
from pathlib import Path
from typing import Iterator, List

import pytest

from protocol.packets import MAGIC
from server.listening import take_listener
from tests.harness.crowd import Crowd
from tests.harness.engines import relatives
from tests.harness.server import ServerProcess, Settings
from tests.harness.wire import END, FINISH, STATUS, Wire, error_code, results, session_bytes

SETTINGS: Settings = {"model": {"language": "en", "channel": 3}, "network": {"engine_wait": 60}}
CLIENTS = 4


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock


def test_a_restart_under_load_refuses_nobody_and_tears_no_session(listener: socket.socket, phrase: bytes) -> None:
    """Defends: `Server.stop` leaves the queue of an inherited socket to the successor, and lets who is in ask."""
    port = listener.getsockname()[1]
    crowd = Crowd(port, phrase, CLIENTS)  # before there is a server: the socket takes them
    statuses: List[int] = []
    for _ in range(2):
        with ServerProcess(SETTINGS, listener=listener) as server:
            crowd.wait_for(2 * CLIENTS)
            statuses.append(server.stop())
    with ServerProcess(SETTINGS, listener=listener):
        outcomes = crowd.stop()
    assert statuses == [0, 0]
    assert set(outcomes) == {"right"}, outcomes


def test_who_connected_just_before_the_stop_is_still_served_and_who_says_nothing_does_not_hold_it_up(
    listener: socket.socket, phrase: bytes
) -> None:
    """Defends: the time for a late request, and its end."""
    port = listener.getsockname()[1]
    with ServerProcess(SETTINGS, listener=listener) as server, Wire(port) as late, Wire(port) as silent:
        late.send(MAGIC)
        silent.send(MAGIC)
        with Wire(port) as other:  # when this is answered, the others are accepted
            other.send(MAGIC + STATUS)
            other.read_all()
        server.process.terminate()
        server.wait_for_line("stopping: ")
        late.send(session_bytes(phrase)[len(MAGIC) :])
        packets = late.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        assert error_code(silent.read_all()) == "SERVER_STOPPING"
        assert server.wait() == 0


def test_a_client_that_waits_for_an_engine_keeps_its_place_while_the_server_stops(
    listener: socket.socket, phrase: bytes
) -> None:
    settings: Settings = {"model": {"language": "en"}, "network": {"engine_wait": 60}}
    port = listener.getsockname()[1]
    with ServerProcess(settings, listener=listener) as server, Wire(port) as speaking, Wire(port) as waiting:
        speaking.start()
        waiting.send(session_bytes(phrase))
        with Wire(port) as other:  # when this is answered, the others are accepted
            other.send(MAGIC + STATUS)
            other.read_all()
        server.process.terminate()
        with Wire(port) as late, socket.create_connection(("127.0.0.1", port)):
            late.send(MAGIC)
            # Longer than whoever says nothing is waited for; nothing tells the end of it but the clock.
            waiting.socket.settimeout(3)
            with pytest.raises(OSError, match="timed out"):
                waiting.read()
        waiting.socket.settimeout(60)
        speaking.send(FINISH)
        assert speaking.read_all() == [END]
        assert "better" in results(waiting.read_all())[0].lower()
        assert server.wait() == 0


def test_the_socket_is_held_by_the_server_alone(listener: socket.socket) -> None:
    """Or it would stay open when server and service manager have let go of it."""
    inode = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
    with ServerProcess(SETTINGS, listener=listener) as server:
        assert inode in descriptors(server.process.pid)
        family = relatives(server.process.pid)
        assert len(family) >= 4
        for process in family:
            assert inode not in descriptors(process.pid)


def descriptors(pid: int) -> List[str]:
    return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


def test_a_socket_that_does_not_listen_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong:
        wrong.bind(("127.0.0.1", 0))
        server = ServerProcess({}, listener=wrong)
        try:
            assert server.wait() == 1
            (line,) = server.lines
            assert "LISTEN_FDS: expected a ListenStream" in line
        finally:
            server.close()


def test_a_socket_meant_for_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a service manager can be inherited by mistake; they are not passed on."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert take_listener() is None
    assert "LISTEN_FDS" not in os.environ
