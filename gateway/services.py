"""What every door is given."""

import ssl
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Callable, Iterator, Optional

from config.sections import Door, ServerConfig
from gateway.conversation import Conversation, Stream, Translator
from gateway.errors import Full, GatewayError
from gateway.health import HealthCheck
from gateway.keys import Keys
from gateway.line import IDLE_S, Line
from gateway.metrics import DoorFigures, Metrics
from gateway.upstream import Address, Upstream
from protocol.data import SessionOptions

_PATIENCE = 2  # times `model.hang_timeout`: until then, a server ends an engine that hangs and says so itself


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Services:
    """Shared by all doors; `at` makes those of one door.

    Attributes:
        open_port: where no key is asked for, as the clients that connect there have no place for one.
        has_room: whether who has just connected may be served.
        door: whose they are.
    """

    config: ServerConfig
    upstream: Upstream
    keys: Keys
    metrics: Metrics
    health: HealthCheck
    open_port: Optional[int] = None
    has_room: Callable[[], bool] = _always
    door: Optional[Door] = None

    def at(self, door: Door) -> "Services":
        """The same for that door."""
        return replace(self, door=door)

    @property
    def figures(self) -> DoorFigures:
        """Of the door."""
        assert self.door is not None  # doors are given their own
        return DoorFigures(self.metrics, self.door)

    def full(self) -> Full:
        """Why a client is not served for which there is no room."""
        return Full(f"{self.config.gateway.max_connections} clients are served already")

    @contextmanager
    def admission(self) -> Iterator[None]:
        """Around all that decides whether a client is served. What sends it away is counted.

        Raises:
            Full: there is no room for it.
        """
        try:
            if not self.has_room():
                raise self.full()
            yield
        except GatewayError as error:
            self.figures.refused(error)
            raise

    def line(self, options: SessionOptions, user: str) -> Line:
        """A line for one client; an engine is asked for with its first audio."""
        idle_s = min(IDLE_S, self.config.network.socket_timeout / 2)
        return Line(self.upstream, options, user, self.figures, idle_s)

    async def converse(self, stream: Stream, translator: Translator, options: SessionOptions, user: str) -> None:
        """Serve one client until it has left."""
        await Conversation(stream, self.line(options, user), translator).run()


def services_for(config: ServerConfig, tls: Optional[ssl.SSLContext] = None) -> Services:
    """Those of a configuration; `tls`: how to check the servers, None for connections in the clear."""
    gateway = config.gateway
    addresses = [Address(*address) for address in gateway.addresses]
    metrics = Metrics(gateway.doors, [address.setting for address in addresses])
    patience_s = _PATIENCE * config.model.hang_timeout
    upstream = Upstream(addresses, tls, metrics.server_failed, config.network.engine_wait, patience_s)
    return Services(config, upstream, Keys(gateway.api_keys), metrics, HealthCheck(upstream))
