"""The acceptor: who connects gets a `Connection` and a thread."""

import contextlib
import enum
import logging
import select
import socket
import threading
import time
from typing import Optional, Set

from protocol.packets import ErrorCode
from server.admission import Admission, Refusals, Refused
from server.connection import LAST_WORDS_S, Connection, House
from server.listening import CannotListen, bind_for
from server.mailbox import Mailbox
from server.session import CutShort, EndNow, Message, NoNewSession
from server.stream import PlainStream
from server.tls import TlsFailed, TlsSettings, TlsStream

_log = logging.getLogger(__name__)

_ACCEPT_RETRY_S = 1.0
_REFUSALS_INTERVAL_S = 60.0  # between two lines about clients that are sent away for the same reason
_LATE_REQUEST_S = 2.0  # for who has connected just before a stop, where a successor takes over
_STOP, _WAKE = b"!", b"?"
_LONGEST_SAID = 4096  # at once
_ABANDON_S = 0.5  # for clients to be told that the server ends at once


class Stage(enum.Enum):
    """Whether clients are accepted."""

    STARTING = "not yet"
    ACCEPTING = "now"
    STOPPING = "no more"


class Acceptor:
    """The listening socket and the connections that came from it.

    Args:
        house: what the connections share.
        inherited: listening already; it outlives this process. Otherwise one is made.

    Attributes:
        stage: whether it accepts clients.

    Raises:
        TlsError: certificate or key cannot be used.
        CannotListen: the address cannot be had.
    """

    def __init__(self, house: House, inherited: Optional[socket.socket]) -> None:
        self._house = house
        self._config = config = house.config
        self.stage = Stage.STARTING
        self._tls = TlsSettings(config.network) if config.network.tls_cert else None
        self._admission = Admission(config.network)
        self._refusals = Refusals(_REFUSALS_INTERVAL_S)
        self._has_successor = inherited is not None
        self._listener = inherited or bind_for("network", config.network.ip, config.network.port)
        self._stop_receiver, self._stop_sender = socket.socketpair()
        self._changed = threading.Condition()
        self._connections: Set[Connection] = set()
        self._accepted = 0
        self._abandoned = threading.Event()
        self._came_round_s = 0.0  # when its thread was last asked to say so
        self._thread = threading.Thread(target=self._run, name="acceptor", daemon=True)

    def start(self) -> None:
        """Accept clients; raises CannotListen when another server took the address meanwhile."""
        network = self._config.network
        if not self._has_successor:
            try:
                self._listener.listen(network.max_connections)
            except OSError as error:
                raise CannotListen("network", network.ip, network.port, error) from error
        self._thread.start()
        self.stage = Stage.ACCEPTING
        ip, port = self._listener.getsockname()[:2]
        _log.info("listening on %s port %d%s", ip, port, " with TLS" if self._tls else "")

    def stop(self) -> None:
        """Accept nobody more, let the sessions in progress end, and return when the last connection is closed.

        Where balancers watch the server, they have `network.stop_delay` to notice before the first client is refused.
        """
        self.stage = Stage.STOPPING
        if self._thread.ident is not None:
            self._abandoned.wait(self._config.network.stop_delay)
        self._stop_sender.send(_STOP)
        if self._thread.ident is not None:
            self._thread.join()
        self._listener.close()
        if self._has_successor:  # nobody is refused: who was accepted just now can still ask, others wait in the queue
            self._wait_until_empty(_LATE_REQUEST_S)
        self._post(NoNewSession(even_waiting=not self._has_successor))
        if not self._wait_until_empty(self._config.network.drain_timeout):
            self._post(CutShort(ErrorCode.SERVER_STOPPING, "the time to finish is over"))
            self._wait_until_empty(self._config.model.hang_timeout + LAST_WORDS_S)

    def abandon(self) -> None:
        """The server ends at once: tell every client, and wait a moment for them to hear it."""
        self._abandoned.set()
        self._post(EndNow(ErrorCode.SERVER_STOPPING, "the server was told to end at once"))
        self._wait_until_empty(_ABANDON_S)

    def _post(self, message: Message) -> None:
        with self._changed:
            for connection in self._connections:
                connection.post(message)

    def _wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._connections, timeout_s)

    # --- for who asks whether clients are served

    @property
    def is_full(self) -> bool:
        """Whether there is no place for another connection."""
        with self._changed:
            return self._admission.is_full

    def responds(self, timeout_s: float) -> bool:
        """Whether its thread comes round within that time; also where it has none, before and after."""
        if self.stage is not Stage.ACCEPTING:
            return True
        asked_s = time.monotonic()
        with contextlib.suppress(BlockingIOError):  # full of questions: it has enough to answer
            self._stop_sender.send(_WAKE, socket.MSG_DONTWAIT)
        if not self._changed.acquire(timeout=timeout_s):
            return False
        try:
            return self._changed.wait_for(
                lambda: self._came_round_s >= asked_s or self.stage is not Stage.ACCEPTING, timeout_s
            )
        finally:
            self._changed.release()

    # --- accepting, in a thread of its own

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._listener.fileno(), select.POLLIN)
        poll.register(self._stop_receiver.fileno(), select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._stop_receiver.fileno() in ready and self._is_told_to_stop():
                break
            if self._listener.fileno() in ready:
                self._try_to_accept()
        if not self._has_successor:
            # Who is in the queue by now is told rather than reset. It holds no more, and others may come for ever.
            for _ in range(self._config.network.max_connections + 1):
                if not self._try_to_accept():
                    break

    def _is_told_to_stop(self) -> bool:
        said = self._stop_receiver.recv(_LONGEST_SAID)
        with self._changed:
            self._came_round_s = time.monotonic()
            self._changed.notify_all()
        return _STOP in said

    def _try_to_accept(self) -> bool:
        """Accept a client if one waits; returns whether another may."""
        try:
            return self._accept()
        except Exception:
            _log.exception("the acceptor fails, and goes on")
            self._rest()
            return True

    def _accept(self) -> bool:
        try:
            mailbox: Mailbox[Message] = Mailbox()  # first: who cannot be served waits in the queue
        except OSError as error:
            self._put_off(error)
            return False
        try:
            sock, address = self._listener.accept()
        except OSError as error:
            mailbox.close()
            if isinstance(error, ConnectionError):  # that client left before it was accepted
                return True
            if not isinstance(error, BlockingIOError):
                self._put_off(error)
            return False
        self._admit(sock, mailbox, address[0], f"{address[0]}:{address[1]}")
        return True

    def _put_off(self, error: OSError) -> None:
        """The machine has no room for a client now: wait until a connection closes, a moment at most."""
        with self._changed:
            self._warn(f"a client cannot be accepted: {error.strerror}")
        self._rest()

    def _rest(self) -> None:
        with self._changed:
            self._changed.wait(_ACCEPT_RETRY_S)

    def _admit(self, sock: socket.socket, mailbox: Mailbox[Message], host: str, peer: str) -> None:
        """Give the client its connection, or turn it away."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        with self._changed:
            try:
                self._admission.enter(host)
            except Refused as error:
                sock.close()
                mailbox.close()
                self._warn(str(error), f"client {peer} is turned away: ")
                self._house.metrics.refused(error.cause)
                return
            self._accepted += 1
            stream = TlsStream(sock, self._tls) if self._tls else PlainStream(sock)
            connection = Connection(stream, mailbox, self._accepted, peer, self._house)
            self._connections.add(connection)
        try:
            thread = threading.Thread(
                target=self._serve, args=(connection, host, peer), name=connection.name, daemon=True
            )
            thread.start()
        except RuntimeError as error:  # the machine has no room for another thread
            _log.error("%s cannot be served: %s", connection.name, error)
            self._house.metrics.refused("no_room")
            connection.close()
            self._forget(connection, host)

    def _serve(self, connection: Connection, host: str, peer: str) -> None:
        try:
            connection.run()
        except TlsFailed as error:
            self._house.metrics.refused("tls")
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
