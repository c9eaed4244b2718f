"""A bell for each engine, which any process of the server rings: datagrams to names that no file system has (unix(7)).

Not multiprocessing's semaphores: their time-outs follow the wall clock, each new engine opens those of all others by
name, and these names go when systemd cleans up behind the user (`RemoveIPC=`).
"""

import contextlib
import secrets
import socket
import time
from typing import Any, Dict, Optional, Tuple

_RINGS_AT_ONCE = 1024  # more than a socket holds (net.unix.max_dgram_qlen, 512 where systemd has set it)


class Bells:
    """Of the engines, by number; where a copy of it is unpickled, the same ones."""

    def __init__(self, name: Optional[str] = None) -> None:
        self._name = name or f"\0stt-engines-{secrets.token_hex(8)}"
        self._heard: Dict[int, socket.socket] = {}  # those of this process's own engines
        self._ringer: Optional[socket.socket] = None

    def __reduce__(self) -> Tuple[Any, Tuple[str]]:
        return Bells, (self._name,)

    def ring(self, engine: int) -> None:
        """Wake the engine, or let it not fall asleep; one that is not there hears nothing."""
        with contextlib.suppress(OSError):  # nobody listens, its socket is full of rings, or no descriptor is left
            if self._ringer is None:
                self._ringer = _datagrams()
            self._ringer.sendto(b"!", socket.MSG_DONTWAIT, f"{self._name}-{engine}")

    def wait(self, engine: int, timeout_s: float) -> bool:
        """Until the engine's bell rings, or so long; returns whether it has. Of one engine, one process listens."""
        bell = self._bell_of(engine)
        if bell is None:
            time.sleep(timeout_s)
            return False
        bell.settimeout(timeout_s)
        try:
            return bool(bell.recv(1))
        except socket.timeout:
            return False

    def forget(self, engine: int) -> None:
        """Listen from now on; what has rung so far counts no more."""
        bell = self._bell_of(engine)
        if bell is None:
            return
        bell.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(_RINGS_AT_ONCE):
                bell.recv(1)

    def _bell_of(self, engine: int) -> Optional[socket.socket]:
        """None where there can be none now: the engine is deaf, and looks for itself."""
        if engine not in self._heard:
            try:
                bell = _datagrams()
            except OSError:  # no descriptor is left
                return None
            with contextlib.suppress(OSError):  # whoever had the name before still has it
                bell.bind(f"{self._name}-{engine}")
            self._heard[engine] = bell
        return self._heard[engine]


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
