"""One session as a state machine of time: what its client sends, what its engine says, what the server wants of it.

Knows no socket, thread, process or clock. What happens comes in with its time (`now_s`, seconds of any monotonic
clock); `take_actions` gives what has to be done about it, in order. `server/connection.py` does it, in one thread.

    OPENING ──▶ WAITING ──▶ SERVING ──▶ FINISHING ──▶ ENDED
               for its       │              ▲          from everywhere: an error, a client that leaves
               engine        └─▶ DRAINING ──┘
                                 its time is over: what has been read is still heard
"""

import contextlib
import enum
import math
from collections import deque
from dataclasses import dataclass
from typing import Deque, List, Optional, Sequence, Union

from boundary.messages import (
    CHUNK_BYTES,
    WINDOW_BYTES,
    Closed,
    Consumed,
    Content,
    EndOfUtterance,
    Happened,
    Heard,
    Recognized,
    cost_bytes,
)
from boundary.settings import default_session
from config.sections import ServerConfig
from protocol.data import DetailedResult, UtteranceDone
from protocol.packets import ErrorCode, MagicMismatch, ProtocolError
from server.options import settings_of
from server.pace import Pace
from server.supervision import EngineFailed, EngineState, Granted, Refused, SessionMessage
from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    EngineRequested,
    Event,
    OptionsReceived,
    ServerProtocol,
    State,
    StatusRequested,
    UtteranceEnded,
    detailed_result_packet,
    error_packet,
    event_packet,
    partial_packet,
    result_packet,
    status_packet,
    welcome_packet,
)

_HIGH_WATER_BYTES = 256 * 1024  # of packets that a client has not taken, from which on it is not read either
_LIVE_HIGH_WATER_BYTES = 16 * 1024  # from which on it gets no live text: it would be old


class Phase(enum.Enum):
    """Where a session stands."""

    OPENING = "the client has not asked for an engine"
    WAITING = "it has, and waits for one"
    SERVING = "it has one, and speaks"
    DRAINING = "its time is over: what has been read goes to the engine"
    FINISHING = "no more audio comes: the last results do"
    ENDED = "the last packets are out"


class Ending(enum.Enum):
    """How a session ended, in one word."""

    COMPLETED = "completed"
    STATUS = "status"  # that was all its client wanted
    LEFT = "left"
    NOT_READING = "not_reading"
    FOREIGN = "foreign_protocol"
    BROKEN = "broken"
    SERVER_TOO_BUSY = "server_too_busy"
    ILLEGAL_PACKET = "illegal_packet"
    TIMEOUT = "timeout"
    ENGINE_FAILED = "engine_failed"
    SERVER_STOPPING = "server_stopping"


# --- what the server wants -------------------------------------------------------------------


@dataclass(frozen=True)
class NoNewSession:
    """Who has no engine gets none, as the server stops; `even_waiting`: nor who waits for one."""

    even_waiting: bool


@dataclass(frozen=True)
class CutShort:
    """The session has to end now: what is there is recognised first."""

    code: ErrorCode
    detail: str


@dataclass(frozen=True)
class EndNow:
    """The session has to end at once."""

    code: ErrorCode
    detail: str


Message = Union[SessionMessage, NoNewSession, CutShort, EndNow]


# --- what has to be done ---------------------------------------------------------------------


@dataclass(frozen=True)
class Send:
    """To the client. `news`: what it says, where the time matters."""

    packets: bytes
    news: Optional[Union[Recognized, Heard]] = None


@dataclass(frozen=True)
class AskStatus:
    """The client wants to know what each engine does: `tell_status` says it."""


@dataclass(frozen=True)
class RequestEngine:
    """An engine is wanted."""


@dataclass(frozen=True)
class Record:
    """Keep what the client has sent."""

    pcm: bytes


@dataclass(frozen=True)
class HandOn:
    """For the engine."""

    content: Content


@dataclass(frozen=True)
class Finish:
    """No more audio for the engine."""


@dataclass(frozen=True)
class Release:
    """The engine, or the place in the queue, is not wanted any more."""


Action = Union[Send, AskStatus, RequestEngine, Record, HandOn, Finish, Release]


class Session:
    """One client, from its first byte to its outcome.

    Args:
        config: limits, and the rate of the audio.
        now_s: when the client came.

    Attributes:
        phase: where it stands.
        outcome: how it ended; "" while it has not.
        ending: the same in one word; None while it has not.
        has_last_words: it has ended, and the client is there to read why.
        user: as the client says.
        slot: of its engine; None before it has one.
        unsent_bytes: of packets that the client has not taken; kept up to date by whoever sends them.
    """

    def __init__(self, config: ServerConfig, now_s: float) -> None:
        self._timeout_s = config.network.socket_timeout
        self._limit_s = config.network.max_session
        self._config = config
        self._settings = default_session(config)
        self._pace = Pace(config.network.max_speed)
        self._protocol = ServerProtocol()
        self._events: Deque[Event] = deque()  # understood, and still to be acted on
        self._audio = memoryview(b"")  # of the event that is being acted on
        self._must_end_utterance = False  # likewise
        self._asked: Optional[StatusRequested] = None  # likewise
        self._actions: List[Action] = []
        self._in_flight_bytes = 0  # of the engine's window
        self._cut: Optional[CutShort] = None  # why its time is over
        self._silent_since_s = now_s
        self._unit_due_s = now_s + self._timeout_s  # of the handshake, then of a packet that has begun
        self._limit_due_s = math.inf
        self._pace_due_s = -math.inf  # before that no audio is taken
        self._in_utterance = False  # as far as the engine has said
        self.phase = Phase.OPENING
        self.outcome = ""
        self.ending: Optional[Ending] = None
        self.has_last_words = False
        self.user = ""
        self.slot: Optional[int] = None
        self.unsent_bytes = 0
        self.audio_bytes = 0
        self.segments = 0
        self.suppressed = 0  # of them, whose text was taken for noise
        self.busy_s = 0.0  # of its engine, with its segments

    # --- what is asked of it

    @property
    def ended(self) -> bool:
        """Whether all is over but for sending what is left."""
        return self.phase is Phase.ENDED

    @property
    def wants_input(self) -> bool:
        """Whether the client is to be read: what was read before has been dealt with, and it takes its answers."""
        if self.phase is Phase.FINISHING:
            return self._has_room and not self._asked
        return self.phase in (Phase.OPENING, Phase.SERVING) and not self._is_held_up

    @property
    def is_streaming(self) -> bool:
        """Whether the client sends audio, as it comes."""
        return self.phase is Phase.SERVING and self._protocol.state is State.STREAMING

    @property
    def is_quiet(self) -> bool:
        """Whether the client streams, says nothing as far as its engine has heard, and wants no news of that."""
        return self.is_streaming and not (self._in_utterance or self._settings.partial or self._settings.events)

    @property
    def bytes_per_second(self) -> int:
        """Of its audio."""
        return self._settings.bytes_per_second

    @property
    def audio_s(self) -> float:
        """Seconds of audio that the engine was given."""
        return self.audio_bytes / self.bytes_per_second

    @property
    def due_s(self) -> float:
        """When `tick` has something to do."""
        due_s = self._limit_due_s if self.phase is Phase.SERVING else math.inf
        if self.phase in (Phase.OPENING, Phase.SERVING):
            if self.wants_input:
                due_s = min(due_s, self._silent_since_s + self._timeout_s, self._unit_due_s)
            elif self._audio and self._has_room and self._window_has_room(self._next_chunk()):
                due_s = min(due_s, self._pace_due_s)
        return due_s

    def take_actions(self) -> List[Action]:
        """What has to be done, in order; each is given once."""
        actions, self._actions = self._actions, []
        return actions

    # --- what happens

    def received(self, data: bytes, now_s: float) -> None:
        """The client has sent something, while `wants_input`."""
        if self.phase is Phase.FINISHING and self._cut:
            return  # its time is over
        packets_before = self._protocol.packets
        try:
            self._protocol.receive(data)
        except MagicMismatch:
            self._end("the client speaks something else", Ending.FOREIGN)
            return
        self._advance(now_s)
        self._silent_since_s = now_s
        if not self._protocol.handshaking:
            self._restart_unit(now_s, new_packet=self._protocol.packets > packets_before)

    def tell_status(self, states: Sequence[EngineState], now_s: float) -> None:
        """What each engine does, in order, after AskStatus."""
        asked, self._asked = self._asked, None
        packets = b"".join(status_packet(slot, state.value) for slot, state in enumerate(states))
        if asked is not None and asked.closing:
            self._end("status", Ending.STATUS, packets + END_PACKET)
        else:
            self._send(packets)
            self._go_on(now_s)

    def left(self, why: str = "the client went away", ending: Ending = Ending.LEFT) -> None:
        """Nobody is there any more."""
        self._end(why, ending)

    def sent(self, n_bytes: int, now_s: float) -> None:
        """The client has taken so much."""
        self.unsent_bytes -= n_bytes
        self._go_on(now_s)

    def tick(self, now_s: float, looked_s: float) -> None:
        """Time has passed. `looked_s`: when the client was last looked at, and had sent nothing; so far it is late."""
        if self.phase is Phase.SERVING and self._limit_due_s <= now_s:
            reason = f"the session has lasted {self._limit_s:g} s, which is network.max_session"
            self._cut_short(CutShort(ErrorCode.TIMEOUT, reason), now_s)
        elif self.phase in (Phase.OPENING, Phase.SERVING) and self.wants_input:
            if min(self._silent_since_s + self._timeout_s, self._unit_due_s) <= looked_s:
                self._fail(ErrorCode.TIMEOUT, self._what_is_late())
        else:
            self._go_on(now_s)

    def handle(self, message: Message, now_s: float) -> None:
        """Its engine, the one who gives engines, or the server has said something."""
        if self.ended:
            return
        if isinstance(message, Consumed):
            self._in_flight_bytes -= message.cost_bytes
            self._in_utterance = message.in_utterance
            self._go_on(now_s)
        elif isinstance(message, Recognized):
            self._take_result(message)
        elif isinstance(message, (Happened, Heard)):
            self._take_news(message)
        elif isinstance(message, Closed):
            self._end_in_order()
        elif isinstance(message, Granted):
            self._begin(message, now_s)
        elif isinstance(message, Refused):
            self._fail(ErrorCode.SERVER_TOO_BUSY)
        elif isinstance(message, EngineFailed):
            self._fail(ErrorCode.ENGINE_FAILED, message.reason)
        else:
            self._obey(message, now_s)

    def _obey(self, message: Message, now_s: float) -> None:
        if isinstance(message, NoNewSession):
            if self.phase is Phase.OPENING or (message.even_waiting and self.phase is Phase.WAITING):
                self._fail(ErrorCode.SERVER_STOPPING)
        elif isinstance(message, CutShort):
            self._cut_short(message, now_s)
        elif isinstance(message, EndNow):
            self._fail(message.code, message.detail)

    # --- the client's audio

    @property
    def _has_room(self) -> bool:
        return self.unsent_bytes < _HIGH_WATER_BYTES

    @property
    def _is_held_up(self) -> bool:
        """Whether something that was read still waits, for the engine, the pace, or the client to take its answers."""
        return bool(self._has_unsaid or self._events or self._asked) or not self._has_room

    @property
    def _has_unsaid(self) -> bool:
        """Whether the engine has yet to be given something that was acted on."""
        return bool(self._audio) or self._must_end_utterance

    def _window_has_room(self, content: Content) -> bool:
        return self._in_flight_bytes + cost_bytes(content) <= WINDOW_BYTES

    def _next_chunk(self) -> bytes:
        return bytes(self._audio[:CHUNK_BYTES])

    def _go_on(self, now_s: float) -> None:
        """Something may have stopped being in the way."""
        was_held_up = self._is_held_up
        self._advance(now_s)
        if was_held_up and not self._is_held_up:  # what the server took is not counted
            self._silent_since_s = now_s
            if self.phase is Phase.SERVING:
                self._restart_unit(now_s, new_packet=True)

    def _advance(self, now_s: float) -> None:
        """Act on all that was read, as far as nothing is in the way."""
        while self.phase not in (Phase.WAITING, Phase.ENDED) and not (self._cut and self.phase is Phase.FINISHING):
            if self._has_unsaid:
                if not self._hand_on(now_s):
                    return
            elif self.phase is Phase.DRAINING:
                self._drain()
            elif self._asked or not self._has_room or not self._next_event():
                return

    def _next_event(self) -> bool:
        """Act on the next thing that the client wants; False when it wants nothing."""
        if not self._events:
            try:
                self._events.extend(self._protocol.events())
            except ProtocolError as error:
                self._fail(ErrorCode.ILLEGAL_PACKET, str(error))
                return False
        if not self._events:
            return False
        event = self._events.popleft()
        if isinstance(event, AudioReceived):
            self._take_audio(event)
        elif isinstance(event, UtteranceEnded):
            self._must_end_utterance = True
        elif isinstance(event, AudioFinished):
            self._finish()
        elif isinstance(event, EngineRequested):
            self.user = event.user
            self.phase = Phase.WAITING
            self._actions.append(RequestEngine())
        elif isinstance(event, OptionsReceived):
            self._choose(event)
        else:
            self._asked = event
            self._actions.append(AskStatus())
        return True

    def _choose(self, event: OptionsReceived) -> None:
        try:
            self._settings = settings_of(self._config, event.fields)
        except ProtocolError as error:
            self._fail(ErrorCode.ILLEGAL_PACKET, str(error))
            return
        self._give(self._settings)

    def _hand_on(self, now_s: float) -> bool:
        """Give the engine more of what the client has said; False when it must wait."""
        if not self._audio:
            return self._end_utterance()
        chunk, draining = self._next_chunk(), self.phase is Phase.DRAINING
        if not self._window_has_room(chunk) or (not draining and (now_s < self._pace_due_s or not self._has_room)):
            return False
        self._audio = self._audio[CHUNK_BYTES:]
        self.audio_bytes += len(chunk)
        self._pace_due_s = now_s + self._pace.wait_s(len(chunk) / self._settings.bytes_per_second, now_s)
        self._give(chunk)
        return True

    def _end_utterance(self) -> bool:
        if not self._window_has_room(EndOfUtterance()):
            return False
        self._must_end_utterance = False
        self._give(EndOfUtterance())
        return True

    def _give(self, content: Content) -> None:
        self._in_flight_bytes += cost_bytes(content)
        self._actions.append(HandOn(content))

    def _drain(self) -> None:
        """Hand on what has been read; then no more comes."""
        while True:
            if not self._events:
                with contextlib.suppress(ProtocolError):  # its time is over anyway
                    self._events.extend(self._protocol.events())
            event = self._events.popleft() if self._events else AudioFinished()
            if isinstance(event, AudioReceived):
                self._take_audio(event)
                return
            if isinstance(event, UtteranceEnded):
                self._must_end_utterance = True
                return
            if isinstance(event, AudioFinished):
                self._finish()
                return

    def _take_audio(self, event: AudioReceived) -> None:
        self._actions.append(Record(event.pcm))
        self._audio = memoryview(event.pcm)

    def _finish(self) -> None:
        self.phase = Phase.FINISHING
        self._actions.append(Finish())

    # --- its time

    def _restart_unit(self, now_s: float, new_packet: bool) -> None:
        """Give a packet that has begun its time."""
        if not self._protocol.mid_packet:
            self._unit_due_s = math.inf
        elif new_packet or self._unit_due_s == math.inf:
            self._unit_due_s = now_s + self._timeout_s

    def _what_is_late(self) -> str:
        if self._protocol.handshaking:
            return "the handshake was not completed in time"
        return "a packet was not completed in time" if self._protocol.mid_packet else "nothing was received"

    # --- its engine

    def _begin(self, granted: Granted, now_s: float) -> None:
        self.slot = granted.slot
        self.phase = Phase.SERVING
        self._protocol.grant_engine()
        self._send(welcome_packet(f"engine {granted.slot} is yours"))
        self._silent_since_s = now_s
        self._restart_unit(now_s, new_packet=True)
        if self._limit_s:
            self._limit_due_s = now_s + self._limit_s
        self._advance(now_s)

    def _take_result(self, segment: Recognized) -> None:
        self.segments += segment.end_s > segment.start_s
        self.suppressed += segment.is_suppressed
        self.busy_s += segment.busy_s
        if segment.text:
            self._send(_packet_of(segment), segment)
        if self._settings.events:
            done = UtteranceDone(segment.start_s, segment.end_s, segment.cause, bool(segment.text))
            self._send(event_packet(done))

    def _take_news(self, news: Union[Happened, Heard]) -> None:
        """Of an utterance that is not over, for a client that has asked for it."""
        if isinstance(news, Happened):
            self._send(event_packet(news.event))
        elif self.unsent_bytes < _LIVE_HIGH_WATER_BYTES:
            self._send(partial_packet(news.partial, self._settings.detail), news)

    def _cut_short(self, cut: CutShort, now_s: float) -> None:
        if self.phase in (Phase.OPENING, Phase.WAITING):
            self._fail(cut.code, cut.detail)
        elif self.phase is Phase.SERVING:
            self.phase = Phase.DRAINING
            self._cut = cut
            self._advance(now_s)

    # --- its end

    def _end_in_order(self) -> None:
        if self._cut is not None:
            self._fail(self._cut.code, self._cut.detail)
        else:
            self._end("completed", Ending.COMPLETED, END_PACKET)

    def _fail(self, code: ErrorCode, detail: str = "") -> None:
        self._end(f"{code.value} {detail}".strip(), Ending[code.name], error_packet(code, detail) + END_PACKET)

    def _end(self, outcome: str, ending: Ending, packets: bytes = b"") -> None:
        if self.ended:
            return
        if self.phase is not Phase.OPENING:
            self._actions.append(Release())
        self.phase = Phase.ENDED
        self.outcome = outcome
        self.ending = ending
        if packets:
            self.has_last_words = True
            self._send(packets)

    def _send(self, packets: bytes, news: Optional[Union[Recognized, Heard]] = None) -> None:
        self.unsent_bytes += len(packets)
        self._actions.append(Send(packets, news))


def _packet_of(segment: Recognized) -> bytes:
    if segment.detail is None:
        return result_packet(segment.start_s, segment.end_s, segment.text)
    return detailed_result_packet(DetailedResult(segment.start_s, segment.end_s, segment.text, segment.detail))
