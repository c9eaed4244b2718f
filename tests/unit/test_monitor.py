"""The doors for those who watch: what they answer, and what hangs does not pile up."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Iterator

import pytest

from config.sections import AgentConfig, MetricsConfig, ServerConfig
from server import monitor
from server.health import Health
from server.listening import CannotListen
from server.metrics import Metrics
from server.monitor import Monitor
from tests.harness.engines import wait_until
from tests.harness.metrics import ask, figures
from tests.harness.server import free_ports

SOON_S = 5.0


class Answers:
    """In place of the health check. `deep` waits until it may answer."""

    def __init__(self) -> None:
        self.is_ready = True
        self.line = "ready up 75%"
        self.may_answer = threading.Event()

    def alive(self) -> Health:
        return Health(True, "alive")

    def ready(self) -> Health:
        return Health(self.is_ready, "ready" if self.is_ready else "busy")

    def deep(self) -> Health:
        return Health(self.may_answer.wait(60), "recognised")

    def share(self) -> str:
        return self.line


class Watched:
    """Both doors, open."""

    def __init__(self) -> None:
        self.answers = Answers()
        self.port, self.agent_port = free_ports(2)
        config = ServerConfig(metrics=MetricsConfig(port=self.port), agent=AgentConfig(port=self.agent_port))
        self.monitor = Monitor(config, self.answers, Metrics())  # type: ignore[arg-type]
        self.monitor.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), SOON_S)

    def agent_says(self, sent: bytes = b"") -> bytes:
        with socket.create_connection(("127.0.0.1", self.agent_port), SOON_S) as asking:
            asking.sendall(sent)
            return b"".join(iter(lambda: asking.recv(100), b""))


@pytest.fixture
def watched() -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.answers.may_answer.set()
    watched.monitor.stop()


def http_threads() -> int:
    return sum(thread.name == "http" for thread in threading.enumerate())


# --- HTTP


def test_each_path_has_its_answer(watched: Watched) -> None:
    watched.answers.may_answer.set()
    assert ask(watched.port, "/healthz") == (200, "alive\n")
    assert ask(watched.port, "/healthz?deep=0") == (200, "alive\n")
    assert ask(watched.port, "/healthz?deep=1") == (200, "recognised\n")
    assert ask(watched.port, "/readyz") == (200, "ready\n")
    watched.answers.is_ready = False
    assert ask(watched.port, "/readyz") == (503, "busy\n")
    assert figures(watched.port)["stt_sessions_active"] == 0
    status, content = ask(watched.port, "/")
    assert status == 404
    assert "/metrics" in content


def test_who_asks_for_the_head_gets_no_content(watched: Watched) -> None:
    with watched.connect() as asking:
        asking.sendall(b"HEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: asking.recv(1000), b""))
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


def test_another_method_is_refused(watched: Watched) -> None:
    with watched.connect() as asking:
        asking.sendall(b"POST /metrics HTTP/1.1\r\n\r\n")
        assert asking.recv(1000).startswith(b"HTTP/1.0 501 ")


def test_who_hangs_piles_up_no_threads_and_keeps_nobody_from_an_answer(watched: Watched) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(200):
            hanging = stack.enter_context(watched.connect())
            hanging.sendall(b"" if number % 2 else b"GET /metr")
            wait_until(lambda: http_threads() <= monitor._MOST_THREADS)  # one that was counted out may yet have to end
        began_s = time.monotonic()
        assert ask(watched.port, "/readyz", SOON_S) == (200, "ready\n")
        assert time.monotonic() - began_s < SOON_S
    wait_until(lambda: http_threads() == 0)


def test_who_asks_a_letter_at_a_time_is_cut_off(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "_QUESTION_S", 0.3)
    began_s = time.monotonic()
    with watched.connect() as slow, contextlib.suppress(ConnectionError):
        slow.settimeout(0.05)
        while time.monotonic() - began_s < 60:
            slow.sendall(b"G")
            with contextlib.suppress(socket.timeout):
                if not slow.recv(100):
                    break
    assert time.monotonic() - began_s < 10


def test_answers_that_take_their_time_are_not_cut_off_by_those_who_hang(watched: Watched) -> None:
    told = []
    asking = threading.Thread(target=lambda: told.append(ask(watched.port, "/healthz?deep=1")))
    asking.start()
    wait_until(lambda: http_threads() == 1)
    with contextlib.ExitStack() as stack:
        for _ in range(3 * monitor._MOST_THREADS):
            stack.enter_context(watched.connect())
        assert ask(watched.port, "/readyz")[0] == 200
        watched.answers.may_answer.set()
        asking.join(60)
    assert told == [(200, "recognised\n")]


def test_a_stop_does_not_wait_for_who_is_being_answered(watched: Watched) -> None:
    with watched.connect() as asking:
        asking.sendall(b"GET /healthz?deep=1 HTTP/1.0\r\n\r\n")
        wait_until(lambda: http_threads() == 1)
        began_s = time.monotonic()
        watched.monitor.stop()
        assert time.monotonic() - began_s < SOON_S
    with pytest.raises(ConnectionRefusedError):
        watched.connect()


# --- agent


def test_the_agent_says_its_line_and_closes(watched: Watched) -> None:
    assert watched.agent_says() == b"ready up 75%\n"
    watched.answers.line = "drain"
    assert watched.agent_says(b"what is sent does not matter\n" * 100) == b"drain\n"


def test_a_thousand_connections_to_the_agent_harm_nothing(watched: Watched) -> None:
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            with contextlib.suppress(socket.timeout, ConnectionError):
                stack.enter_context(socket.create_connection(("127.0.0.1", watched.agent_port), SOON_S))
        assert threading.active_count() == threads
    assert watched.agent_says() == b"ready up 75%\n"


# --- addresses


def test_a_port_that_is_taken_is_named_with_its_section_and_nothing_stays_open() -> None:
    port, agent_port = free_ports(2)
    with socket.create_server(("127.0.0.1", agent_port)):
        config = ServerConfig(metrics=MetricsConfig(port=port), agent=AgentConfig(port=agent_port))
        with pytest.raises(CannotListen, match=rf"^agent: cannot listen on 127\.0\.0\.1 port {agent_port}: Address"):
            Monitor(config, Answers(), Metrics())  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_ipv6_address_will_do() -> None:
    (port,) = free_ports(1)
    config = ServerConfig(agent=AgentConfig(ip="::1", port=port))
    try:
        watching = Monitor(config, Answers(), Metrics())  # type: ignore[arg-type]
    except CannotListen:
        pytest.skip("this machine has no IPv6")
    watching.start()
    with socket.create_connection(("::1", port), SOON_S) as asking:
        assert asking.recv(100) == b"ready up 75%\n"
    watching.stop()
