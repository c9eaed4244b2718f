"""A client's socket in the clear, as `server/tls.py` has it encrypted."""

import select
import socket
from typing import Optional, Union

from server.tls import TlsStream


class PlainStream:
    """A non-blocking socket. No call blocks."""

    reading_needs = select.POLLIN
    writing_needs = select.POLLOUT

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """For poll."""
        return self._socket.fileno()

    def shake_hands(self) -> bool:
        """There is nothing to agree on."""
        return True

    def recv(self, n_bytes: int) -> Optional[bytes]:
        """At most so many bytes; b"" at the end, None while there are none. Raises OSError."""
        try:
            return self._socket.recv(n_bytes)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> int:
        """Returns how much was taken, 0 while nothing can be. Raises OSError."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def finish(self) -> None:
        """No more is sent. Raises OSError."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


Stream = Union[PlainStream, TlsStream]
