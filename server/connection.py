"""One client from accept to close: the socket, the clock and the thread of its session (`server/session.py`).

    client ◀──▶ stream ◀──▶ Connection ──▶ EnginePool
                              │    ▲           │
                           Session └─ mailbox ◀┘ also from the server that stops

One thread does everything for a client, and waits for its socket, its mailbox and its next deadline at once. Nobody
else touches the session, the socket or the outbox.
"""

import logging
import math
import select
import time
from typing import NamedTuple, Optional, Union

from asr_process import EnginePool
from boundary.messages import Recognized
from config.sections import ServerConfig
from logger import fields
from protocol.packets import loggable
from server import session as asked
from server.latencies import Latencies
from server.mailbox import Mailbox
from server.metrics import REFUSALS, Metrics
from server.outbox import Outbox
from server.pace import quiet_pause_s, speaking_pause_s
from server.recording import Recording
from server.session import Ending, Message, Phase, Session
from server.stream import Stream
from server.supervision import Granted, Refused
from server.tls import TlsFailed

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * 1024
_SEND_BYTES = 256 * 1024
_LINGER_S = 2.0  # for the client to read the last packets, before what it still sends makes the kernel reset
_GONE = select.POLLHUP | select.POLLERR

_TRICKLE_S = 0.5  # of audio at once: who sends more does not speak, but sends a recording
_JUST_LEFT_S = 0.2  # a client that leaves and comes back at once can be faster than the news that it left

LAST_WORDS_S = _LINGER_S  # that a connection may take once its session is over and its client reads


class House(NamedTuple):
    """What all connections share."""

    config: ServerConfig
    pool: EnginePool
    metrics: Metrics


class Connection:
    """One client from accept to close, in the thread that calls `run`.

    Args:
        stream: to the client.
        mailbox: its own.
        number: of the session, which no other has.
        peer: the client's address.
        house: what it shares with the others.
    """

    def __init__(self, stream: Stream, mailbox: Mailbox[Message], number: int, peer: str, house: House) -> None:
        self.name = f"session {number} ({peer})"
        self._number = number
        self._stream = stream
        self._config, self._pool, self._metrics = house
        self._session = Session(self._config, time.monotonic())
        self._outbox = Outbox(self._config.network.socket_timeout)
        self._mailbox = mailbox
        self._requested_s: Optional[float] = None  # an engine of the pool
        self._waited_s = 0.0  # for it
        self._audio_s = 0.0  # of the session that the metrics have
        self._latencies = Latencies()
        self._partials = 0
        self._recording: Optional[Recording] = None
        self._pause_until_s = -math.inf  # before that the client is not looked at
        self._poll = select.poll()
        self._poll.register(self._mailbox.fileno(), select.POLLIN)

    def post(self, message: Message) -> None:
        """Let the session know of something; from any thread, never blocks."""
        self._mailbox.post(message)

    def run(self) -> None:
        """Serve the client until it is gone; raises TlsFailed."""
        try:
            if self._shake_hands():
                while not self._session.ended:
                    self._turn()
                if self._session.has_last_words:
                    self._say_goodbye()
        except TlsFailed:
            raise
        except Exception:
            _log.exception("%s: the connection fails", self.name, extra=fields(session=self._number))
        finally:
            self.close()

    def close(self) -> None:
        """Let go of everything; `run` does it too."""
        self._session.left("the connection failed", Ending.BROKEN)  # unless it has ended
        self._mailbox.close()
        if self._requested_s is not None:
            self._pool.release(self._number)
        self._stream.close()
        if self._recording is not None:
            self._recording.close()
        self._tell_end()

    # --- waiting

    def _shake_hands(self) -> bool:
        """Agree on keys, where the server wants TLS; False when the server stops before that. Raises TlsFailed."""
        while not self._stream.shake_hands():
            self._wait(self._stream.reading_needs, self._session.due_s)
            self._hear()
            if self._session.ended:
                return False
            if self._session.due_s <= time.monotonic():
                raise TlsFailed("the handshake was not completed in time")
        return True

    def _turn(self) -> None:
        """Wait until something happens, and act on it."""
        session, began_s = self._session, time.monotonic()
        pausing = began_s < self._pause_until_s and began_s < session.due_s
        looking = session.wants_input and not pausing
        due_s = min(session.due_s, self._outbox.due_s, self._pause_until_s if pausing else math.inf)
        happened = self._wait((self._stream.reading_needs if looking else 0) | self._to_write, due_s)
        self._hear()
        self._flush()
        now_s = time.monotonic()
        if happened & (select.POLLRDHUP | _GONE) and not session.wants_input:
            self._leave()
        elif happened & (self._stream.reading_needs | select.POLLRDHUP | _GONE) and session.wants_input:
            self._read(now_s)
        elif looking:
            session.tick(now_s, looked_s=began_s)
        if self._outbox.due_s <= began_s:
            self._leave("the client does not read", Ending.NOT_READING)
        session.tick(now_s, looked_s=-math.inf)
        self._act()

    @property
    def _to_write(self) -> int:
        return self._stream.writing_needs if self._outbox else 0

    def _wait(self, events: int, due_s: float) -> int:
        """Until something of `events` happens to the stream, the client leaves, a message comes or it is `due_s`."""
        self._poll.register(self._stream.fileno(), events | select.POLLRDHUP)
        timeout_ms = None if due_s == math.inf else max(0.0, 1000 * (due_s - time.monotonic()))
        ready = dict(self._poll.poll(timeout_ms))
        return ready.get(self._stream.fileno(), 0)

    def _hear(self) -> None:
        for message in self._mailbox.take():
            if not self._session.ended:
                self._tell(message, was_waiting=self._session.phase is Phase.WAITING)

    def _tell(self, message: Message, was_waiting: bool) -> None:
        """Let the session know."""
        now_s = time.monotonic()
        self._session.handle(message, now_s)
        if isinstance(message, Recognized):
            if message.end_s > message.start_s:
                self._metrics.segment(_result_of(message))
        elif was_waiting and isinstance(message, (Granted, Refused)):
            self._tell_begin(message, now_s)

    def _tell_begin(self, message: Union[Granted, Refused], now_s: float) -> None:
        """Of the session, or that there is none: to the log, and to the metrics."""
        assert self._requested_s is not None
        self._waited_s = now_s - self._requested_s
        user = loggable(self._session.user)
        told = {"session": self._number, "user": user}
        if isinstance(message, Refused):
            _log.info("%s: no engine is free for user %s", self.name, user, extra=fields(event="refused", **told))
            return
        self._metrics.began(self._waited_s)
        told = fields(event="session_started", engine=message.slot, waited_s=round(self._waited_s, 3), **told)
        _log.info("%s starts: engine %d, user %s", self.name, message.slot, user, extra=told)

    # --- the client

    def _read(self, now_s: float) -> None:
        try:
            data = self._stream.recv(_RECEIVE_BYTES)
        except OSError:  # reset by the client
            data = b""
        if data is None:
            return
        if not data:
            self._leave()
            return
        self._session.received(data, now_s)
        if self._session.is_streaming and len(data) < _TRICKLE_S * self._session.bytes_per_second:
            self._pause_until_s = now_s + self._pause_s()

    def _pause_s(self) -> float:
        """For how long the client is not looked at."""
        sessions, cores, closing_silence_s = self._pool.sessions, self._pool.cores, self._config.closing_silence_s
        if self._session.is_quiet:
            return quiet_pause_s(sessions, cores, closing_silence_s)
        served = min(sessions, self._config.model.channel)  # who waits is not read
        return speaking_pause_s(served, cores, closing_silence_s)

    def _write(self) -> None:
        while self._outbox:
            n_bytes = self._stream.send(self._outbox.first(_SEND_BYTES))
            if not n_bytes:
                return
            now_s = time.monotonic()
            self._outbox.taken(n_bytes, now_s)
            self._session.sent(n_bytes, now_s)

    # --- what the session wants

    def _act(self) -> None:
        """Do what the session asks for, until it asks for nothing more."""
        while True:
            actions = self._session.take_actions()
            if not actions:
                return
            for action in actions:
                self._perform(action)
            self._count_audio()
            self._flush()

    def _flush(self) -> None:
        try:
            self._write()
        except OSError:  # the client is gone
            self._leave()

    def _perform(self, action: asked.Action) -> None:
        if isinstance(action, asked.HandOn):
            self._pool.hand_on(self._number, action.content)
        elif isinstance(action, asked.Send):
            self._queue(action)
        elif isinstance(action, asked.Record):
            self._record(action.pcm)
        elif isinstance(action, asked.RequestEngine):
            self._requested_s = time.monotonic()
            self._pool.request(self._number, self.post, max(self._config.network.engine_wait, _JUST_LEFT_S))
        elif isinstance(action, asked.AskStatus):
            self._session.tell_status(self._pool.states(), time.monotonic())
        elif isinstance(action, asked.Finish):
            self._pool.finish(self._number)
        elif isinstance(action, asked.Release):
            self._pool.release(self._number)

    def _queue(self, action: asked.Send) -> None:
        """Packets for the client."""
        now_s = time.monotonic()
        self._outbox.add(action.packets, now_s)
        if isinstance(action.news, Recognized):
            self._latencies.add(now_s - action.news.ended_s)
            self._metrics.sent_result(now_s - action.news.ended_s)
        elif action.news is not None:
            self._partials += 1
            self._metrics.sent_partial(now_s - action.news.came_s)

    def _count_audio(self) -> None:
        audio_s = self._session.audio_s
        if audio_s > self._audio_s:
            self._metrics.heard(audio_s - self._audio_s)
            self._audio_s = audio_s

    def _record(self, pcm: bytes) -> None:
        if self._config.logging.save_pcm:
            if self._recording is None:
                self._recording = Recording(self._config.logging.pcm_path, self._session.user)
            self._recording.write(pcm)

    # --- the end

    def _leave(self, why: str = "the client went away", ending: Ending = Ending.LEFT) -> None:
        self._session.left(why, ending)
        self._outbox.clear()

    def _say_goodbye(self) -> None:
        """Let the client read the last packets. What it still sends is read too: else the kernel would reset."""
        try:
            is_open = True
            while self._outbox:
                if time.monotonic() >= self._outbox.due_s:
                    return
                is_open = self._discard(self._outbox.due_s, is_open)
                self._write()
            self._stream.finish()
            due_s = time.monotonic() + _LINGER_S
            while is_open and time.monotonic() < due_s:
                is_open = self._discard(due_s, is_open)
        except OSError:  # the client is gone
            return

    def _discard(self, due_s: float, is_open: bool) -> bool:
        """Wait, and drop what comes; returns whether more may come. `is_open`: whether it might until now."""
        self._poll.register(self._stream.fileno(), (self._stream.reading_needs if is_open else 0) | self._to_write)
        timeout_ms = max(0.0, 1000 * (due_s - time.monotonic()))
        happened = dict(self._poll.poll(timeout_ms)).get(self._stream.fileno(), 0)
        self._mailbox.take()
        if is_open and happened & (self._stream.reading_needs | _GONE):
            return self._stream.recv(_RECEIVE_BYTES) != b""
        return is_open

    def _tell_end(self) -> None:
        """Of the session, or of a client that got none: to the metrics, and of a session to the log."""
        session = self._session
        assert session.ending is not None
        if session.slot is not None:
            self._metrics.ended(session.ending)
            self._log_end(session.slot)
        elif session.ending.value in REFUSALS:
            self._metrics.refused(session.ending.value)

    def _log_end(self, slot: int) -> None:
        session, latencies = self._session, self._latencies
        audio_s, user = session.audio_s, loggable(session.user)
        real_time_factor = session.busy_s / audio_s if audio_s else 0.0
        told = fields(
            event="session_ended",
            session=self._number,
            engine=slot,
            user=user,
            waited_s=round(self._waited_s, 3),
            audio_s=round(audio_s, 3),
            segments=session.segments,
            suppressed=session.suppressed,
            partials=self._partials,
            latency_median_s=round(latencies.median_s, 3),
            latency_worst_s=round(latencies.worst_s, 3),
            real_time_factor=round(real_time_factor, 3),
            outcome=session.outcome,
            ending=session.ending.value if session.ending else "",
        )
        _log.info(
            "%s ends: engine %d, user %s, waited %.1f s, %.1f s of audio, %d segments (%d suppressed), %d partials, "
            "latency %.2f s (worst %.2f s), real-time factor %.2f: %s",
            self.name,
            slot,
            user,
            self._waited_s,
            audio_s,
            session.segments,
            session.suppressed,
            self._partials,
            latencies.median_s,
            latencies.worst_s,
            real_time_factor,
            session.outcome,
            extra=told,
        )


def _result_of(segment: Recognized) -> str:
    """One of SEGMENT_RESULTS."""
    if segment.text:
        return "text"
    return "suppressed" if segment.is_suppressed else "empty"
