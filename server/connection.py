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
from typing import Optional

from asr_process import EnginePool
from config.sections import ServerConfig
from protocol.packets import loggable
from server import session as asked
from server.mailbox import Mailbox
from server.outbox import Outbox
from server.pace import quiet_pause_s
from server.recording import Recording
from server.session import Message, Phase, Session
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


class Connection:
    """One client from accept to close, in the thread that calls `run`.

    Args:
        stream: to the client.
        mailbox: its own.
        name: for the log.
        config: of the server.
        pool: the engines.
    """

    def __init__(
        self, stream: Stream, mailbox: Mailbox[Message], name: str, config: ServerConfig, pool: EnginePool
    ) -> None:
        self.name = name
        self._stream = stream
        self._config = config
        self._pool = pool
        self._session = Session(config, time.monotonic())
        self._outbox = Outbox(config.network.socket_timeout)
        self._mailbox = mailbox
        self._number: Optional[int] = None  # of the session in the pool
        self._recording: Optional[Recording] = None
        self._pause_until_s = -math.inf  # before that the client is not looked at
        self._trickle_bytes = int(_TRICKLE_S * config.audio.bytes_per_second)
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
            _log.exception("%s: the connection fails", self.name)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of everything; `run` does it too."""
        self._session.left("the connection failed")  # unless it has ended
        self._mailbox.close()
        if self._number is not None:
            self._pool.release(self._number)
        self._stream.close()
        if self._recording is not None:
            self._recording.close()
        if self._session.slot is not None:
            self._log_end(self._session.slot)

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
            self._leave("the client does not read")
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
            waiting = self._session.phase is Phase.WAITING
            self._session.handle(message, time.monotonic())
            user = loggable(self._session.user)
            if waiting and isinstance(message, Granted):
                _log.info("%s starts: engine %d, user %s", self.name, message.slot, user)
            elif waiting and isinstance(message, Refused):
                _log.info("%s: no engine is free for user %s", self.name, user)

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
        if len(data) < self._trickle_bytes and self._session.is_quiet:
            self._pause_until_s = now_s + quiet_pause_s(self._pool.sessions, self._config.closing_silence_s)

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
            self._flush()

    def _flush(self) -> None:
        try:
            self._write()
        except OSError:  # the client is gone
            self._leave()

    def _perform(self, action: asked.Action) -> None:
        if isinstance(action, asked.HandOn):
            self._pool.hand_on(self._need_number(), action.content)
        elif isinstance(action, asked.Send):
            self._outbox.add(action.packets, time.monotonic())
        elif isinstance(action, asked.Record):
            self._record(action.pcm)
        elif isinstance(action, asked.RequestEngine):
            patience_s = max(self._config.network.engine_wait, _JUST_LEFT_S)
            self._number = self._pool.request(self.post, patience_s)
        elif isinstance(action, asked.AskStatus):
            self._session.tell_status(self._pool.states(), time.monotonic())
        elif isinstance(action, asked.Finish):
            self._pool.finish(self._need_number())
        elif isinstance(action, asked.Release):
            self._pool.release(self._need_number())

    def _need_number(self) -> int:
        assert self._number is not None
        return self._number

    def _record(self, pcm: bytes) -> None:
        if self._config.logging.save_pcm:
            if self._recording is None:
                self._recording = Recording(self._config.logging.pcm_path, self._session.user)
            self._recording.write(pcm)

    # --- the end

    def _leave(self, why: str = "the client went away") -> None:
        self._session.left(why)
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

    def _log_end(self, slot: int) -> None:
        session = self._session
        audio_s = session.audio_s
        _log.info(
            "%s ends: engine %d, user %s, %.1f s of audio, %d segments, real-time factor %.2f: %s",
            self.name,
            slot,
            loggable(session.user),
            audio_s,
            session.segments,
            session.busy_s / audio_s if audio_s else 0.0,
            session.outcome,
        )
