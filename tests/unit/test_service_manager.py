"""What a service manager is told."""

import logging
import os
import socket

import pytest

from service.manager import ALIVE, READY, Watchdog, alive_every_s, tell
from tests.harness.manager import Manager


def use(monkeypatch: pytest.MonkeyPatch, manager: Manager, watchdog_s: float = 0) -> None:
    for name, value in manager.environment(watchdog_s).items():
        monkeypatch.setenv(name, value)


def test_a_state_reaches_the_socket_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Manager() as manager:
        use(monkeypatch, manager)
        tell(READY)
        assert manager.hear() == "READY=1"


def test_an_at_sign_names_an_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"stt-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        tell(READY)
        assert sock.recv(100) == b"READY=1"


def test_nobody_is_told_where_nobody_asks(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell(READY)
    assert not caplog.records


def test_a_manager_that_is_gone_stops_nothing_and_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    with caplog.at_level(logging.WARNING):
        tell(READY)
    assert caplog.messages == ["NOTIFY_SOCKET: /nowhere/notify cannot be told READY=1: No such file or directory"]


@pytest.mark.parametrize(
    ("variables", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),  # meant for another process
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_sign_of_life_is_due_twice_in_the_managers_time(
    monkeypatch: pytest.MonkeyPatch, variables: "dict[str, str]", every_s: float
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert alive_every_s() == every_s


def test_who_is_not_alive_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    asked = []

    def is_alive() -> bool:
        asked.append(next(answers, True))
        return asked[-1]

    with Manager() as manager:
        use(monkeypatch, manager, watchdog_s=0.02)
        watchdog = Watchdog(is_alive)
        watchdog.start()
        assert manager.hear() == ALIVE
        assert asked[:3] == [False, False, True]
        watchdog.stop()
