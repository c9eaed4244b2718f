"""Waiting with a time limit: for sockets, and for the server while the client may leave."""

import contextlib
import select
import socket
import time
from typing import Callable, List, Optional, Sequence, TypeVar

from typing_extensions import Protocol

_WAKE_UP_BYTES = 4096  # as many wake-ups at once


class Pollable(Protocol):
    """A socket, or what stands for one."""

    def fileno(self) -> int:
        """Its descriptor."""


_Pollable = TypeVar("_Pollable", bound=Pollable)


class ClientLeft(Exception):
    """The client has closed its connection."""


class TimedOut(Exception):
    """The client took too long; the text says for what."""


class Deadline:
    """One time limit through several steps."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self._end_s - time.monotonic())


def wait_ready(sockets: Sequence[_Pollable], events: int, timeout_s: Optional[float]) -> List[_Pollable]:
    """Those of `sockets` on which `events` (or an error) happened within the time; any number of descriptors."""
    poller = select.poll()
    for sock in sockets:
        poller.register(sock.fileno(), events)
    ready = {fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)}
    return [sock for sock in sockets if sock.fileno() in ready]


class Waiter:
    """Lets a client's reader wait for something in the server, and notice when its client leaves meanwhile."""

    def __init__(self, client: Pollable) -> None:
        self._client = client
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        """Make the reader look again; from any thread, never blocks."""
        with contextlib.suppress(OSError):  # woken often enough already, or closed: nobody waits
            self._sender.send(b"!")

    def wait_until(self, condition: Callable[[], bool], deadline: Optional[Deadline] = None) -> bool:
        """Wait for `condition()`, which is tried at once and after each `wake`; False when the time is over.

        Raises:
            ClientLeft: also when bytes of the client are still unread.
        """
        while not condition():
            poller = select.poll()
            poller.register(self._receiver, select.POLLIN)
            poller.register(self._client.fileno(), select.POLLRDHUP)
            ready = poller.poll(None if deadline is None else deadline.remaining_s() * 1000)
            if not ready:
                return condition()
            if any(fd == self._client.fileno() for fd, _ in ready):
                raise ClientLeft
            self._receiver.recv(_WAKE_UP_BYTES)
        return True

    def close(self) -> None:
        """Nobody waits or wakes any more."""
        self._receiver.close()
        self._sender.close()
