"""Who gets in, and how fast: the rules."""

from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.sections import NetworkConfig
from server.admission import Admission, Refusals, Refused
from server.pace import Pace, quiet_pause_s, speaking_pause_s

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


# --- how often clients are looked at


@pytest.mark.parametrize("cores", [1, 2, 8, 64])
def test_a_few_clients_that_say_nothing_are_looked_at_at_once_and_many_not_more_often_in_all(cores: int) -> None:
    assert quiet_pause_s(1, cores, 0.48) <= 0.005
    for sessions in (2, 10, 50, 100, 1000):
        looks_per_s = sessions / quiet_pause_s(sessions, cores, 0.48)
        assert looks_per_s <= max(min(200 * cores, 3200), sessions / 0.15) + 1
    assert quiet_pause_s(10_000, cores, 0.48) == 0.15


def test_nobody_is_left_alone_for_more_than_half_of_what_ends_an_utterance() -> None:
    assert quiet_pause_s(10_000, 2, 0.1) == 0.05


@pytest.mark.parametrize(("cores", "few"), [(1, 5), (2, 11), (4, 23), (16, 95), (64, 95)])
def test_of_a_few_clients_that_speak_each_packet_is_taken_at_once_and_of_many_several_together(
    cores: int, few: int
) -> None:
    assert speaking_pause_s(few, cores, 0.48) == 0
    for sessions in (few + 1, 2 * few, 3 * few):
        assert speaking_pause_s(sessions, cores, 0.48) >= 0.03
        assert sessions / speaking_pause_s(sessions, cores, 0.48) <= 200 * cores + 1
    assert speaking_pause_s(10_000, cores, 0.48) == 0.1


def test_who_speaks_is_looked_at_several_times_in_what_ends_an_utterance() -> None:
    assert speaking_pause_s(10_000, 2, 0.2) == 0.05
    assert speaking_pause_s(10_000, 2, 0.1) == 0
