"""Whether the process lives, whether a client would be served, how much is free: what is answered, and when."""

from __future__ import annotations

import socket
import threading
import time
from typing import Callable, Iterator

import pytest

from config.sections import NetworkConfig, ServerConfig
from protocol.packets import MAGIC
from server.acceptor import Acceptor, Stage
from server.connection import House
from server.deep import DeepCheck
from server.health import Health, HealthCheck
from server.metrics import Metrics
from server.supervision import Look
from service.checks import Checked

SERVED = Look(total=4, free=3, silent=0, used=1)


class Engines:
    """In place of the pool."""

    def __init__(self) -> None:
        self.seen = SERVED
        self.has_threads = True

    def look(self) -> Look:
        return self.seen

    def responds(self, timeout_s: float) -> bool:
        return self.has_threads


class Door:
    """In place of the acceptor."""

    def __init__(self) -> None:
        self.stage = Stage.ACCEPTING
        self.is_full = False
        self.has_thread = True

    def responds(self, timeout_s: float) -> bool:
        return self.has_thread


class Asked:
    """A health check, and what it looks at."""

    def __init__(self) -> None:
        self.engines = Engines()
        self.door = Door()
        self.checked = Checked(True, "engine 0 recognised")
        deep = DeepCheck(lambda: self.checked)
        self.health = HealthCheck(self.engines, self.door, deep)  # type: ignore[arg-type]


@pytest.fixture
def asked() -> Asked:
    return Asked()


# --- ready


def test_a_server_with_a_free_engine_is_ready(asked: Asked) -> None:
    assert asked.health.ready() == Health(True, "ready: 3 of 4 engines are free")


@pytest.mark.parametrize(
    ("look", "line"),
    [
        (Look(4, 0, 0, 4), "busy: 4 of 4 engines are in use"),
        (Look(4, 0, 0, 1), "busy: 1 of 4 engines are in use"),
        (Look(4, 0, 3, 1), "busy: 1 of 4 engines are in use, 3 idle ones do not answer"),
        (Look(4, 0, 4, 0), "hanging: 4 of 4 engines are idle and do not answer"),
        (Look(4, 0, 0, 0), "starting: the engines are being started again"),
    ],
)
def test_one_without_says_why(asked: Asked, look: Look, line: str) -> None:
    asked.engines.seen = look
    assert asked.health.ready() == Health(False, line)


def test_one_that_takes_no_clients_says_why_whatever_is_free(asked: Asked) -> None:
    asked.door.is_full = True
    assert asked.health.ready() == Health(False, "full: network.max_connections is reached")
    asked.door.stage = Stage.STARTING
    assert asked.health.ready().line.startswith("starting: ")
    asked.door.stage = Stage.STOPPING
    assert asked.health.ready().line.startswith("draining: ")
    assert not asked.health.ready().is_good


# --- alive


@pytest.mark.parametrize("stage", list(Stage))
def test_a_server_is_alive_while_its_threads_respond_whether_it_serves_or_not(asked: Asked, stage: Stage) -> None:
    asked.door.stage, asked.engines.seen = stage, Look(1, 0, 1, 0)
    assert asked.health.alive() == Health(True, "alive")


def test_a_server_whose_threads_do_not_is_not(asked: Asked) -> None:
    asked.door.has_thread = False
    assert asked.health.alive().line == "the thread that accepts clients has not responded for 2 s"
    asked.engines.has_threads = False
    assert asked.health.alive().line == "the threads that watch the engines have not responded for 2 s"
    assert not asked.health.alive().is_good
    assert not asked.health.deep().is_good


# --- deep


def test_the_deep_check_says_what_came_of_it_and_how_old_it_is(asked: Asked) -> None:
    assert asked.health.deep() == Health(True, "engine 0 recognised; 0.0 s ago")
    asked.checked = Checked(False, "it hangs")
    assert asked.health.deep().is_good  # the last one, as it is new


def test_a_deep_check_that_fails_is_no_good_answer(asked: Asked) -> None:
    asked.checked = Checked(False, "it hangs")
    assert asked.health.deep() == Health(False, "it hangs; 0.0 s ago")


def test_nothing_is_checked_while_the_engines_start(asked: Asked) -> None:
    asked.door.stage = Stage.STARTING
    assert asked.health.deep() == Health(False, "starting: the engines load the model")


# --- what a balancer is told


@pytest.mark.parametrize(
    ("stage", "look", "line"),
    [
        (Stage.ACCEPTING, Look(4, 4, 0, 0), "ready up 100%"),
        (Stage.ACCEPTING, Look(4, 3, 0, 1), "ready up 75%"),
        (Stage.ACCEPTING, Look(3, 1, 0, 2), "ready up 33%"),
        (Stage.ACCEPTING, Look(1000, 1, 0, 999), "ready up 1%"),
        (Stage.ACCEPTING, Look(4, 0, 0, 4), "ready up 1%"),
        (Stage.ACCEPTING, Look(4, 0, 2, 2), "ready up 1%"),
        (Stage.ACCEPTING, Look(4, 0, 4, 0), "ready up 0%"),
        (Stage.ACCEPTING, Look(4, 0, 0, 0), "ready up 0%"),
        (Stage.STARTING, Look(4, 1, 0, 0), "ready up 0%"),
        (Stage.STOPPING, Look(4, 4, 0, 0), "drain"),
    ],
)
def test_a_balancer_is_told_how_much_is_free(asked: Asked, stage: Stage, look: Look, line: str) -> None:
    asked.door.stage, asked.engines.seen = stage, look
    assert asked.health.share() == line


# --- the acceptor's thread


class Pool:
    """In place of the pool, for who asks for no engine."""

    sessions = 0


@pytest.fixture
def acceptor() -> Iterator[Acceptor]:
    config = ServerConfig(network=NetworkConfig(port=0, max_connections=1, drain_timeout=0))
    acceptor = Acceptor(House(config, Pool(), Metrics()), None)  # type: ignore[arg-type]
    yield acceptor
    acceptor.stop()


def within(timeout_s: float, ask: Callable[[], bool]) -> bool:
    began_s = time.monotonic()
    answer = ask()
    assert time.monotonic() - began_s < timeout_s + 1
    return answer


def test_an_acceptor_responds_before_it_accepts_while_it_does_and_after(acceptor: Acceptor) -> None:
    assert acceptor.responds(0.1)
    acceptor.start()
    assert all(within(5, lambda: acceptor.responds(5)) for _ in range(100))
    acceptor.stop()
    assert acceptor.responds(0.1)


def test_one_whose_thread_is_stuck_does_not(acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, may_go_on = threading.Event(), threading.Event()

    def get_stuck() -> bool:
        stuck.set()
        return not may_go_on.wait(60)

    monkeypatch.setattr(acceptor, "_try_to_accept", get_stuck)
    acceptor.start()
    try:
        with socket.create_connection(acceptor._listener.getsockname()):
            assert stuck.wait(60)
            assert not within(0.2, lambda: acceptor.responds(0.2))
    finally:
        may_go_on.set()


def test_an_acceptor_without_room_says_so(acceptor: Acceptor) -> None:
    acceptor.start()
    assert not acceptor.is_full
    with socket.create_connection(acceptor._listener.getsockname()) as client:
        client.sendall(MAGIC)
        while not acceptor.is_full:
            assert acceptor.responds(60)
