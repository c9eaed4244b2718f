"""Who may connect, and how many at once. Pure state: knows addresses, no sockets.

Errors:
    Refused   this client is closed unread; the text says why
"""

import ipaddress
from collections import Counter
from typing import Counter as CounterType
from typing import Dict, Union

from config.sections import NetworkConfig

_Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# What one subscriber is given (RFC 6177): whoever has one IPv6 address has all of these.
_IPV6_SUBSCRIBER_BITS = 64


class Refused(Exception):
    """The client is closed unread; the text says why, `cause` in one word."""

    def __init__(self, reason: str, cause: str) -> None:
        super().__init__(reason)
        self.cause = cause


class Admission:
    """Counts the connections that are open, and admits others. Not for several threads at once."""

    def __init__(self, network: NetworkConfig) -> None:
        self._network = network
        self._allowed = [ipaddress.ip_network(text) for text in network.allow]
        self._total = 0
        self._open: CounterType[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether nobody may enter for now, whoever it is."""
        return self._total >= self._network.max_connections

    def enter(self, host: str) -> None:
        """One more connection from `host`, an address as text; raises Refused."""
        address = _parse(host)
        if self._allowed and not any(address in network for network in self._allowed):
            raise Refused("network.allow does not list its address", "not_allowed")
        if self.is_full:
            raise Refused("network.max_connections is reached", "max_connections")
        subscriber = _subscriber(address)
        if 0 < self._network.max_per_ip <= self._open[subscriber]:
            raise Refused("network.max_per_ip is reached", "max_per_ip")
        self._open[subscriber] += 1
        self._total += 1

    def leave(self, host: str) -> None:
        """One connection of `host` that has entered is closed."""
        subscriber = _subscriber(_parse(host))
        self._open[subscriber] -= 1
        self._total -= 1
        if not self._open[subscriber]:
            del self._open[subscriber]


def _parse(host: str) -> _Address:
    """The address; an IPv4 client of an IPv6 socket is an IPv4 client."""
    address = ipaddress.ip_address(host.partition("%")[0])  # without the zone of a link-local address
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _subscriber(address: _Address) -> str:
    """Whose address it is."""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((int(address), _IPV6_SUBSCRIBER_BITS), strict=False))


class Refusals:
    """Counts clients that were sent away, so that they do not fill the log.

    Args:
        interval_s: between two lines for one reason.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_s: Dict[str, float] = {}
        self._untold: CounterType[str] = Counter()

    def count(self, reason: str, now_s: float) -> int:
        """One more; returns how many there were since the last line, this one included, or 0: no line yet."""
        self._untold[reason] += 1
        if now_s < self._next_s.get(reason, now_s):
            return 0
        self._next_s[reason] = now_s + self._interval_s
        return self._untold.pop(reason)
