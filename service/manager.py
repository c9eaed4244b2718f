"""What systemd, or whoever speaks its protocol, is told of a service (sd_notify(3)); nothing where nobody asks."""

import logging
import os
import socket
import threading
from typing import Callable, Optional

_log = logging.getLogger(__name__)

READY = "READY=1"
STOPPING = "STOPPING=1"
ALIVE = "WATCHDOG=1"


def tell(state: str) -> None:
    """Send one of the states above to the socket that NOTIFY_SOCKET names."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address  # @: Linux's abstract names
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), path)
    except OSError as error:
        _log.warning("NOTIFY_SOCKET: %s cannot be told %s: %s", address, state, error.strerror)


def alive_every_s() -> Optional[float]:
    """How often the manager wants to hear ALIVE: twice in the time after which it restarts us; None: not at all."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    if not limit_us.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit_us) / 2_000_000 or None


class Watchdog:
    """Says ALIVE as often as the manager wants it, as long as it is true. Nothing where the manager wants none.

    Args:
        is_alive: asked each time, in a thread of its own; a question that is never answered is not alive.
    """

    def __init__(self, is_alive: Callable[[], bool]) -> None:
        self._is_alive = is_alive
        self._stopped = threading.Event()

    def start(self) -> None:
        """From now on."""
        every_s = alive_every_s()
        if every_s is not None:
            threading.Thread(target=self._run, args=(every_s,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Say nothing more."""
        self._stopped.set()

    def _run(self, every_s: float) -> None:
        while True:
            if self._is_alive():
                tell(ALIVE)
            if self._stopped.wait(every_s):
                return
