"""Servers and gateways as docs/operations.md wants them behind a balancer; each is started again where it was."""

from typing import Dict, List, Sequence

from tests.harness.balancer import Balancer, find_haproxy
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess, Settings, free_ports

_STOP_DELAY_S = 3


class Fleet:
    """Running when made; `close` ends all.

    Args:
        servers, gateways: how many.
        engines: of each server.
        settings: of the servers, besides those that a balancer needs.

    Attributes:
        servers, gateways: the processes that run now.
        ports, agents: of the servers.
    """

    def __init__(self, servers: int, gateways: int, engines: int, settings: Settings) -> None:
        find_haproxy()
        self._engines = engines
        self._settings = settings
        self.agents = free_ports(servers)
        self.servers: List[ServerProcess] = []
        self.gateways: List[GatewayProcess] = []
        for agent in self.agents:
            self.servers.append(self._server(0, agent).__enter__())
        self.ports = [server.port for server in self.servers]
        self._gateway_ports = [dict(zip(("port", "wyoming_port"), free_ports(2))) for _ in range(gateways)]
        for ports in self._gateway_ports:
            self.gateways.append(self._gateway(ports).__enter__())

    def start_server(self, number: int) -> None:
        """Anew, once the one before has ended."""
        self.servers[number].close()
        self.servers[number] = self._server(self.ports[number], self.agents[number])
        self.servers[number].__enter__()

    def start_gateway(self, number: int) -> None:
        """Anew, once the one before has ended."""
        self.gateways[number].close()
        self.gateways[number] = self._gateway(self._gateway_ports[number])
        self.gateways[number].__enter__()

    def balancer(self, gateways: Sequence[int] = ()) -> Balancer:
        """A HAProxy before all servers, and the gateways at these ports."""
        return Balancer(self.ports, gateways, self._engines, self.agents)

    @property
    def wyoming_ports(self) -> List[int]:
        """Of the gateways."""
        return [ports["wyoming_port"] for ports in self._gateway_ports]

    def close(self) -> None:
        """End all."""
        for process in [*self.gateways, *self.servers]:
            process.close()

    def _server(self, port: int, agent: int) -> ServerProcess:
        settings: Dict[str, Dict[str, object]] = {name: dict(section) for name, section in self._settings.items()}
        settings.setdefault("model", {}).update(channel=self._engines)
        settings.setdefault("network", {}).update(port=port, engine_wait=5, stop_delay=_STOP_DELAY_S)
        settings["agent"] = {"port": agent}
        return ServerProcess(settings)

    def _gateway(self, ports: Dict[str, int]) -> GatewayProcess:
        return GatewayProcess(self.ports, dict(ports))
