"""Sockets and wiring: the acceptor, one client's reader and writer, start and stop.

    acceptor ──▶ Connection (reader thread) ── Lease ──▶ engine
                     │                                     │
                 PacketWriter (writer thread) ◀── results ─┘

A connection is ended once, by whoever is first: its reader, its engine's keeper, or the server that stops. Whoever
it is queues the last packets; the writer sends them, closes its direction, and lets the client read them before
the socket goes.
"""

import argparse
import contextlib
import enum
import errno
import logging
import os
import queue
import re
import select
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import BinaryIO, Callable, List, Optional, Sequence, Set, Union

from pydantic import Field
from typing_extensions import Literal

import logger
from asr_process import EnginePool, Lease, LeaseOver, Ticket
from engine.config import ASRConfig, ConfigError, Section, load_config
from engine.messages import CHUNK_BYTES, Recognized
from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    EngineRequested,
    ErrorCode,
    Event,
    MagicMismatch,
    ProtocolError,
    ServerProtocol,
    State,
    cut_utf8,
    error_packet,
    loggable,
    result_packet,
    status_packet,
    welcome_packet,
)

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * 1024
_HIGH_WATER_BYTES = 256 * 1024  # of packets a client has not read, from which on it is not listened to either
_LINGER_S = 2.0  # for the client to read the last packets, before what it still sends makes the kernel reset
_JUST_LEFT_S = 0.2  # a client that leaves and comes back at once can be faster than the news that it left
_CLEARING_UP_S = 0.7  # an engine whose client has left is worth this long a wait
_ACCEPT_RETRY_S = 1.0

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2


class NetworkConfig(Section):
    """Where clients connect, and how long anything may take; times in seconds."""

    ip: str = "127.0.0.1"
    port: int = Field(5000, ge=0, le=65535)  # 0: any free one, named in the log
    socket_timeout: float = Field(60, gt=0)
    engine_wait: float = Field(0, ge=0)
    max_connections: int = Field(256, ge=1)
    drain_timeout: float = Field(30, ge=0)


class LoggingConfig(Section):
    """The log, and recordings of what clients send."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_path: str = "./log/stt_log"
    save_pcm: bool = False
    pcm_path: str = "./data"


class ServerConfig(ASRConfig):
    """Everything that the configuration file holds."""

    network: NetworkConfig = NetworkConfig()
    logging: LoggingConfig = LoggingConfig()


class ClientLeft(Exception):
    """The client has closed its connection."""


# --- time and sockets ------------------------------------------------------------------------


class Deadline:
    """One time limit through several steps."""

    def __init__(self, timeout_s: float) -> None:
        self._end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self._end_s - time.monotonic())


def _wait_ready(sockets: Sequence[socket.socket], events: int, timeout_s: Optional[float]) -> List[socket.socket]:
    """Those of `sockets` on which `events` (or an error) happened within the time; any number of descriptors."""
    poller = select.poll()
    for sock in sockets:
        poller.register(sock, events)
    ready = {fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)}
    return [sock for sock in sockets if sock.fileno() in ready]


class Waiter:
    """Lets a client's reader wait for something in the server, and notice when its client leaves meanwhile."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)

    def wake(self) -> None:
        """Make the reader look again; from any thread, never blocks."""
        with contextlib.suppress(OSError):  # woken often enough already, or closed: nobody waits
            self._sender.send(b"!")

    def wait_until(self, condition: Callable[[], bool], deadline: Optional["Deadline"] = None) -> bool:
        """Wait for `condition()`, which is tried at once and after each `wake`; False when the time is over.

        Raises:
            ClientLeft: also when bytes of the client are still unread.
        """
        while not condition():
            poller = select.poll()
            poller.register(self._receiver, select.POLLIN)
            poller.register(self._client, select.POLLRDHUP)
            ready = poller.poll(None if deadline is None else deadline.remaining_s() * 1000)
            if not ready:
                return condition()
            if any(fd == self._client.fileno() for fd, _ in ready):
                raise ClientLeft
            self._receiver.recv(_RECEIVE_BYTES)
        return True

    def close(self) -> None:
        """Nobody waits or wakes any more."""
        self._receiver.close()
        self._sender.close()


class PacketWriter:
    """Everything that one client is sent, in order, from a thread of its own.

    Args:
        sock: non-blocking.
        timeout_s: a client that takes nothing for so long is cut off.
        name: of the thread.
        on_room: called, in that thread, when what was queued has been sent.
    """

    def __init__(self, sock: socket.socket, timeout_s: float, name: str, on_room: Callable[[], None]) -> None:
        self._socket = sock
        self._on_room = on_room
        self._timeout_s = timeout_s
        self._name = name
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._finished = False
        self._broken = False
        self._reader_done = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def send(self, packet: bytes) -> None:
        """Queue a packet; never blocks. After `finish` it is dropped."""
        with self._changed:
            if not self._finished:
                self._pending += packet
                self._wake()

    def finish(self, packets: bytes = b"") -> None:
        """Queue the last packets: when they are sent, the client reads the end of the stream."""
        with self._changed:
            if not self._finished:
                self._pending += packets
                self._finished = True
                if self._pending or self._thread is not None:
                    self._wake()

    def has_room(self) -> bool:
        """Whether the client has not too much unread: who does not listen is not listened to."""
        return len(self._pending) < _HIGH_WATER_BYTES or self._broken

    def close(self) -> None:
        """The reader is done: wait for the thread to send what it can."""
        self._reader_done.set()
        self.finish()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:  # most strangers never get an answer, so never cost a thread
            self._thread = threading.Thread(target=self._run, name=f"{self._name}-writer", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._send_pending():
                pass
            self._socket.shutdown(socket.SHUT_WR)
            self._reader_done.wait(_LINGER_S)
        except OSError:  # the client is gone, or takes nothing; a TimeoutError is one too
            with self._changed:
                self._broken = self._finished = True
        finally:
            self._on_room()
            self._wake_reader()

    def _send_pending(self) -> bool:
        """Send what is queued; False when it was the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._finished)
            packets, self._pending = self._pending, bytearray()
            last = self._finished
        self._send_all(memoryview(packets))
        self._on_room()
        return not last

    def _send_all(self, data: memoryview) -> None:
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not _wait_ready([self._socket], select.POLLOUT, self._timeout_s):
                    raise TimeoutError from None

    def _wake_reader(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # already disconnected, so the reader knows
                raise


# --- recordings ------------------------------------------------------------------------------

_NAME_BYTES = 100


class Recording:
    """What one session sent, byte for byte, in a file of its own.

    A disk that fails ends the recording, not the session.
    """

    def __init__(self, folder: str, user: str) -> None:
        self._user = user
        self._file: Optional[BinaryIO] = None
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._file = _create_recording(Path(folder), _file_name_part(user))
        except OSError as error:
            self._give_up(error)

    def write(self, pcm: bytes) -> None:
        """Append audio."""
        if self._file is not None:
            try:
                self._file.write(pcm)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """No more audio."""
        if self._file is not None:
            self._file.close()

    def _give_up(self, error: OSError) -> None:
        _log.error("the recording of user %s ends: logging.pcm_path: %s", loggable(self._user), error.strerror)
        if self._file is not None:
            self._file.close()
            self._file = None


def _create_recording(folder: Path, user: str) -> BinaryIO:
    """A new file, also where several sessions of one user begin in the same second."""
    date, clock = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    number = 1
    while True:
        name = f"{date}_{user}_{clock}.pcm" if number == 1 else f"{date}_{user}_{clock}-{number}.pcm"
        try:
            return open(folder / name, "xb", buffering=0)
        except FileExistsError:
            number += 1


def _file_name_part(user: str) -> str:
    """A user id from the network, made fit to be part of a file name: letters, digits, `_` and `-`, not too long."""
    harmless = re.sub(r"[^\w-]", "_", user)
    return cut_utf8(harmless, _NAME_BYTES).decode("utf-8") or "unknown"


# --- one client ------------------------------------------------------------------------------


class Connection:
    """One client from accept to close. The thread that calls `run` is its reader; it is its session's SessionSink."""

    def __init__(self, sock: socket.socket, name: str, config: ServerConfig, pool: EnginePool) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.name = name
        self._socket = sock
        self._config = config
        self._pool = pool
        self._protocol = ServerProtocol()
        self._writer = PacketWriter(sock, config.network.socket_timeout, name, self.on_room)
        self._waiter: Optional[Waiter] = None  # from the moment an engine is asked for
        self._unit_deadline: Optional[Deadline] = Deadline(config.network.socket_timeout)  # handshake, then a packet
        self._ending = threading.Lock()
        self._outcome: Optional[str] = None  # how it ended; set once
        self._lease: Optional[Lease] = None
        self._user = ""
        self._recording: Optional[Recording] = None
        self._audio_bytes = 0
        self._segments = 0
        self._busy_s = 0.0
        self._stopping = False
        self._cut_short = False

    def run(self) -> None:
        """Serve the client until it is gone."""
        try:
            while self._read_once():
                pass
            self._end("the client went away")
        except ClientLeft:
            self._end("the client went away")
        except MagicMismatch:
            self._end("the client speaks something else")
        except Exception:
            _log.exception("%s: the connection fails", self.name)
        finally:
            self._close()

    def _close(self) -> None:
        self._end("the connection failed")
        self._writer.close()
        if self._waiter is not None:
            self._waiter.close()
        self._socket.close()
        if self._recording is not None:
            self._recording.close()
        if self._lease is not None:
            self._log_session_end(self._lease)

    # --- reading

    def _read_once(self) -> bool:
        """Read and act on it; False when there is nothing more to read."""
        try:
            data = self._receive()
        except TimeoutError as error:
            self._fail(ErrorCode.TIMEOUT, str(error))
            return True
        except OSError:  # reset by the client
            return False
        if data and self._outcome is None:
            self._take(data)
        return bool(data)

    def _receive(self) -> bytes:
        """The next bytes; b"" at the end. Raises TimeoutError with the reason."""
        while True:
            if not _wait_ready([self._socket], select.POLLIN, self._timeout_s()):
                if self._protocol.handshaking:
                    raise TimeoutError("the handshake was not completed in time")
                raise TimeoutError("no complete packet in time" if self._protocol.mid_packet else "nothing received")
            try:
                return self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue

    def _timeout_s(self) -> Optional[float]:
        if self._outcome is not None or self._protocol.state is State.FINISHING:
            return None
        limit_s = self._config.network.socket_timeout
        return limit_s if self._unit_deadline is None else min(limit_s, self._unit_deadline.remaining_s())

    def _take(self, data: bytes) -> None:
        packets_before = self._protocol.packets
        try:
            self._protocol.receive(data)
            self._act()
        except MagicMismatch:
            raise
        except ProtocolError as error:
            self._fail(ErrorCode.ILLEGAL_PACKET, str(error))
        except LeaseOver:
            pass  # the engine failed or the server stops: whoever ended the lease ends the session
        if not self._protocol.handshaking:
            self._restart_deadline(new_packet=self._protocol.packets > packets_before)

    def _restart_deadline(self, new_packet: bool) -> None:
        """Give a packet that has begun its time; what its processing took is not counted."""
        if not self._protocol.mid_packet:
            self._unit_deadline = None
        elif new_packet or self._unit_deadline is None:
            self._unit_deadline = Deadline(self._config.network.socket_timeout)

    def _act(self) -> None:
        """Act on every complete packet."""
        events = self._protocol.events()
        while events and self._outcome is None:
            for event in events:
                self._on_event(event)
            events = self._protocol.events()

    def _on_event(self, event: Event) -> None:
        self._wait_until(self._writer.has_room)
        if isinstance(event, AudioReceived):
            self._on_audio(event.pcm)
        elif isinstance(event, AudioFinished):
            self._need_lease().finish()
        elif isinstance(event, EngineRequested):
            self._start_session(event.user)
        else:
            self._send_status()
            if event.closing:
                self._end("status", END_PACKET)

    def _on_audio(self, pcm: bytes) -> None:
        lease = self._need_lease()
        self._audio_bytes += len(pcm)
        if self._config.logging.save_pcm:
            if self._recording is None:
                self._recording = Recording(self._config.logging.pcm_path, self._user)
            self._recording.write(pcm)
        for offset in range(0, len(pcm), CHUNK_BYTES):
            self._wait_until(partial(lease.offer_audio, pcm[offset : offset + CHUNK_BYTES]))

    def _wait_until(self, condition: Callable[[], bool], timeout_s: Optional[float] = None) -> bool:
        """Wait for `condition()`; False when the time is over. Raises ClientLeft, or LeaseOver when the session is."""
        if self._waiter is None:
            return True  # before a session there is nothing to wait for: every answer is the last
        deadline = None if timeout_s is None else Deadline(timeout_s)
        in_time = self._waiter.wait_until(lambda: self._outcome is not None or condition(), deadline)
        if self._outcome is not None:
            raise LeaseOver
        return in_time

    def _need_lease(self) -> Lease:
        if self._lease is None:
            raise LeaseOver
        return self._lease

    def _send_status(self) -> None:
        for index, state in enumerate(self._pool.states()):
            self._writer.send(status_packet(index, state.value))

    # --- the session's engine

    def _start_session(self, user: str) -> None:
        if self._stopping:
            self._fail(ErrorCode.SERVER_STOPPING)
            return
        self._waiter = Waiter(self._socket)
        lease = self._request_engine()
        with self._ending:
            if lease is not None and self._outcome is None:
                self._lease, self._user = lease, user
        if lease is None:
            self._fail(ErrorCode.SERVER_TOO_BUSY)
        elif self._lease is None:  # the server began to stop meanwhile
            lease.release()
        else:
            self._protocol.grant_engine()
            _log.info("%s starts: engine %d, user %s", self.name, lease.engine_index, loggable(user))
            self._writer.send(welcome_packet(f"engine {lease.engine_index} is yours"))

    def _request_engine(self) -> Optional[Lease]:
        """An engine, now or in turn; None when none comes in time."""
        ticket = self._pool.request(self, self.on_room)
        try:
            self._wait_for_turn(ticket)
        except (ClientLeft, LeaseOver):
            lease = self._pool.withdraw(ticket)
            if lease is not None:
                lease.release()
            raise
        return self._pool.withdraw(ticket)

    def _wait_for_turn(self, ticket: Ticket) -> None:
        wait_s = max(self._config.network.engine_wait, _JUST_LEFT_S)
        in_time = self._wait_until(lambda: ticket.lease is not None, wait_s)
        if not in_time and self._pool.any_clearing_up():
            self._wait_until(lambda: ticket.lease is not None, _CLEARING_UP_S)

    # SessionSink, called from the engine's keeper

    def on_room(self) -> None:
        """Let the reader go on: the engine or the client has taken something, or it is this client's turn."""
        if self._waiter is not None:
            self._waiter.wake()

    def on_segment(self, segment: Recognized) -> None:
        """Send a result, if there is text."""
        self._segments += 1
        self._busy_s += segment.busy_s
        if segment.text:
            self._writer.send(result_packet(segment.start_s, segment.end_s, segment.text))

    def on_finished(self) -> None:
        """Everything is out."""
        if self._cut_short:
            self._fail(ErrorCode.SERVER_STOPPING, "the time to finish is over")
        else:
            self._end("completed", END_PACKET)

    def on_engine_failed(self, reason: str) -> None:
        """The engine is gone."""
        self._fail(ErrorCode.ENGINE_FAILED, reason)

    # --- the end

    def refuse_new_session(self) -> None:
        """The server stops: a session in progress may go on, another cannot begin."""
        self._stopping = True
        with self._ending:
            idle = self._lease is None
        if idle:
            self._fail(ErrorCode.SERVER_STOPPING)

    def cut_short(self) -> None:
        """The time to finish is over: recognise what is there, then end."""
        self._cut_short = self._protocol.state is not State.FINISHING
        if self._lease is not None:
            self._lease.finish()

    def _fail(self, code: ErrorCode, detail: str = "") -> None:
        self._end(f"{code.value} {detail}".strip(), error_packet(code, detail) + END_PACKET)

    def _end(self, outcome: str, packets: bytes = b"") -> None:
        """End the session, once: the engine is freed, `packets` are the last to be sent."""
        with self._ending:
            if self._outcome is not None:
                return
            self._outcome = outcome
            lease = self._lease
        if lease is not None:
            lease.release()
        self._writer.finish(packets)
        self.on_room()

    def _log_session_end(self, lease: Lease) -> None:
        audio_s = self._audio_bytes / self._config.audio.bytes_per_second
        _log.info(
            "%s ends: engine %d, user %s, %.1f s of audio, %d segments, real-time factor %.2f: %s",
            self.name,
            lease.engine_index,
            loggable(self._user),
            audio_s,
            self._segments,
            self._busy_s / audio_s if audio_s else 0.0,
            self._outcome,
        )


# --- the server ------------------------------------------------------------------------------


class Server:
    """The listening socket and the connections that came from it.

    Raises:
        OSError: when the address cannot be had.
    """

    def __init__(self, config: ServerConfig, pool: EnginePool) -> None:
        self._config = config
        self._pool = pool
        self._listener = _bind(config.network.ip, config.network.port)
        self._stop_receiver, self._stop_sender = socket.socketpair()
        self._changed = threading.Condition()
        self._connections: Set[Connection] = set()
        self._accepted = 0
        self._stopping = False
        self._acceptor = threading.Thread(target=self._accept_all, name="acceptor", daemon=True)

    def start(self) -> None:
        """Accept clients; raises OSError when another server took the address meanwhile."""
        self._listener.listen(self._config.network.max_connections)
        self._acceptor.start()
        ip, port = self._listener.getsockname()[:2]
        _log.info("listening on %s port %d", ip, port)

    def stop(self) -> None:
        """Accept nobody more, let the sessions in progress end, and return when the last connection is closed."""
        self._stop_sender.send(b"!")
        if self._acceptor.ident is not None:
            self._acceptor.join()
        self._listener.close()
        with self._changed:
            self._stopping = True
            connections = list(self._connections)
        for connection in connections:
            connection.refuse_new_session()
        if not self._wait_until_empty(self._config.network.drain_timeout):
            with self._changed:
                connections = list(self._connections)
            for connection in connections:
                connection.cut_short()
            self._wait_until_empty(self._config.model.hang_timeout + _LINGER_S)
        self._stop_sender.close()
        self._stop_receiver.close()

    def _wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._connections, timeout_s)

    def _accept_all(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop_receiver in _wait_ready([self._listener, self._stop_receiver], select.POLLIN, None)
            # After the stop signal, whoever is already in the queue is told so rather than reset.
            while self._accept_one():
                pass

    def _accept_one(self) -> bool:
        """Accept a client if one waits."""
        try:
            sock, address = self._listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            _log.error("a client cannot be accepted: %s", error.strerror)
            with self._changed:
                self._changed.wait(_ACCEPT_RETRY_S)  # until a connection closes: a descriptor may be free then
            return False
        self._admit(sock, f"{address[0]}:{address[1]}")
        return True

    def _admit(self, sock: socket.socket, peer: str) -> None:
        with self._changed:
            if len(self._connections) >= self._config.network.max_connections:
                _log.warning("client %s is turned away: network.max_connections is reached", peer)
                sock.close()
                return
            self._accepted += 1
            connection = Connection(sock, f"session {self._accepted} ({peer})", self._config, self._pool)
            self._connections.add(connection)
        thread = threading.Thread(target=self._serve, args=(connection,), name=connection.name, daemon=True)
        thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._changed.notify_all()


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
        config = load_config(path, ServerConfig)
        log = logger.ServerLog(config.logging.level, config.logging.log_path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except logger.LogError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    try:
        return _run(config)
    finally:
        log.stop()


def _run(config: ServerConfig) -> int:
    events = _Events()
    pool = EnginePool(config, config.logging.level, lambda: events.put(_Event.READY), events.put)
    try:
        server = Server(config, pool)
    except OSError as error:
        return _report_no_listener(config.network, error)
    pool.start()
    try:
        return _serve(config, server, events)
    finally:
        pool.stop()


def _serve(config: ServerConfig, server: Server, events: _Events) -> int:
    event = events.get()
    if event is _Event.READY:
        try:
            server.start()
        except OSError as error:
            return _report_no_listener(config.network, error)
        event = events.get()
    status = EXIT_OK
    if isinstance(event, str):
        _log.critical("%s", event)
        status = EXIT_FAILED
    _log.info("stopping: sessions in progress have %g s to finish", config.network.drain_timeout)
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


def _report_no_listener(network: NetworkConfig, error: OSError) -> int:
    _log.critical("network: cannot listen on %s port %d: %s", network.ip, network.port, error.strerror)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
