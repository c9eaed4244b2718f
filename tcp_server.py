"""Sockets and wiring: the acceptor, its connections, start and stop.

acceptor ──▶ Connection (reader thread) ── Lease ──▶ engine
                 │                                     │
             PacketWriter (writer thread) ◀── results ─┘
"""

import argparse
import enum
import logging
import os
import queue
import resource
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Optional, Sequence, Set, Union

import logger
from asr_process import EnginePool
from boundary.settings import engine_settings
from config.reading import ConfigError, load_config
from config.sections import NetworkConfig, ServerConfig
from server import listening as activation
from server.admission import Admission, Refusals, Refused
from server.connection import Connection
from server.tls import TlsError, TlsFailed, TlsSettings, TlsSocket
from server.waiting import wait_ready
from server.writer import LINGER_S
from util import ErrorCode

_log = logging.getLogger(__name__)

_ACCEPT_RETRY_S = 1.0
_REFUSALS_INTERVAL_S = 60.0  # between two lines about clients that are sent away for the same reason
_LATE_REQUEST_S = 2.0  # for who has connected just before a stop, where a successor takes over

# Of a client: its socket, two to wake its reader, its recording. Of an engine: both its queues, while one replaces it.
_DESCRIPTORS_EACH = 4
_DESCRIPTORS_OWN = 64

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2

# --- the server ------------------------------------------------------------------------------


class Server:
    """The listening socket and the connections that came from it.

    Args:
        config: of the server.
        pool: the engines.
        inherited: listening already; it outlives this process. Otherwise one is made.

    Raises:
        TlsError: certificate or key cannot be used.
        OSError: when the address cannot be had.
    """

    def __init__(self, config: ServerConfig, pool: EnginePool, inherited: Optional[socket.socket]) -> None:
        self._config = config
        self._pool = pool
        self._tls = TlsSettings(config.network) if config.network.tls_cert else None
        self._admission = Admission(config.network)
        self._refusals = Refusals(_REFUSALS_INTERVAL_S)
        self._has_successor = inherited is not None
        self._listener = inherited or _bind(config.network.ip, config.network.port)
        self._stop_receiver, self._stop_sender = socket.socketpair()
        self._changed = threading.Condition()
        self._connections: Set[Connection] = set()
        self._accepted = 0
        self._acceptor = threading.Thread(target=self._accept_all, name="acceptor", daemon=True)

    def start(self) -> None:
        """Accept clients; raises OSError when another server took the address meanwhile."""
        if not self._has_successor:
            self._listener.listen(self._config.network.max_connections)
        self._acceptor.start()
        ip, port = self._listener.getsockname()[:2]
        _log.info("listening on %s port %d%s", ip, port, " with TLS" if self._tls else "")

    def stop(self) -> None:
        """Accept nobody more, let the sessions in progress end, and return when the last connection is closed."""
        self._stop_sender.send(b"!")
        if self._acceptor.ident is not None:
            self._acceptor.join()
        self._listener.close()
        if self._has_successor:  # nobody is refused: who was accepted just now can still ask, others wait in the queue
            self._wait_until_empty(_LATE_REQUEST_S)
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            connection.refuse_new_session(even_waiting=not self._has_successor)
        if not self._wait_until_empty(self._config.network.drain_timeout):
            with self._changed:
                connections = list(self._connections)
            for connection in connections:
                connection.cut_short(ErrorCode.SERVER_STOPPING, "the time to finish is over")
            self._wait_until_empty(self._config.model.hang_timeout + LINGER_S)
        self._stop_sender.close()
        self._stop_receiver.close()

    def _wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._connections, timeout_s)

    def _accept_all(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop_receiver in wait_ready([self._listener, self._stop_receiver], select.POLLIN, None)
            if stopping and self._has_successor:
                return
            try:
                # After the stop signal, whoever is already in the queue is told so rather than reset.
                while self._accept_one():
                    pass
            except Exception:
                _log.exception("the acceptor fails, and goes on")
                self._rest()

    def _accept_one(self) -> bool:
        """Accept a client if one waits."""
        try:
            sock, address = self._listener.accept()
        except BlockingIOError:
            return False
        except ConnectionError:  # that client left before it was accepted
            return True
        except OSError as error:
            with self._changed:
                self._warn(f"a client cannot be accepted: {error.strerror}")
            self._rest()
            return False
        self._admit(sock, address[0], f"{address[0]}:{address[1]}")
        return True

    def _rest(self) -> None:
        """Until a connection closes, a moment at most: a descriptor may be free then."""
        with self._changed:
            self._changed.wait(_ACCEPT_RETRY_S)

    def _admit(self, sock: socket.socket, host: str, peer: str) -> None:
        sock.setblocking(False)
        with self._changed:
            try:
                self._admission.enter(host)
            except Refused as error:
                sock.close()
                self._warn(str(error), f"client {peer} is turned away: ")
                return
            self._accepted += 1
            name = f"session {self._accepted} ({peer})"
            stream = TlsSocket(sock, self._tls) if self._tls else sock
            connection = Connection(stream, name, self._config, self._pool)
            self._connections.add(connection)
        try:
            threading.Thread(target=self._serve, args=(connection, host, peer), name=name, daemon=True).start()
        except RuntimeError as error:  # the machine has no room for another thread
            _log.error("%s cannot be served: %s", name, error)
            sock.close()
            self._forget(connection, host)

    def _serve(self, connection: Connection, host: str, peer: str) -> None:
        try:
            connection.run()
        except TlsFailed as error:
            with self._changed:
                self._warn(f"no TLS with it: {error}", f"client {peer} is turned away: ")
        finally:
            self._forget(connection, host)

    def _forget(self, connection: Connection, host: str) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._admission.leave(host)
            self._changed.notify_all()

    def _warn(self, reason: str, whom: str = "") -> None:
        """Log that a client is not served; not too often for one reason. With `_changed` held."""
        number = self._refusals.count(reason, time.monotonic())
        if number:
            others = f" ({number} clients since the last such line)" if number > 1 else ""
            _log.warning("%s%s%s", whom, reason, others)


def _bind(ip: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(ip, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


# --- start and stop --------------------------------------------------------------------------


class _Event(enum.Enum):
    """What the main thread waits for; a string beside these is the reason why no engine can be started."""

    READY = "every engine has loaded its model"
    SIGNAL = "SIGTERM or SIGINT"
    STOPPED = "the last connection is closed"


class _Events:
    """What happens to the server, for its main thread to wait for. Make it in the main thread.

    A signal may arrive in any thread, and a main thread that waits for a lock does not notice. So it waits for a
    socket, which Python's own signal handler writes to (`signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._queue: queue.SimpleQueue[Union[_Event, str]] = queue.SimpleQueue()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: None)
        signal.set_wakeup_fd(self._sender.fileno())

    def put(self, event: Union[_Event, str]) -> None:
        """Tell the main thread; from any thread."""
        self._queue.put(event)
        self._sender.send(b"\0")

    def get(self) -> Union[_Event, str]:
        """Wait for the next event."""
        byte = self._receiver.recv(1)
        return self._queue.get() if byte == b"\0" else _Event.SIGNAL  # of a signal, the byte is its number


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the server until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(description="Streaming speech-to-text server.")
    default = Path(__file__).resolve().parent / "config_vad.yaml"
    parser.add_argument("--config", type=Path, default=default, help="configuration file (default: %(default)s)")
    path = parser.parse_args(arguments).config
    os.umask(0o077)  # what people said is in the log (at debug) and in the recordings
    try:
        inherited = activation.take_listener()
        config = load_config(path)
        log = logger.ServerLog(config.logging.level, config.logging.log_path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except (logger.LogError, activation.ActivationError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    try:
        return _run(config, inherited)
    finally:
        log.stop()


def _run(config: ServerConfig, inherited: Optional[socket.socket]) -> int:
    _make_room(config)
    events = _Events()
    pool = EnginePool(engine_settings(config), config.logging.level, lambda: events.put(_Event.READY), events.put)
    try:
        server = Server(config, pool, inherited)
    except TlsError as error:
        _log.critical("%s", error)
        return EXIT_FAILED
    except (OSError, UnicodeError) as error:  # UnicodeError: an address that is none
        return _report_no_listener(config.network, error)
    pool.start()
    try:
        return _serve(config, server, events)
    finally:
        pool.stop()


def _make_room(config: ServerConfig) -> None:
    """Let this process open as many descriptors as its clients and engines may need, if it may."""
    needed = _DESCRIPTORS_EACH * (config.network.max_connections + config.model.channel) + _DESCRIPTORS_OWN
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        _log.warning(
            "network.max_connections: %d may need %d descriptors, %d may be opened; lower it, or raise ulimit -n",
            config.network.max_connections,
            needed,
            allowed,
        )


def _serve(config: ServerConfig, server: Server, events: _Events) -> int:
    event = events.get()
    if event is _Event.READY:
        try:
            server.start()
        except OSError as error:
            return _report_no_listener(config.network, error)
        event = events.get()
        _log.info("stopping: sessions in progress have %g s to finish", config.network.drain_timeout)
    status = EXIT_OK
    if isinstance(event, str):
        _log.critical("%s", event)
        status = EXIT_FAILED
    threading.Thread(target=_stop, args=(server, events), name="stopper", daemon=True).start()
    while True:
        event = events.get()
        if event is _Event.STOPPED:
            _log.info("stopped")
            return status
        if event is _Event.SIGNAL:
            _log.warning("stopped by a second signal, without waiting for sessions")
            return EXIT_FAILED


def _stop(server: Server, events: _Events) -> None:
    server.stop()
    events.put(_Event.STOPPED)


def _report_no_listener(network: NetworkConfig, error: Exception) -> int:
    reason = getattr(error, "strerror", None) or error
    _log.critical("network: cannot listen on %s port %d: %s", network.ip, network.port, reason)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
