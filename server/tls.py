"""TLS between a client and the server, by the standard library's `ssl` and its defaults (TLS 1.2 and later).

Errors:
    TlsError    certificate, key or list of authorities cannot be used; the text is one line
    TlsFailed   a client and the server do not agree on keys; the text says why
"""

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
from typing import Optional, Tuple, Union

from config.sections import NetworkConfig
from server.waiting import Deadline, wait_ready

_log = logging.getLogger(__name__)

_Stamp = Optional[Tuple[int, int, int]]  # of a file: what changes when it is written anew


class TlsError(Exception):
    """Certificate, key or list of authorities cannot be used; the text is one line for who configured them."""


class TlsFailed(Exception):
    """No keys were agreed on with a client; the text says why."""


class TlsSettings:
    """What the server shows to clients, and asks of them; read again when the files change, as certificates expire.

    Raises:
        TlsError: a file cannot be used.
    """

    def __init__(self, network: NetworkConfig) -> None:
        self._network = network
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self._context = _load(network)

    def context(self) -> ssl.SSLContext:
        """For a new connection; files that have become unusable leave the last good one."""
        with self._lock:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                try:
                    self._context = _load(self._network)
                    _log.info("network.tls_cert: the new certificate is in use")
                except TlsError as error:
                    _log.error("%s; the certificate from before stays in use", error)
            return self._context

    def _stamps(self) -> Tuple[_Stamp, ...]:
        return tuple(_stamp(path) for path in _files(self._network))


def _files(network: NetworkConfig) -> Tuple[str, ...]:
    return tuple(path for path in (network.tls_cert, network.tls_key, network.tls_client_ca) if path)


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _load(network: NetworkConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(network.tls_cert, network.tls_key or None, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        where = f"network.tls_cert: {network.tls_cert}"
        where += f" with network.tls_key: {network.tls_key}" if network.tls_key else ""
        raise TlsError(f"{where}: {_reason(error)}; expected PEM, a certificate and its key") from error
    if network.tls_client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(network.tls_client_ca)
        except (OSError, ValueError) as error:
            where = f"network.tls_client_ca: {network.tls_client_ca}"
            raise TlsError(f"{where}: {_reason(error)}; expected PEM certificates") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and a server has nobody to ask")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


class TlsSocket:
    """The TLS side of a non-blocking socket, which one thread may read while another writes.

    OpenSSL allows neither at once, so each call holds a lock; none blocks but the handshake.
    """

    def __init__(self, sock: socket.socket, settings: TlsSettings) -> None:
        self._socket = sock
        self._settings = settings
        self._lock = threading.Lock()
        self._secured: Optional[ssl.SSLSocket] = None  # once keys are agreed on
        self._closing = False  # nothing more is sent, and nothing that comes matters
        self._ended = False  # the client has said goodbye, or sent what cannot be decrypted

    def handshake(self, deadline: Deadline) -> None:
        """Agree on keys; before that nothing can be sent. Raises TlsFailed."""
        try:
            with self._lock:
                context = self._settings.context()
                secured = context.wrap_socket(self._socket, server_side=True, do_handshake_on_connect=False)
                self._socket = secured
            while not self._shake_hands(secured, deadline):
                pass
        except (OSError, ValueError) as error:
            raise TlsFailed(_reason(error)) from error

    def _shake_hands(self, secured: ssl.SSLSocket, deadline: Deadline) -> bool:
        """One step; returns whether it was the last."""
        try:
            with self._lock:
                secured.do_handshake()
                self._secured = secured
            return True
        except ssl.SSLWantReadError:
            wanted = select.POLLIN
        except ssl.SSLWantWriteError:
            wanted = select.POLLOUT
        if not wait_ready([self], wanted, deadline.remaining_s()):
            raise TlsFailed("the handshake was not completed in time")
        return False

    def fileno(self) -> int:
        """For poll, which tells the truth: neither decrypted bytes nor the end of them is left in here unseen."""
        return self._socket.fileno()

    def recv(self, size: int) -> bytes:
        """About `size` bytes; raises BlockingIOError when there are none, OSError."""
        with self._lock:
            if self._closing or self._secured is None:
                return socket.socket.recv(self._socket, size)
            return b"" if self._ended else self._read(self._secured, size)

    def _read(self, secured: ssl.SSLSocket, size: int) -> bytes:
        """Until nothing more has come, or about `size` bytes: never a part of what has been decrypted."""
        received = bytearray()
        try:
            while len(received) < size or secured.pending():
                data = secured.recv(max(size - len(received), secured.pending()))
                if not data:
                    self._end()
                    break
                received += data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not received:
                raise BlockingIOError from None
        except OSError:
            self._end()
        return bytes(received)

    def _end(self) -> None:
        """Nothing more will be read; from now on poll says so, as at the end of a stream."""
        self._ended = True
        with contextlib.suppress(OSError):  # it is disconnected already
            socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def send(self, data: Union[bytes, memoryview]) -> int:
        """Returns how much was taken; raises BlockingIOError when nothing can be, OSError."""
        with self._lock:
            if self._secured is None:
                raise ConnectionError("the TLS handshake is not done")
            try:
                return self._secured.send(data)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise BlockingIOError from None

    def shutdown(self, how: int) -> None:
        """Say goodbye to the client, then as of a socket."""
        with self._lock:
            if not self._closing and self._secured is not None:
                self._closing = True
                _say_goodbye(self._secured)
            socket.socket.shutdown(self._socket, how)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """As of a socket."""
        self._socket.setsockopt(level, option, value)

    def close(self) -> None:
        """As of a socket."""
        self._socket.close()


def _say_goodbye(secured: ssl.SSLSocket) -> None:
    """Send close_notify; the client's is not waited for."""
    with contextlib.suppress(OSError, ValueError):  # the client's is still to come, or it is gone
        secured.unwrap()


Stream = Union[socket.socket, TlsSocket]
