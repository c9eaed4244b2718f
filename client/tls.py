"""A TLS connection that one thread reads while another writes."""

import errno
import os
import selectors
import socket
import ssl
import threading
from typing import Union


class TlsStream:
    """OpenSSL allows no reading beside writing, so each call holds a lock, and none waits with it.

    Either may have to do the other first, for a change of keys. A writer that has to read leaves it to the thread that
    is in `recv`: what it waits for might else be taken before it looks.
    """

    def __init__(self, secured: ssl.SSLSocket) -> None:
        secured.setblocking(False)
        self._secured = secured
        self._moved = threading.Condition()  # the connection, by reading
        self._ended = False  # nothing more is read

    def recv(self, size: int) -> bytes:
        """Block for some bytes; b"" at the end. Raises OSError."""
        while True:
            with self._moved:
                self._moved.notify_all()
                try:
                    data = self._secured.recv(size)
                    self._ended = not data
                    return data
                except ssl.SSLWantReadError:
                    wanted = selectors.EVENT_READ
                except ssl.SSLWantWriteError:
                    wanted = selectors.EVENT_WRITE
                except OSError:
                    self._ended = True
                    raise
            self._wait(wanted)

    def sendall(self, data: bytes) -> None:
        """Block until all of it is taken. Raises OSError."""
        rest = memoryview(data)
        while rest:
            with self._moved:
                try:
                    rest = rest[self._secured.send(rest) :]
                    continue
                except ssl.SSLWantWriteError:
                    pass
                except ssl.SSLWantReadError:
                    if self._ended:
                        raise _error(errno.ECONNABORTED) from None
                    self._moved.wait()
                    continue
            self._wait(selectors.EVENT_WRITE)

    def _wait(self, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self._secured, event)
            except ValueError:  # closed by another thread
                raise _error(errno.EBADF) from None
            selector.select()

    def shutdown(self, how: int) -> None:
        """As of a socket, and without a goodbye."""
        with self._moved:
            self._ended = True
            self._moved.notify_all()
        socket.socket.shutdown(self._secured, how)  # ssl's own would let the other thread read in the clear

    def close(self) -> None:
        """As of a socket."""
        self._secured.close()


Stream = Union[socket.socket, TlsStream]


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
