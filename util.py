"""What both ends of the wire share: both sides of a session's protocol as pure state, and what its packets say.

Bytes go in, events come out; the client's side also makes the bytes to send. Nothing here knows a socket, a thread,
a process or a clock, and nothing but the standard library is used. `protocol/packets.py` frames the
packets, `protocol/data.py` has what those with structure say. `docs/protocol.md` describes the same for people who
write clients in other languages.
"""

import enum
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type, TypeVar, Union

from protocol.data import (
    DataError,
    Detail,
    DetailedResult,
    Partial,
    SessionOptions,
    UtteranceEvent,
    encode_event,
    encode_options,
    encode_partial,
    encode_result,
    parse_detailed_result,
    parse_event,
    parse_options,
    parse_partial,
)
from protocol.packets import (
    CLIENT_HEADERS,
    MAGIC,
    MAX_DATA_BYTES,
    SERVER_HEADERS,
    ErrorCode,
    Header,
    MagicMismatch,
    Packet,
    PacketParser,
    ProtocolError,
    cut_utf8,
    decode_text,
    encode_packet,
    encode_text,
    shown,
)

_Said = TypeVar("_Said")
_RESULT_PATTERN = re.compile(rb"([0-9]{1,9}\.[0-9]{1,9}) ([0-9]{1,9}\.[0-9]{1,9}) : (.*)", re.DOTALL)
_STATUS_PATTERN = re.compile(rb"engine ([0-9]{1,9}): (.*)", re.DOTALL)


# --- the packets of the server ---------------------------------------------------------------


def welcome_packet(text: str) -> bytes:
    """An engine is yours."""
    return encode_text(Header.WELCOME, text)


def result_packet(start_s: float, end_s: float, text: str) -> bytes:
    """What was said from `start_s` to `end_s`, counted from the first byte of audio."""
    return encode_text(Header.RESULT, f"{start_s:.1f} {end_s:.1f} : {text}")


def detailed_result_packet(result: DetailedResult) -> bytes:
    """The same with all that is known of it."""
    return encode_packet(Header.RESULT, encode_result(result))


def partial_packet(partial: Partial, detailed: bool) -> bytes:
    """An open utterance so far; as JSON where `detailed`."""
    return encode_packet(Header.PARTIAL, encode_partial(partial, detailed))


def event_packet(event: UtteranceEvent) -> bytes:
    """What has happened to an utterance."""
    return encode_packet(Header.EVENT, encode_event(event))


def error_packet(code: ErrorCode, detail: str = "") -> bytes:
    """Why the session ends early."""
    return encode_text(Header.ERROR, f"{code.value}: {detail}" if detail else code.value)


def status_packet(index: int, state: str) -> bytes:
    """What one engine does: `running`, `sleeping` or `starting`."""
    return encode_text(Header.ENGINE_STATUS, f"engine {index}: {state}")


END_PACKET = encode_packet(Header.END)


# --- the server's side of a session ----------------------------------------------------------


@dataclass(frozen=True)
class EngineRequested:
    """The client said who it is and wants an engine."""

    user: str


@dataclass(frozen=True)
class StatusRequested:
    """The client wants to know what the engines do; `closing` when that was all it came for."""

    closing: bool


@dataclass(frozen=True)
class OptionsReceived:
    """What the client asks for, as it was sent: keys and values of JSON."""

    fields: Dict[str, Any]


@dataclass(frozen=True)
class AudioReceived:
    """Audio of one or more packets that followed each other."""

    pcm: bytes


@dataclass(frozen=True)
class UtteranceEnded:
    """The client says that the utterance ends here."""


@dataclass(frozen=True)
class AudioFinished:
    """The client has sent all its audio and waits for the last results."""


Event = Union[EngineRequested, OptionsReceived, StatusRequested, AudioReceived, UtteranceEnded, AudioFinished]


class State(enum.Enum):
    """Where a session stands, seen from the server."""

    MAGIC = "the opening bytes"
    HELLO = "'%u' or '%c'"
    ASKED = "an engine"
    READY = "'%o' or '%b'"
    CONFIGURED = "'%b'"
    STREAMING = "'%s', '%e' or '%f'"
    FINISHING = "nothing, while the last results are computed"
    OVER = "nothing"


# Every packet that may come, and where it leads; whatever is not here is illegal.
_TRANSITIONS: Dict[Tuple[State, Header], State] = {
    (State.HELLO, Header.USER): State.ASKED,
    (State.HELLO, Header.CLIENT_STATUS): State.OVER,
    (State.READY, Header.OPTIONS): State.CONFIGURED,
    (State.READY, Header.BEGIN): State.STREAMING,
    (State.READY, Header.CLIENT_STATUS): State.READY,
    (State.CONFIGURED, Header.BEGIN): State.STREAMING,
    (State.CONFIGURED, Header.CLIENT_STATUS): State.CONFIGURED,
    (State.STREAMING, Header.AUDIO): State.STREAMING,
    (State.STREAMING, Header.END_UTTERANCE): State.STREAMING,
    (State.STREAMING, Header.FINISH): State.FINISHING,
    (State.STREAMING, Header.CLIENT_STATUS): State.STREAMING,
    (State.FINISHING, Header.CLIENT_STATUS): State.FINISHING,
}
_WITHOUT_DATA = frozenset({Header.BEGIN, Header.END_UTTERANCE, Header.FINISH, Header.CLIENT_STATUS, Header.END})
_PLAIN_EVENTS: Dict[Header, Event] = {Header.END_UTTERANCE: UtteranceEnded(), Header.FINISH: AudioFinished()}


class ServerProtocol:
    """One session as the server sees it. Everything that changes its state lives here.

    `receive` takes bytes, `events` gives what they mean. After EngineRequested no event comes until
    `grant_engine` says that there is one: a client may send ahead, its bytes wait.
    """

    def __init__(self) -> None:
        self.state = State.MAGIC
        self._parser = PacketParser(CLIENT_HEADERS)
        self._magic_matched_bytes = 0
        self._error: Optional[ProtocolError] = None

    @property
    def handshaking(self) -> bool:
        """Whether the client has yet to say what it wants."""
        return self.state in (State.MAGIC, State.HELLO)

    @property
    def mid_packet(self) -> bool:
        """Whether a packet has begun and is not complete."""
        return self._parser.mid_packet

    @property
    def packets(self) -> int:
        """How many complete packets there were."""
        return self._parser.packets

    def receive(self, data: bytes) -> None:
        """Take over what was received; raises MagicMismatch."""
        if self.state is State.MAGIC:
            data = self._match_magic(data)
        self._parser.feed(data)

    def _match_magic(self, data: bytes) -> bytes:
        expected = MAGIC[self._magic_matched_bytes : self._magic_matched_bytes + len(data)]
        if not data.startswith(expected):
            raise MagicMismatch(f"the connection does not open with {MAGIC.decode()}")
        self._magic_matched_bytes += len(expected)
        if self._magic_matched_bytes == len(MAGIC):
            self.state = State.HELLO
        return data[len(expected) :]

    def grant_engine(self) -> None:
        """The engine asked for is there; only in State.ASKED."""
        if self.state is not State.ASKED:
            raise RuntimeError(f"no engine was asked for in state {self.state.name}")
        self.state = State.READY

    def events(self) -> List[Event]:
        """What the bytes received so far mean, in order; audio that followed audio is joined.

        Raises ProtocolError when a packet is illegal; what came before it is returned first.
        """
        events: List[Event] = []
        audio: List[bytes] = []
        try:
            while self._error is None and self.state not in (State.MAGIC, State.ASKED, State.OVER):
                packet = self._parser.next_packet()
                if packet is None:
                    break
                event = self._accept(packet)
                if isinstance(event, AudioReceived):
                    audio.append(event.pcm)
                    continue
                _flush(audio, events)
                if event is not None:
                    events.append(event)
        except ProtocolError as error:
            self._error = error
        _flush(audio, events)
        if self._error is not None and not events:
            raise self._error
        return events

    def _accept(self, packet: Packet) -> Optional[Event]:
        header, data = packet
        next_state = _TRANSITIONS.get((self.state, header))
        if next_state is None:
            raise ProtocolError(f"{shown(header.value)} is not allowed here; expected {self.state.value}")
        _check_data(packet)
        self.state = next_state
        if header is Header.USER:
            return EngineRequested(decode_text(data))
        if header is Header.CLIENT_STATUS:
            return StatusRequested(closing=next_state is State.OVER)
        if header is Header.AUDIO:
            return AudioReceived(data)
        if header is Header.OPTIONS:
            return OptionsReceived(_understood(header, parse_options, data))
        return _PLAIN_EVENTS.get(header)


def _check_data(packet: Packet) -> None:
    if packet.data and packet.header in _WITHOUT_DATA:
        raise ProtocolError(f"{shown(packet.header.value)} carries no data, got {len(packet.data)} bytes")


def _understood(header: Header, parse: Callable[[bytes], _Said], data: bytes) -> _Said:
    try:
        return parse(data)
    except DataError as error:
        raise ProtocolError(f"{shown(header.value)}: {error}") from error


def _flush(audio: List[bytes], events: List[Event]) -> None:
    if audio:
        events.append(AudioReceived(b"".join(audio)))
        audio.clear()


# --- the client's side of a session ----------------------------------------------------------


@dataclass(frozen=True)
class Welcome:
    """An engine is the client's until the session ends."""

    text: str


class Result(NamedTuple):
    """A recognised segment; seconds from the first byte of audio. `detail` where the client has asked for it."""

    start_s: float
    end_s: float
    text: str
    detail: Optional[Detail] = None


@dataclass(frozen=True)
class EngineStatus:
    """What one engine does: `running`, `sleeping` or `starting`."""

    index: int
    state: str


@dataclass(frozen=True)
class ErrorReceived:
    """Why the server ends the session; `code` is one of ErrorCode, as text: a newer server may know more."""

    code: str
    detail: str


@dataclass(frozen=True)
class SessionEnded:
    """Nothing follows."""


ClientEvent = Union[Welcome, Partial, Result, UtteranceEvent, EngineStatus, ErrorReceived, SessionEnded]


def parse_result(data: bytes) -> Result:
    """The inverse of `result_packet` and `detailed_result_packet` for their data; raises ProtocolError."""
    if data.startswith(b"{"):
        return Result(*_understood(Header.RESULT, parse_detailed_result, data))
    match = _RESULT_PATTERN.fullmatch(data)
    if match is None:
        raise ProtocolError(f"a result is 'START END : TEXT', not {shown(data)}")
    return Result(float(match[1]), float(match[2]), decode_text(match[3]))


def parse_status(data: bytes) -> EngineStatus:
    """The inverse of `status_packet` for its data; raises ProtocolError."""
    match = _STATUS_PATTERN.fullmatch(data)
    if match is None:
        raise ProtocolError(f"a status is 'engine N: STATE', not {shown(data)}")
    return EngineStatus(int(match[1]), decode_text(match[2]))


def parse_error(data: bytes) -> ErrorReceived:
    """The inverse of `error_packet` for its data."""
    code, _, detail = decode_text(data).partition(": ")
    return ErrorReceived(code, detail)


class ClientState(enum.Enum):
    """Where a session stands, seen from the client, which need not wait for the welcome before it goes on."""

    OPENING = "nothing was sent yet"
    INQUIRING = "the status was asked for, and no engine"
    ASKED = "an engine was asked for"
    ASKED_STREAMING = "audio is sent, ahead of the welcome"
    ASKED_FINISHING = "all audio was sent, ahead of the welcome"
    READY = "there is an engine, and nothing has begun"
    STREAMING = "audio is sent"
    FINISHING = "all audio was sent"
    FAILED = "the server has told an error"
    OVER = "the session has ended"


_BEFORE = (ClientState.OPENING, ClientState.INQUIRING)
_UNANSWERED = (ClientState.ASKED, ClientState.ASKED_STREAMING, ClientState.ASKED_FINISHING)
_SERVED = (ClientState.READY, ClientState.STREAMING, ClientState.FINISHING)
# Every packet that may be sent or may come, and where it leads; whatever is not here is wrong.
_CLIENT_TRANSITIONS: Dict[Tuple[ClientState, Header], ClientState] = {
    # what the client sends
    (ClientState.OPENING, Header.USER): ClientState.ASKED,
    (ClientState.OPENING, Header.CLIENT_STATUS): ClientState.INQUIRING,
    (ClientState.ASKED, Header.OPTIONS): ClientState.ASKED,
    (ClientState.ASKED, Header.BEGIN): ClientState.ASKED_STREAMING,
    (ClientState.ASKED_STREAMING, Header.AUDIO): ClientState.ASKED_STREAMING,
    (ClientState.ASKED_STREAMING, Header.END_UTTERANCE): ClientState.ASKED_STREAMING,
    (ClientState.ASKED_STREAMING, Header.FINISH): ClientState.ASKED_FINISHING,
    (ClientState.READY, Header.OPTIONS): ClientState.READY,
    (ClientState.READY, Header.BEGIN): ClientState.STREAMING,
    (ClientState.STREAMING, Header.AUDIO): ClientState.STREAMING,
    (ClientState.STREAMING, Header.END_UTTERANCE): ClientState.STREAMING,
    (ClientState.STREAMING, Header.FINISH): ClientState.FINISHING,
    **{(state, Header.CLIENT_STATUS): state for state in (*_UNANSWERED, *_SERVED)},
    # what the server sends
    **{(state, Header.WELCOME): served for state, served in zip(_UNANSWERED, _SERVED)},
    **{(state, Header.ENGINE_STATUS): state for state in (ClientState.INQUIRING, *_SERVED)},
    **{
        (state, header): state
        for state in (ClientState.STREAMING, ClientState.FINISHING)
        for header in (Header.PARTIAL, Header.RESULT, Header.EVENT)
    },
    **{(state, Header.ERROR): ClientState.FAILED for state in (*_BEFORE, *_UNANSWERED, *_SERVED)},
    (ClientState.INQUIRING, Header.END): ClientState.OVER,
    (ClientState.FINISHING, Header.END): ClientState.OVER,
    (ClientState.FAILED, Header.END): ClientState.OVER,
}
# None: an event of a newer server.
_MEANINGS: Dict[Header, Callable[[bytes], Optional[ClientEvent]]] = {
    Header.WELCOME: lambda data: Welcome(decode_text(data)),
    Header.PARTIAL: lambda data: _understood(Header.PARTIAL, parse_partial, data),
    Header.RESULT: parse_result,
    Header.EVENT: lambda data: _understood(Header.EVENT, parse_event, data),
    Header.ENGINE_STATUS: parse_status,
    Header.ERROR: parse_error,
    Header.END: lambda _: SessionEnded(),
}


class ClientProtocol:
    """One session as the client sees it. Everything that changes its state lives here.

    The methods that say something return the bytes to send, in the order of the calls; RuntimeError where they have no
    place: a fault of the program, which must also stop sending once it knows that the server has told an error.
    `receive` takes bytes, `events` gives what they mean.
    """

    def __init__(self) -> None:
        self.state = ClientState.OPENING
        self._parser = PacketParser(SERVER_HEADERS)
        self._has_chosen = False
        self._error: Optional[ProtocolError] = None

    @property
    def packets(self) -> int:
        """How many complete packets have come."""
        return self._parser.packets

    def ask_engine(self, user: str) -> bytes:
        """Open the session and ask for an engine; a user id too long for a packet is cut."""
        return self._say(Header.USER, cut_utf8(user, MAX_DATA_BYTES))

    def ask_status(self) -> bytes:
        """Ask what the engines do: as all that is wanted, in place of `ask_engine`, or at any time after it."""
        return self._say(Header.CLIENT_STATUS)

    def choose(self, options: SessionOptions) -> bytes:
        """Say what is asked for, once and before `begin`; nothing where that is nothing."""
        if options.are_default:
            return b""
        if self._has_chosen:
            raise RuntimeError("options are told once in a session")
        said = self._say(Header.OPTIONS, encode_options(options))
        self._has_chosen = True
        return said

    def begin(self) -> bytes:
        """Audio will follow."""
        return self._say(Header.BEGIN)

    def audio(self, pcm: bytes) -> bytes:
        """Audio of any length, in as many packets as it takes."""
        self._advance(Header.AUDIO, RuntimeError)
        pieces = (pcm[start : start + MAX_DATA_BYTES] for start in range(0, len(pcm), MAX_DATA_BYTES))
        return b"".join(encode_packet(Header.AUDIO, piece) for piece in pieces)

    def end_utterance(self) -> bytes:
        """The utterance that was spoken in the audio so far ends here."""
        return self._say(Header.END_UTTERANCE)

    def finish(self) -> bytes:
        """All audio is sent; the last results are waited for."""
        return self._say(Header.FINISH)

    def receive(self, data: bytes) -> None:
        """Take over what was received."""
        self._parser.feed(data)

    def events(self) -> List[ClientEvent]:
        """What the bytes received so far mean, in order.

        Raises ProtocolError when the server broke the protocol; what came before that is returned first.
        """
        events: List[ClientEvent] = []
        try:
            while self._error is None:
                packet = self._parser.next_packet()
                if packet is None:
                    break
                event = self._accept(packet)
                if event is not None:
                    events.append(event)
        except ProtocolError as error:
            self._error = error
        if self._error is not None and not events:
            raise self._error
        return events

    def _accept(self, packet: Packet) -> Optional[ClientEvent]:
        _check_data(packet)
        event = _MEANINGS[packet.header](packet.data)
        self._advance(packet.header, ProtocolError)
        return event

    def _say(self, header: Header, data: bytes = b"") -> bytes:
        opening = MAGIC if self.state is ClientState.OPENING else b""
        self._advance(header, RuntimeError)
        return opening + encode_packet(header, data)

    def _advance(self, header: Header, error: Type[Exception]) -> None:
        next_state = _CLIENT_TRANSITIONS.get((self.state, header))
        if next_state is None:
            raise error(f"{shown(header.value)} has no place here: {self.state.value}")
        self.state = next_state
