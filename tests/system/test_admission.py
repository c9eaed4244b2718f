"""Who gets in, for how long, and how fast: the limits that an operator sets."""

import socket
import time
from typing import Iterator

import pytest

from protocol.packets import MAGIC
from tests.harness.engines import wait_until
from tests.harness.server import ServerProcess
from tests.harness.wire import BEGIN, END, FINISH, STATUS, Wire, audio_packets, error_code, results, user_packet

SESSION_S = 6.0
SPEED = 2.0
PER_IP = 3


@pytest.fixture(scope="module")
def strict() -> Iterator[ServerProcess]:
    network = {
        "allow": ["127.0.0.1", "127.0.1.0/24"],
        "max_per_ip": PER_IP,
        "max_session": SESSION_S,
        "engine_wait": 20,
    }
    with ServerProcess({"network": network, "model": {"language": "en"}}) as process:
        yield process


@pytest.fixture(scope="module")
def slowing() -> Iterator[ServerProcess]:
    network = {"max_speed": SPEED, "engine_wait": 20}
    with ServerProcess({"network": network, "model": {"language": "en"}}) as process:
        yield process


def connect_from(server: ServerProcess, host: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), 60, source_address=(host, 0))


def is_let_in(sock: socket.socket) -> bool:
    try:
        sock.sendall(MAGIC + STATUS)
        return sock.recv(1) == b"%"
    except ConnectionError:
        return False


def test_an_address_that_is_not_allowed_is_closed_unread(strict: ServerProcess) -> None:
    """Defends: network.allow, asked before anything is read."""
    with connect_from(strict, "127.0.0.2") as stranger:
        assert stranger.recv(1) == b""
    with connect_from(strict, "127.0.1.9") as welcome:
        assert is_let_in(welcome)
    strict.wait_for_line("turned away: network.allow")


def test_an_address_that_has_its_connections_gets_no_more_until_one_is_closed(strict: ServerProcess) -> None:
    """Defends: network.max_per_ip, counted down when a connection ends."""
    held = [connect_from(strict, "127.0.1.7") for _ in range(PER_IP)]
    with connect_from(strict, "127.0.1.7") as surplus:
        assert not is_let_in(surplus)
    with connect_from(strict, "127.0.1.8") as other:
        assert is_let_in(other)
    held.pop().close()

    def has_room() -> bool:
        with connect_from(strict, "127.0.1.7") as again:
            return is_let_in(again)

    wait_until(has_room)
    for sock in held:
        sock.close()


def test_a_session_that_lasts_too_long_gets_its_text_and_is_ended(strict: ServerProcess, phrase: bytes) -> None:
    """Defends: network.max_session; what was said until then is not lost."""
    with Wire(strict.port) as wire:
        wire.start()
        wire.send(audio_packets(phrase[: -32000 * 3 // 4]))  # still open: no silence behind it
        packets = wire.read_all()
    assert error_code(packets) == "TIMEOUT"
    assert b"network.max_session" in packets[-2].data
    assert "better" in results(packets)[0].lower()


def test_the_limit_also_holds_for_who_never_stops_sending(strict: ServerProcess) -> None:
    with Wire(strict.port) as wire:
        wire.start()
        wire.socket.settimeout(0.05)
        received = b""
        while b"%F" not in received:
            wire.send(audio_packets(bytes(960)))
            try:
                received += wire.socket.recv(65536)
            except socket.timeout:
                continue
        assert b"network.max_session" in received


def test_audio_that_comes_too_fast_is_slowed_and_all_of_it_heard(slowing: ServerProcess, phrase: bytes) -> None:
    """Defends: network.max_speed. What comes later than the burst takes its time, at least."""
    silence_s = 14
    started_s = time.monotonic()
    with Wire(slowing.port) as wire:
        wire.send(MAGIC + user_packet("hasty") + BEGIN + audio_packets(bytes(32000 * silence_s) + phrase) + FINISH)
        packets = wire.read_all()
    seconds = time.monotonic() - started_s
    assert "better" in results(packets)[0].lower()
    assert packets[-1] == END
    assert seconds >= (silence_s - 5 * SPEED) / SPEED


def test_who_is_slowed_may_leave(slowing: ServerProcess) -> None:
    with Wire(slowing.port) as wire:
        wire.send(MAGIC + user_packet("runaway") + BEGIN + audio_packets(bytes(32000 * 12)))
        slowing.wait_for_line("starts: engine 0, user runaway")
        wire.reset()
    slowing.wait_for_line("user runaway.*: the client went away")
