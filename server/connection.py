"""One client from accept to close.

A connection is ended once, by whoever is first: its reader, its engine's keeper, or the server that stops. Whoever
it is queues the last packets; the writer sends them, closes its direction, and lets the client read them before
the socket goes.
"""

import contextlib
import logging
import select
import socket
import threading
import time
from functools import partial
from typing import Callable, Optional, Tuple

from asr_process import EnginePool, Lease, LeaseOver, Ticket
from boundary.messages import CHUNK_BYTES, Recognized
from config.sections import ServerConfig
from server.pace import Pace
from server.recording import Recording
from server.tls import Stream, TlsFailed, TlsSocket
from server.waiting import ClientLeft, Deadline, TimedOut, Waiter, wait_ready
from server.writer import PacketWriter
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
    error_packet,
    loggable,
    result_packet,
    status_packet,
    welcome_packet,
)

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * 1024
_QUIET_PAUSE_S = 0.15  # between two looks at a client who says nothing: each look costs more than the audio in it
_TRICKLE_S = 0.5  # of audio at once: who sends more does not speak, but sends a recording
_JUST_LEFT_S = 0.2  # a client that leaves and comes back at once can be faster than the news that it left
_CLEARING_UP_S = 0.7  # an engine whose client has left is worth this long a wait


class Connection:
    """One client from accept to close. The thread that calls `run` is its reader; it is its session's SessionSink."""

    def __init__(self, sock: Stream, name: str, config: ServerConfig, pool: EnginePool) -> None:
        self.name = name
        self._socket = sock
        self._config = config
        self._pool = pool
        self._protocol = ServerProtocol()
        self._writer = PacketWriter(sock, config.network.socket_timeout, name, self.on_room)
        self._waiter: Optional[Waiter] = None  # from the moment an engine is asked for
        self._unit_deadline: Optional[Deadline] = Deadline(config.network.socket_timeout)  # handshake, then a packet
        self._session_deadline: Optional[Deadline] = None
        self._pace = Pace(config.network.max_speed)
        self._ending = threading.Lock()
        self._outcome: Optional[str] = None  # how it ended; set once
        self._lease: Optional[Lease] = None
        self._user = ""
        self._recording: Optional[Recording] = None
        self._leaving = False  # the client has ended its stream: what is left of it is read at once
        self._trickle_bytes = int(_TRICKLE_S * config.audio.bytes_per_second)
        self._quiet_pause_s = min(_QUIET_PAUSE_S, config.closing_silence_s / 2)
        self._audio_bytes = 0
        self._segments = 0
        self._busy_s = 0.0
        self._stopping = False
        self._cut_short: Optional[Tuple[ErrorCode, str]] = None  # the session has to end: why

    def run(self) -> None:
        """Serve the client until it is gone; raises TlsFailed."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._secure()
            while not self._writer.done and self._read_once():
                pass
            self._end_without_client()
        except ClientLeft:
            self._end_without_client()
        except MagicMismatch:
            self._end("the client speaks something else")
        except TlsFailed:
            raise
        except Exception:
            _log.exception("%s: the connection fails", self.name)
        finally:
            self._close()

    def _end_without_client(self) -> None:
        self._end("the client does not read" if self._writer.stalled else "the client went away")

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

    def _secure(self) -> None:
        """Agree on keys, where the server wants TLS."""
        if isinstance(self._socket, TlsSocket) and self._unit_deadline is not None:
            self._socket.handshake(self._unit_deadline)

    # --- reading

    def _read_once(self) -> bool:
        """Read and act on it; False when there is nothing more to read."""
        self._keep_session_limit()
        try:
            data = self._receive()
        except TimedOut as error:
            if not self._keep_session_limit():
                self._fail(ErrorCode.TIMEOUT, str(error))
            return True
        except OSError:  # reset by the client
            return False
        if data and self._outcome is None:
            self._take(data)
            if len(data) < self._trickle_bytes and self._is_quiet():
                self._leaving = bool(wait_ready([self._socket], select.POLLRDHUP, self._quiet_pause_s))
        return bool(data)

    def _is_quiet(self) -> bool:
        """Whether the client streams, and says nothing as far as its engine has heard."""
        streams = self._outcome is None and self._protocol.state is State.STREAMING and not self._leaving
        return streams and self._lease is not None and not self._lease.in_utterance

    def _receive(self) -> bytes:
        """The next bytes; b"" at the end. Raises TimedOut with the reason."""
        silence = Deadline(self._config.network.socket_timeout)  # also of half a TLS record, of which nothing is seen
        while True:
            if wait_ready([self._socket], select.POLLIN, self._timeout_s(silence)):
                with contextlib.suppress(BlockingIOError):
                    return self._socket.recv(_RECEIVE_BYTES)
            elif self._timeout_s(silence) is not None:  # it may have been lifted meanwhile
                raise TimedOut(self._what_is_late())

    def _what_is_late(self) -> str:
        if self._protocol.handshaking:
            return "the handshake was not completed in time"
        return "a packet was not completed in time" if self._protocol.mid_packet else "nothing was received"

    def _timeout_s(self, silence: Deadline) -> Optional[float]:
        """How long to wait for bytes; None without a limit."""
        if self._outcome is not None or self._cut_short or self._protocol.state is State.FINISHING:
            return None
        deadlines = (silence, self._unit_deadline, self._session_deadline)
        return min(deadline.remaining_s() for deadline in deadlines if deadline is not None)

    def _keep_session_limit(self) -> bool:
        """Let a session that lasts too long end; returns whether it does."""
        if self._session_deadline is None or self._session_deadline.remaining_s() > 0:
            return False
        limit_s = self._config.network.max_session
        self.cut_short(ErrorCode.TIMEOUT, f"the session has lasted {limit_s:g} s, which is network.max_session")
        return True

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
        if self._config.logging.save_pcm:
            if self._recording is None:
                self._recording = Recording(self._config.logging.pcm_path, self._user)
            self._recording.write(pcm)
        for offset in range(0, len(pcm), CHUNK_BYTES):
            chunk = pcm[offset : offset + CHUNK_BYTES]
            self._wait_until(partial(lease.offer_audio, chunk))
            self._audio_bytes += len(chunk)
            pause_s = self._pace.wait_s(len(chunk) / self._config.audio.bytes_per_second, time.monotonic())
            if pause_s:
                self._wait_until(lambda: False, pause_s)

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
        try:
            self._waiter = Waiter(self._socket)
        except OSError as error:  # no descriptor is left
            _log.error("%s: no session for user %s: %s", self.name, loggable(user), error.strerror)
            self._fail(ErrorCode.SERVER_TOO_BUSY, "the server is out of descriptors")
            return
        lease = self._request_engine()
        with self._ending:
            if lease is not None and self._outcome is None:
                self._lease, self._user = lease, user
        if lease is None:
            _log.info("%s: no engine is free for user %s", self.name, loggable(user))
            self._fail(ErrorCode.SERVER_TOO_BUSY)
        elif self._lease is None:  # the server began to stop meanwhile
            lease.release()
        else:
            self._protocol.grant_engine()
            if self._config.network.max_session:
                self._session_deadline = Deadline(self._config.network.max_session)
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
        if self._cut_short is not None:
            self._fail(*self._cut_short)
        else:
            self._end("completed", END_PACKET)

    def on_engine_failed(self, reason: str) -> None:
        """The engine is gone."""
        self._fail(ErrorCode.ENGINE_FAILED, reason)

    # --- the end

    def refuse_new_session(self, even_waiting: bool) -> None:
        """The server stops: a session in progress may go on, another cannot begin.

        `even_waiting`: nor one that has asked for an engine and waits for it.
        """
        self._stopping = True
        with self._ending:
            idle = self._lease is None and (even_waiting or self._protocol.state is not State.ASKED)
        if idle:
            self._fail(ErrorCode.SERVER_STOPPING)

    def cut_short(self, code: ErrorCode, detail: str) -> None:
        """The session's time is over: recognise what is there, then end."""
        if self._cut_short is None and self._protocol.state is not State.FINISHING:
            self._cut_short = (code, detail)
        if self._lease is not None:
            self._lease.finish()
        else:
            self._fail(code, detail)

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
