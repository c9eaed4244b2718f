"""More of everything than there is room for: who is inside goes on, who is outside learns it at once."""

import contextlib
import resource
import socket
import time
from pathlib import Path
from typing import Iterator, List

import psutil
import pytest

from protocol.packets import MAGIC
from tests.harness.engines import assert_serves, engine_pids, wait_until, wait_until_all_sleep
from tests.harness.server import ServerProcess, Settings
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results, session_bytes

ROOM = 40
TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def small() -> Iterator[ServerProcess]:
    network = {"max_connections": ROOM, "socket_timeout": TIMEOUT_S, "engine_wait": 30}
    with ServerProcess({"network": network, "model": {"language": "en"}}) as process:
        yield process


def wait_for_room(server: ServerProcess) -> None:
    """Until the connections of a test before are gone."""
    process = psutil.Process(server.process.pid)
    wait_until(
        lambda: sum(connection.status != psutil.CONN_LISTEN for connection in process.net_connections("tcp")) <= 1
    )


# --- connections


def test_a_thousand_connections_at_once_are_turned_away_and_a_session_goes_on(
    small: ServerProcess, speech: bytes
) -> None:
    """Defends: network.max_connections, asked before a thread is made; Refusals, which keep the log short."""
    with Wire(small.port) as inside:
        inside.start("inside")
        inside.send(audio_packets(speech))
        crowd: List[socket.socket] = []
        for _ in range(1000):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", small.port))
            crowd.append(sock)
        small.wait_for_line("turned away: network.max_connections")
        inside.send(FINISH)
        packets = inside.read_all()
        for sock in crowd:
            sock.close()
    assert len(results(packets)) == 2
    assert packets[-1] == END
    assert len([line for line in small.lines if "turned away" in line]) < 5
    wait_for_room(small)
    assert psutil.Process(small.process.pid).num_threads() < ROOM


def test_slow_handshakes_give_their_places_back(small: ServerProcess, phrase: bytes) -> None:
    """Defends: the whole handshake has one deadline, however many bytes come (slow loris)."""
    wait_for_room(small)
    dripping = [Wire(small.port) for _ in range(ROOM)]
    for wire in dripping:
        wire.socket.settimeout(TIMEOUT_S / 10)
    ended = 0
    for byte in MAGIC * 10:
        for wire in dripping:
            with contextlib.suppress(socket.timeout, OSError):
                wire.send(bytes([byte]))
        with contextlib.suppress(socket.timeout, OSError):
            ended += b"TIMEOUT" in dripping[0].socket.recv(65536)
        if ended:
            break
    assert ended
    wait_for_room(small)
    assert_serves(small, phrase)
    for wire in dripping:
        wire.socket.close()


# --- descriptors


@pytest.fixture
def cramped(small: ServerProcess) -> Iterator[List[socket.socket]]:
    """The server has no descriptor left; the sockets hold the last ones."""
    wait_for_room(small)
    wait_until_all_sleep(small)
    server = psutil.Process(small.process.pid)
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.num_fds() + 20, before[1]))
    held = [socket.create_connection(("127.0.0.1", small.port)) for _ in range(30)]
    small.wait_for_line("cannot be accepted: Too many open files")
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[0]
    wait_until(lambda: server.num_fds() >= limit - 2)  # a client needs three
    yield held
    for sock in held:
        sock.close()
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)


def test_without_descriptors_nobody_spins_and_when_some_are_free_clients_are_accepted(
    small: ServerProcess, cramped: List[socket.socket], phrase: bytes
) -> None:
    """Defends: the pause of the acceptor."""
    server = psutil.Process(small.process.pid)
    before_s, started_s = sum(server.cpu_times()[:2]), time.monotonic()
    for sock in cramped:  # they say nothing, and are timed out one after the other
        sock.settimeout(60)
        with contextlib.suppress(ConnectionError):
            while sock.recv(65536):
                pass
    assert sum(server.cpu_times()[:2]) - before_s < (time.monotonic() - started_s) / 2
    assert_serves(small, phrase)


def test_a_client_that_is_in_needs_no_further_descriptor(small: ServerProcess, phrase: bytes) -> None:
    """Defends: what a session needs is there before its client is accepted."""
    wait_for_room(small)
    wait_until_all_sleep(small)
    server = psutil.Process(small.process.pid)
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    with Wire(small.port) as wire:
        wire.send(MAGIC[:5])
        wait_until(lambda: any(one.status == "ESTABLISHED" for one in server.net_connections("tcp")))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (server.num_fds(), before[1]))
        wire.send(session_bytes(phrase)[5:])
        packets = wire.read_all()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)
    assert "better" in results(packets)[0].lower()
    assert not any("Traceback" in line for line in small.lines)


def test_an_engine_that_dies_while_there_is_no_descriptor_comes_back_when_there_is(
    small: ServerProcess, cramped: List[socket.socket], phrase: bytes
) -> None:
    """Defends: `short_of_room`; a start that fails for want of room does not count as one that cannot succeed."""
    psutil.Process(engine_pids(small)[0]).kill()
    small.wait_for_line(r"its process cannot be started \(.*Too many open files")
    for sock in cramped:
        sock.close()
    wait_for_room(small)
    assert_serves(small, phrase)


def test_a_limit_of_descriptors_that_is_too_low_is_named_at_the_start() -> None:
    server = ServerProcess({"network": {"max_connections": 5000}}, prefix=["prlimit", "--nofile=1024:2048"])
    try:
        server.wait_for_line("network.max_connections: 5000 may need .* 2048 may be opened")
    finally:
        server.close()


# --- disks


def test_a_disk_that_is_full_ends_the_recording_and_not_the_session(speech: bytes) -> None:
    """Defends: Recording and the log's file handler, which say so once."""
    settings: Settings = {"model": {"language": "en"}, "logging": {"save_pcm": True, "level": "debug"}}
    with ServerProcess(settings) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1024, 1024))
        for _ in range(3):
            with Wire(server.port) as wire:
                wire.send(session_bytes(speech, "full"))
                packets = wire.read_all()
            assert len(results(packets)) == 2
            assert packets[-1] == END
        sizes = [file.stat().st_size for file in (server.folder / "data").iterdir()]
        assert len(sizes) == 3
        assert max(sizes) <= 1024
        said = "\n".join(server.lines)
    assert said.count("the recording of user full ends: logging.pcm_path: File too large") == 3
    assert said.count("log/stt_log cannot be written") == 1
    assert "Traceback" not in said


def test_a_folder_for_recordings_that_cannot_be_made_is_named_and_the_session_goes_on(
    tmp_path: Path, phrase: bytes
) -> None:
    (tmp_path / "file").write_text("")
    settings: Settings = {
        "model": {"language": "en"},
        "logging": {"save_pcm": True, "pcm_path": str(tmp_path / "file" / "x")},
    }
    with ServerProcess(settings) as server:
        assert_serves(server, phrase)
        server.wait_for_line("the recording of user test ends: logging.pcm_path: Not a directory")


# --- sessions


def test_beyond_the_engines_clients_are_refused_at_once_and_the_sessions_inside_end_well(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en", "channel": 2}}) as server:
        inside = [Wire(server.port) for _ in range(2)]
        for wire in inside:
            wire.start("inside")
        outside = [Wire(server.port) for _ in range(30)]
        for wire in outside:
            wire.send(session_bytes(phrase))
        for wire in outside:
            assert error_code(wire.read_all()) == "SERVER_TOO_BUSY"
            wire.socket.close()
        for wire in inside:
            wire.send(audio_packets(phrase) + FINISH)
        for wire in inside:
            packets = wire.read_all()
            assert "better" in results(packets)[0].lower()
            assert packets[-1] == END
            wire.socket.close()
