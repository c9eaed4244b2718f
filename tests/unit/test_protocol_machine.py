"""Any course of a session: what the server makes of it is what the specification's table says."""

from typing import List, Optional, Tuple, Union

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.packets import (
    MAGIC,
    MAX_DATA_BYTES,
    PREFIX_BYTES,
    Header,
    MagicMismatch,
    ProtocolError,
    encode_packet,
)
from tests.unit.test_protocol import LEGAL
from util import (
    AudioReceived,
    EngineRequested,
    Event,
    OptionsReceived,
    ServerProtocol,
    State,
)

_WITH_DATA = (Header.USER, Header.OPTIONS, Header.AUDIO)
_OPTIONS = b'{"language":"en"}'
_ANY_PACKET = [
    (Header(header), data) for header in sorted({header for _, header in LEGAL}) for data in (b"", b"xyz", _OPTIONS)
]
_LEAST_FINAL = [b"%u", b"%o", b"%b", b"%s", b"%e", b"%f", b"%c"]
_BROKEN = [b"x", b"%x", b"%L0000", b"%s00g0", b"%s-001", b"%c 000", b"\r\n", b"%\0"]


def joined(events: List[Event]) -> List[Event]:
    """Audio that followed audio, as one; empty audio is none."""
    merged: List[Event] = []
    for event in events:
        last = merged[-1] if merged else None
        if not isinstance(event, AudioReceived):
            merged.append(event)
        elif isinstance(last, AudioReceived):
            merged[-1] = AudioReceived(last.pcm + event.pcm)
        elif event.pcm:
            merged.append(event)
    return merged


class Session(RuleBasedStateMachine):
    """A client that does anything, and the table played by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = ServerProtocol()
        self.events: List[Event] = []
        self.error: Optional[ProtocolError] = None
        self.state = State.MAGIC
        self.waiting: List[Tuple[Header, bytes]] = []  # sent, and not yet to be judged
        self.expected: List[Event] = []
        self.broken = False  # bytes that can be no packet wait, or have been judged

    # --- the client

    @precondition(lambda self: self.state is State.MAGIC)
    @rule(cut=st.integers(0, len(MAGIC)))
    def open(self, cut: int) -> None:
        self._give(MAGIC, cut)
        self.state = State.HELLO
        self._judge()

    @precondition(lambda self: self.state is State.MAGIC)
    @rule(length=st.integers(0, len(MAGIC) - 1), wrong=st.binary(min_size=1))
    def open_wrongly(self, length: int, wrong: bytes) -> None:
        if wrong[0] == MAGIC[length]:
            return
        try:
            ServerProtocol().receive(MAGIC[:length] + wrong)
        except MagicMismatch:
            return
        raise AssertionError("another opening was taken")

    @precondition(lambda self: any(state is self.state for state, _ in LEGAL) and not self.broken)
    @rule(choice=st.integers(0, 20))
    def go_on(self, choice: int) -> None:
        headers = sorted((header for state, header in LEGAL if state is self.state), key=_LEAST_FINAL.index)
        header = Header(headers[choice % len(headers)])
        self._send(header, _OPTIONS if header is Header.OPTIONS else b"")

    @precondition(lambda self: self.state is State.STREAMING and not self.broken)
    @rule(data=st.binary(min_size=1, max_size=2000), cut=st.integers(0, 2000))
    def speak(self, data: bytes, cut: int) -> None:
        self._send(Header.AUDIO, data, cut)

    @precondition(lambda self: self.state is not State.MAGIC and not self.broken)
    @rule(packet=st.sampled_from(_ANY_PACKET) | st.sampled_from(_BROKEN))
    def do_anything(self, packet: Union[Tuple[Header, bytes], bytes]) -> None:
        if isinstance(packet, tuple):
            self._send(*packet)
        else:
            self.broken = True
            self._give(packet, 1)

    @precondition(lambda self: self.state is State.ASKED and self.error is None)
    @rule()
    def grant(self) -> None:
        self.protocol.grant_engine()
        self.state = State.READY
        self._judge()
        self._take()

    @precondition(lambda self: self.broken)
    @rule(data=st.binary(max_size=100))
    def go_on_regardless(self, data: bytes) -> None:
        self._give(data, 1)

    # --- both sides

    def _send(self, header: Header, data: bytes, cut: int = 3) -> None:
        self.waiting.append((header, data))
        self._judge()
        self._give(encode_packet(header, data), cut)

    def _judge(self) -> None:
        while self.waiting and self.state not in (State.ASKED, State.OVER):
            header, data = self.waiting.pop(0)
            legal = LEGAL.get((self.state, header.value))
            is_nonsense = header is Header.OPTIONS and data != _OPTIONS
            if legal is None or is_nonsense or (data and header not in _WITH_DATA):
                self.broken = True
                self.state = State.OVER
                return
            self.state, (*events,) = legal
            if header is Header.USER:
                events = [EngineRequested(data.decode(errors="replace"))]
            elif header is Header.OPTIONS:
                events = [OptionsReceived({"language": "en"})]
            elif header is Header.AUDIO:
                events = [AudioReceived(data)]
            self.expected += events

    def _give(self, data: bytes, cut: int) -> None:
        for piece in (data[:cut], data[cut:]):
            self.protocol.receive(piece)
            self._take()

    def _take(self) -> None:
        try:
            while self.error is None and (new := self.protocol.events()):
                self.events += new
        except ProtocolError as error:
            self.error = error

    @invariant()
    def the_server_has_understood_what_was_said(self) -> None:
        assert joined(self.events) == joined(self.expected)
        if self.error is not None:
            assert self.broken
        elif self.state is not State.OVER and not self.broken:
            assert self.protocol.state is self.state

    @invariant()
    def no_more_than_a_packet_is_kept_back(self) -> None:
        if self.error is None and self.state not in (State.ASKED, State.OVER) and not self.broken:
            assert len(self.protocol._parser._buffer) <= PREFIX_BYTES + MAX_DATA_BYTES


TestSession = Session.TestCase
TestSession.settings = settings(max_examples=300, stateful_step_count=25, deadline=None)
