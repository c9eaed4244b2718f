"""A service manager that listens to what it is told (sd_notify(3))."""

import os
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Dict, Optional, Type

_LONGEST_S = 60.0


class Manager:
    """The socket that NOTIFY_SOCKET names."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stt-manager-")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._address = str(Path(self._folder.name) / "notify")
        self._socket.bind(self._address)
        self._socket.settimeout(_LONGEST_S)

    def __enter__(self) -> "Manager":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._socket.close()
        self._folder.cleanup()

    def environment(self, watchdog_s: float = 0) -> Dict[str, str]:
        """Of a service that it starts; `watchdog_s`: it must say within that time that it lives."""
        watchdog = {"WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))} if watchdog_s else {}
        return {**os.environ, "NOTIFY_SOCKET": self._address, **watchdog}

    def hear(self) -> str:
        """The next that it is told."""
        return self._socket.recv(4096).decode()

    def hear_other_than(self, said: str) -> str:
        """The next that is something else."""
        return next(heard for heard in iter(self.hear, "") if heard != said)
