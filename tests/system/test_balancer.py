"""Several servers behind HAProxy, set up by the file that is shipped: no session depends on any one of them."""

import contextlib
import re
from typing import Iterator, List

import httpx
import pytest

from protocol.packets import MAGIC, Header, Packet
from tests.harness.balancer import CONFIGURATION, Balancer
from tests.harness.crowd import Crowd
from tests.harness.fleet import Fleet
from tests.harness.gateway import GatewayProcess
from tests.harness.wire import BEGIN, END, FINISH, STATUS, Wire, error_code, results, session_bytes, user_packet

SERVERS, ENGINES = 3, 2


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Each test leaves every engine free, and every server running."""
    with contextlib.closing(Fleet(SERVERS, 0, ENGINES, {"model": {"language": "en"}})) as servers:
        yield servers


def open_session(port: int) -> Wire:
    wire = Wire(port)
    wire.start()
    return wire


def say_better(port: int, phrase: bytes) -> None:
    """A session of its own, which is right."""
    with Wire(port) as wire:
        wire.send(session_bytes(phrase))
        assert_better(wire.read_all())


def assert_better(packets: List[Packet]) -> None:
    assert "better" in "".join(results(packets)).lower(), packets
    assert packets[-1] == END


def test_sessions_go_where_engines_are_free_and_who_comes_when_none_is_waits_for_the_first(
    fleet: Fleet, phrase: bytes
) -> None:
    with fleet.balancer() as balancer, contextlib.ExitStack() as stack:
        wires = []
        for taken in range(1, SERVERS * ENGINES + 1):
            wires.append(stack.enter_context(open_session(balancer.tcp)))
            assert max(balancer.sessions()) == -(-taken // SERVERS), balancer.sessions()
        waiting = stack.enter_context(Wire(balancer.tcp))
        waiting.send(session_bytes(phrase))
        balancer.wait_until(lambda: balancer.queued() == 1)
        with Wire(balancer.tcp) as asking:  # needs no engine
            asking.send(MAGIC + STATUS)
            packets = asking.read_all()
            assert [packet.header for packet in packets[:-1]] == [Header.ENGINE_STATUS] * ENGINES
        wires[3].send(FINISH)
        assert wires[3].read_all() == [END]  # and it does not close: defends `timeout client-fin`
        assert_better(waiting.read_all())


def test_who_leaves_the_queue_gives_the_place_back(fleet: Fleet, phrase: bytes) -> None:
    """Defends: `option abortonclose`."""
    with Balancer(fleet.ports[:1], engines=1) as balancer, open_session(balancer.tcp) as speaking:
        with Wire(balancer.tcp) as impatient:
            impatient.send(MAGIC + user_packet())
            balancer.wait_until(lambda: balancer.queued() == 1)
        balancer.wait_until(lambda: balancer.queued() == 0)
        speaking.send(FINISH)
        assert speaking.read_all() == [END]


def test_who_comes_when_the_queue_is_full_is_told_so_by_a_server(fleet: Fleet) -> None:
    """Defends: `use_backend beside`. The server has as many engines as HAProxy gives it clients."""
    with Balancer(fleet.ports[:1], engines=ENGINES, queue=1) as balancer, contextlib.ExitStack() as stack:
        for _ in range(ENGINES):
            stack.enter_context(open_session(balancer.tcp))
        waiting = stack.enter_context(Wire(balancer.tcp))
        waiting.send(MAGIC + user_packet())
        balancer.wait_until(lambda: balancer.queued() == 1)
        with Wire(balancer.tcp) as one_more:
            one_more.send(MAGIC + user_packet())
            assert error_code(one_more.read_all()) == "SERVER_TOO_BUSY"


def test_who_says_nothing_takes_nobodys_place(fleet: Fleet, phrase: bytes) -> None:
    """Defends: the inspection before a server is chosen."""
    with Balancer(fleet.ports[:1], engines=1) as balancer, Wire(balancer.tcp) as silent, Wire(balancer.tcp) as slow:
        silent.send(MAGIC[:5])
        slow.send(MAGIC)
        say_better(balancer.tcp, phrase)
        slow.send(user_packet() + BEGIN + FINISH)
        assert slow.read_all()[-1] == END
        with Wire(balancer.tcp) as stranger:
            stranger.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert stranger.read_all() == []
        assert balancer.figures_of("servers")["s1"]["econ"] == "0"


def test_a_killed_servers_next_clients_go_elsewhere(fleet: Fleet, phrase: bytes) -> None:
    with fleet.balancer() as balancer, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(open_session(balancer.tcp)) for _ in range(SERVERS)]
        fleet.servers[0].process.kill()
        fleet.servers[0].wait()
        for _ in range(SERVERS):  # at once: before any check can have noticed
            say_better(balancer.tcp, phrase)
        balancer.wait_for_state("servers", "s1", "DOWN")
        torn = 0
        for wire in wires:
            with contextlib.suppress(OSError):
                wire.send(FINISH)
            try:
                torn += wire.read_all() != [END]
            except ConnectionResetError:
                torn += 1
        assert torn == 1
        fleet.start_server(0)
        balancer.wait_for_state("servers", "s1", "UP")
        say_better(balancer.tcp, phrase)


def test_a_server_that_an_operator_drains_takes_no_new_session_and_keeps_those_that_it_has(
    fleet: Fleet, phrase: bytes
) -> None:
    with fleet.balancer() as balancer, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(open_session(balancer.tcp)) for _ in range(SERVERS)]
        assert balancer.sessions() == [1, 1, 1]
        balancer.tell("disable agent servers/s2")
        balancer.tell("set server servers/s2 state drain")
        wires += [stack.enter_context(open_session(balancer.tcp)) for _ in range(2)]
        assert balancer.sessions() == [2, 1, 2]
        balancer.tell("enable agent servers/s2")
        balancer.wait_for_state("servers", "s2", "UP")
        wires.append(stack.enter_context(open_session(balancer.tcp)))
        assert balancer.sessions() == [2, 2, 2]
        for wire in wires:
            wire.send(session_bytes(phrase)[len(MAGIC + user_packet() + BEGIN) :])
        for wire in wires:
            assert_better(wire.read_all())


def test_a_server_that_stops_is_drained_before_it_refuses_anybody(fleet: Fleet, phrase: bytes) -> None:
    """Defends: `agent-check`, `network.stop_delay`."""
    with fleet.balancer() as balancer, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(open_session(balancer.tcp)) for _ in range(SERVERS)]
        fleet.servers[1].process.terminate()
        balancer.wait_for_state("servers", "s2", "DRAIN")
        wires += [stack.enter_context(open_session(balancer.tcp)) for _ in range(2)]
        assert balancer.sessions() == [2, 1, 2]
        for wire in wires:
            wire.send(session_bytes(phrase)[len(MAGIC + user_packet() + BEGIN) :])
        for wire in wires:
            assert_better(wire.read_all())
        assert fleet.servers[1].wait() == 0
        fleet.start_server(1)
        balancer.wait_for_state("servers", "s2", "UP")


@pytest.mark.thorough
@pytest.mark.timeout(400)  # three starts beside them
def test_a_restart_of_all_servers_one_after_the_other_refuses_nobody_and_tears_no_session(
    fleet: Fleet, phrase: bytes
) -> None:
    """By nothing but the stop signal. Five clients at once, where two servers have four engines: one waits."""
    with fleet.balancer() as balancer, Crowd(balancer.tcp, phrase, 5, rest_s=1) as crowd:
        for number, name in enumerate(balancer.servers):
            assert fleet.servers[number].stop() == 0
            crowd.wait_for(3)
            fleet.start_server(number)
            balancer.wait_for_state("servers", name, "UP")
            crowd.wait_for(3)
        outcomes = crowd.stop()
        served = [int(balancer.figures_of("servers")[name]["stot"]) for name in balancer.servers]
    assert set(outcomes) == {"right"}, outcomes
    assert min(served) > 0, served


def test_requests_are_spread_over_gateways_and_a_dead_one_is_passed_over(fleet: Fleet) -> None:
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(GatewayProcess(fleet.ports)) for _ in range(2))
        balancer = stack.enter_context(fleet.balancer([first.port, second.port]))
        with httpx.Client() as client:
            url = f"http://127.0.0.1:{balancer.http}"
            for _ in range(6):
                assert client.get(f"{url}/healthz").text == "ok\n"
            figures = balancer.figures_of("gateways")
            assert [int(figures[name]["stot"]) for name in ("g1", "g2")] == [3, 3]
            engines = SERVERS * ENGINES
            assert client.get(f"{url}/readyz").json() == {"state": "ready", "engines": engines, "free": engines}
            assert "stt_gateway_connections" in client.get(first.url("/metrics")).text
            assert client.get(f"{url}/metrics").status_code == 404
            first.process.kill()
            for _ in range(6):
                assert client.get(f"{url}/healthz").status_code == 200


def test_haproxys_own_figures_can_be_scraped(fleet: Fleet) -> None:
    with fleet.balancer() as balancer:
        text = httpx.get(f"http://127.0.0.1:{balancer.figures}/metrics").text
        assert 'haproxy_server_current_sessions{proxy="servers",server="s1"} 0' in text
        for file in ("alerts.yml", "grafana/stt.json"):
            named = re.findall(r"\bhaproxy_\w+", (CONFIGURATION.parent / file).read_text(encoding="utf-8"))
            assert named
            for name in named:
                assert re.search(rf'^{name}\{{proxy="servers"', text, re.MULTILINE), name
        assert "servers" in httpx.get(f"http://127.0.0.1:{balancer.figures}/").text
