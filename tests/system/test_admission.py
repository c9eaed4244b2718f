"""Who gets in, for how long, and how fast: the limits that an operator sets."""

import socket
import time
from typing import Iterator, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.sections import NetworkConfig
from server.admission import Admission, Refusals, Refused
from server.pace import Pace
from tests.harness.server import ServerProcess
from tests.harness.wire import BEGIN, END, FINISH, STATUS, Wire, audio_packets, error_code, results, user_packet
from util import MAGIC

SESSION_S = 6.0
SPEED = 2.0
PER_IP = 3


# --- addresses


def admission(allow: List[str], max_per_ip: int = 0, max_connections: int = 100) -> Admission:
    return Admission(NetworkConfig(allow=allow, max_per_ip=max_per_ip, max_connections=max_connections))


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        ([], "203.0.113.9"),
        (["10.0.0.0/8"], "10.255.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["10.0.0.0/8"], "::ffff:10.1.2.3"),
        (["fd00::/8", "10.0.0.0/8"], "fd12::1"),
        (["fe80::/10"], "fe80::1%eth0"),
    ],
)
def test_an_address_in_the_list_gets_in(allow: List[str], host: str) -> None:
    admission(allow).enter(host)


@pytest.mark.parametrize(
    ("allow", "host"),
    [
        (["10.0.0.0/8"], "11.0.0.1"),
        (["10.0.0.0/8"], "::1"),
        (["fd00::/8"], "10.0.0.1"),
        (["0.0.0.0/0"], "::2"),
    ],
)
def test_an_address_outside_the_list_does_not(allow: List[str], host: str) -> None:
    with pytest.raises(Refused, match=r"network\.allow"):
        admission(allow).enter(host)


def test_one_address_has_so_many_connections_and_no_more() -> None:
    gate = admission([], max_per_ip=2)
    gate.enter("192.0.2.1")
    gate.enter("::ffff:192.0.2.1")
    with pytest.raises(Refused, match=r"network\.max_per_ip"):
        gate.enter("192.0.2.1")
    gate.enter("192.0.2.2")
    gate.leave("192.0.2.1")
    gate.enter("192.0.2.1")


def test_who_has_one_ipv6_address_has_all_of_its_subscription() -> None:
    gate = admission([], max_per_ip=1)
    gate.enter("2001:db8:1:2::1")
    with pytest.raises(Refused, match=r"network\.max_per_ip"):
        gate.enter("2001:db8:1:2:ffff::9")
    gate.enter("2001:db8:1:3::1")


@given(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "2001:db8::1"]), max_size=30))
def test_when_all_have_left_nothing_is_remembered(hosts: List[str]) -> None:
    gate = admission([], max_per_ip=3, max_connections=8)
    inside: List[str] = []
    for host in hosts:
        try:
            gate.enter(host)
        except Refused:
            continue
        inside.append(host)
    assert len(inside) <= 8
    assert max((inside.count(host) for host in inside), default=0) <= 3
    for host in inside:
        gate.leave(host)
    for number in range(8):
        gate.enter(f"192.0.2.{number}")


def test_refusals_are_told_at_once_and_then_in_sums() -> None:
    """A hundred thousand strangers are a few lines of the log."""
    refusals = Refusals(interval_s=60)
    assert refusals.count("no room", 0) == 1
    assert [refusals.count("no room", now_s) for now_s in range(1, 60)] == [0] * 59
    assert refusals.count("something else", 30) == 1
    assert refusals.count("no room", 60) == 60
    assert refusals.count("no room", 61) == 0


# --- pace


def test_without_a_limit_nobody_waits() -> None:
    assert Pace(0).wait_s(1e6, 0) == 0


@given(st.floats(1, 100), st.lists(st.floats(0.01, 2), min_size=1, max_size=50))
def test_in_the_long_run_audio_is_taken_no_faster_than_allowed(max_speed: float, chunks_s: List[float]) -> None:
    pace, now_s = Pace(max_speed), 1000.0
    for chunk_s in chunks_s * 20:
        now_s += pace.wait_s(chunk_s, now_s)
    assert sum(chunks_s) * 20 <= max_speed * (now_s - 1000.0 + 5.001)


@given(st.floats(1, 100), st.lists(st.floats(0, 10), max_size=100))
def test_who_sends_in_real_time_never_waits(max_speed: float, pauses_s: List[float]) -> None:
    pace, now_s = Pace(max_speed), 1000.0
    for pause_s in pauses_s:
        now_s += 0.03 + pause_s
        assert pace.wait_s(0.03, now_s) == 0


# --- the server


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
    end_s = time.monotonic() + 30
    while True:
        with connect_from(strict, "127.0.1.7") as again:
            if is_let_in(again):
                break
        assert time.monotonic() < end_s
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
