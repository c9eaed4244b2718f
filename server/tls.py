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
from typing import Optional, Tuple

from config.sections import NetworkConfig

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


class TlsStream:
    """The TLS side of a client's socket; for one thread. No call blocks."""

    def __init__(self, sock: socket.socket, settings: TlsSettings) -> None:
        self._socket = sock
        self._settings = settings
        self._secured: Optional[ssl.SSLSocket] = None
        self._has_keys = False
        self._finished = False  # nothing more is sent, and nothing that comes matters
        self._ended = False  # the client has said goodbye, or sent what cannot be decrypted
        self.reading_needs = select.POLLIN
        self.writing_needs = select.POLLOUT

    def fileno(self) -> int:
        """For poll, which tells the truth: neither decrypted bytes nor the end of them is left in here unseen."""
        return self._socket.fileno()

    def shake_hands(self) -> bool:
        """Agree on keys, as far as `reading_needs` lets; returns whether they are agreed on. Raises TlsFailed."""
        try:
            if self._secured is None:
                self._secured = self._settings.context().wrap_socket(
                    self._socket, server_side=True, do_handshake_on_connect=False
                )
                self._socket = self._secured
            self._secured.do_handshake()
            self._has_keys = True
            self.reading_needs = select.POLLIN
        except ssl.SSLWantReadError:
            self.reading_needs = select.POLLIN
        except ssl.SSLWantWriteError:
            self.reading_needs = select.POLLOUT
        except (OSError, ValueError) as error:
            raise TlsFailed(_reason(error)) from error
        return self._has_keys

    def recv(self, n_bytes: int) -> Optional[bytes]:
        """About so many bytes; b"" at the end, None while there are none. Raises OSError."""
        if self._finished or self._secured is None or not self._has_keys:
            try:
                return socket.socket.recv(self._socket, n_bytes)
            except BlockingIOError:
                return None
        return b"" if self._ended else self._read(self._secured, n_bytes)

    def _read(self, secured: ssl.SSLSocket, n_bytes: int) -> Optional[bytes]:
        """Until nothing more has come, or about `n_bytes`: never a part of what has been decrypted."""
        received = bytearray()
        self.reading_needs = select.POLLIN
        try:
            while len(received) < n_bytes or secured.pending():
                data = secured.recv(max(n_bytes - len(received), secured.pending()))
                if not data:
                    self._end()
                    break
                received += data
        except ssl.SSLWantReadError:
            return bytes(received) or None
        except ssl.SSLWantWriteError:  # of a change of keys
            self.reading_needs = select.POLLOUT
            return bytes(received) or None
        except OSError:
            self._end()
        return bytes(received)

    def _end(self) -> None:
        """Nothing more will be read; from now on poll says so, as at the end of a stream."""
        self._ended = True
        with contextlib.suppress(OSError):  # it is disconnected already
            socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def send(self, data: bytes) -> int:
        """Returns how much was taken, 0 while nothing can be. Raises OSError."""
        if self._secured is None or not self._has_keys:
            raise ConnectionError("the TLS handshake is not done")
        self.writing_needs = select.POLLOUT
        try:
            return self._secured.send(data)
        except ssl.SSLWantReadError:
            self.writing_needs = select.POLLIN
        except ssl.SSLWantWriteError:
            pass
        return 0

    def finish(self) -> None:
        """Say goodbye: no more is sent. The client's goodbye is not waited for. Raises OSError."""
        self._finished = True
        if self._secured is not None and self._has_keys:
            with contextlib.suppress(OSError, ValueError):  # the client's is still to come, or it is gone
                self._secured.unwrap()
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
