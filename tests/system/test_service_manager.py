"""Server and gateway tell the service manager when they are ready, that they live, and that they stop."""

import signal

from service.manager import ALIVE, READY, STOPPING
from tests.harness.gateway import GatewayProcess
from tests.harness.manager import Manager
from tests.harness.server import ServerProcess


def test_a_server_is_ready_when_it_listens_lives_and_says_that_it_stops() -> None:
    with Manager() as manager, ServerProcess({}, manager.environment(watchdog_s=1)) as server:
        assert manager.hear_other_than(ALIVE) == READY
        assert any("listening on" in line for line in server.lines)
        assert manager.hear() == ALIVE
        assert server.stop() == 0
        assert manager.hear_other_than(ALIVE) == STOPPING


def test_a_gateway_does_the_same() -> None:
    with Manager() as manager, GatewayProcess([1], environment=manager.environment(watchdog_s=1)) as gateway:
        assert manager.hear_other_than(ALIVE) == READY
        assert [manager.hear() for _ in range(3)] == [ALIVE] * 3
        gateway.process.send_signal(signal.SIGTERM)
        assert manager.hear_other_than(ALIVE) == STOPPING
        assert gateway.wait() == 0
