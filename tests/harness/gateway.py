"""A gateway process of one's own: on free ports of 127.0.0.1, in a temporary folder."""

import os
from typing import Any, Dict, Mapping, Optional, Sequence

from tests.harness.server import PROJECT, ServerProcess, Settings

_PORTS = ("port", "vosk_port", "wyoming_port")


class GatewayProcess(ServerProcess):
    """`python -m gateway` before servers; entering the context waits until it listens.

    Args:
        servers: the ports of 127.0.0.1 that they listen on.
        gateway: settings of the section `gateway` that differ from the defaults.
        settings: of the other sections.
        environment: in place of this process's.
    """

    program = ("-m", "gateway")

    def __init__(
        self,
        servers: Sequence[int],
        gateway: Optional[Mapping[str, Any]] = None,
        settings: Optional[Settings] = None,
        environment: Optional[Mapping[str, str]] = None,
    ) -> None:
        section: Dict[str, Any] = {"servers": [f"127.0.0.1:{port}" for port in servers], **dict.fromkeys(_PORTS, 0)}
        section.update(gateway or {})
        super().__init__(
            {**(settings or {}), "gateway": section}, {**(environment or os.environ), "PYTHONPATH": str(PROJECT)}
        )

    def url(self, path: str = "/", scheme: str = "http") -> str:
        """Where a door is."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def port_of(self, door: str) -> int:
        """The port of a door that has one of its own: `vosk` or `wyoming`."""
        return int(self.wait_for_line(rf"{door} listening on \S+ port (\d+)").group(1))
