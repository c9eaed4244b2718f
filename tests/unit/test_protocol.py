"""A session as the server sees it: which packet may come when, and what it means."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.packets import (
    MAGIC,
    Header,
    MagicMismatch,
    ProtocolError,
    encode_packet,
)
from util import (
    AudioFinished,
    AudioReceived,
    EngineRequested,
    Event,
    OptionsReceived,
    ServerProtocol,
    State,
    StatusRequested,
    UtteranceEnded,
)

# The bytes that bring a session from its very beginning into a state; %u is followed by the grant of an engine.
WAY_TO = {
    State.HELLO: MAGIC,
    State.READY: MAGIC + b"%u0001x",
    State.CONFIGURED: MAGIC + b"%u0001x%o0002{}",
    State.STREAMING: MAGIC + b"%u0001x%b0000",
    State.FINISHING: MAGIC + b"%u0001x%b0000%f0000",
}
# The data of a packet that cannot do without.
LEAST_DATA = {b"%o": b"{}"}
# The session as it is specified; every pair that is missing is illegal.
LEGAL: dict[tuple[State, bytes], tuple[State, list[Event]]] = {
    (State.HELLO, b"%u"): (State.ASKED, [EngineRequested("")]),
    (State.HELLO, b"%c"): (State.OVER, [StatusRequested(closing=True)]),
    (State.READY, b"%b"): (State.STREAMING, []),
    (State.READY, b"%o"): (State.CONFIGURED, [OptionsReceived({})]),
    (State.READY, b"%c"): (State.READY, [StatusRequested(closing=False)]),
    (State.CONFIGURED, b"%b"): (State.STREAMING, []),
    (State.CONFIGURED, b"%c"): (State.CONFIGURED, [StatusRequested(closing=False)]),
    (State.STREAMING, b"%s"): (State.STREAMING, [AudioReceived(b"")]),
    (State.STREAMING, b"%e"): (State.STREAMING, [UtteranceEnded()]),
    (State.STREAMING, b"%f"): (State.FINISHING, [AudioFinished()]),
    (State.STREAMING, b"%c"): (State.STREAMING, [StatusRequested(closing=False)]),
    (State.FINISHING, b"%c"): (State.FINISHING, [StatusRequested(closing=False)]),
}
HEADERS = [*(header.value for header in sorted(Header)), b"%x", b"%U"]
PAIRS = [(state, header) for state in WAY_TO for header in HEADERS]


def protocol_in(state: State) -> ServerProtocol:
    protocol = ServerProtocol()
    protocol.receive(WAY_TO[state])
    play(protocol)
    assert protocol.state is state
    return protocol


def least(header: bytes) -> bytes:
    """The shortest packet with that header, also with one that is none."""
    data = LEAST_DATA.get(header, b"")
    return b"%b%04X%b" % (header, len(data), data)


def play(protocol: ServerProtocol) -> list[Event]:
    """Every event of what was received, an engine being granted as soon as it is asked for."""
    events: list[Event] = []
    while new := protocol.events():
        events += new
        if isinstance(new[-1], EngineRequested):
            protocol.grant_engine()
    return events


# --- transitions


@pytest.mark.parametrize(("state", "header"), sorted(LEGAL, key=str))
def test_a_packet_of_the_session_leads_on(state: State, header: bytes) -> None:
    protocol = protocol_in(state)
    protocol.receive(least(header))
    next_state, events = LEGAL[state, header]
    assert protocol.events() == events
    assert protocol.state is next_state


@pytest.mark.parametrize(("state", "header"), [pair for pair in PAIRS if pair not in LEGAL])
def test_any_other_packet_is_illegal(state: State, header: bytes) -> None:
    protocol = protocol_in(state)
    protocol.receive(least(header))
    with pytest.raises(ProtocolError):
        protocol.events()


@pytest.mark.parametrize(("state", "header"), [pair for pair in LEGAL if pair[1] in (b"%b", b"%e", b"%f", b"%c")])
def test_data_where_none_belongs_is_illegal(state: State, header: bytes) -> None:
    protocol = protocol_in(state)
    protocol.receive(header + b"0001x")
    with pytest.raises(ProtocolError, match="carries no data"):
        protocol.events()


@pytest.mark.parametrize("state", WAY_TO)
def test_a_bad_length_is_illegal(state: State) -> None:
    protocol = protocol_in(state)
    protocol.receive(b"%c-000")
    with pytest.raises(ProtocolError, match="hexadecimal"):
        protocol.events()


def test_an_engine_cannot_be_granted_where_none_was_asked_for() -> None:
    for state in WAY_TO:
        with pytest.raises(RuntimeError):
            protocol_in(state).grant_engine()


# --- the opening bytes


def test_the_magic_is_matched_byte_by_byte() -> None:
    protocol = ServerProtocol()
    for index in range(len(MAGIC)):
        assert protocol.state is State.MAGIC
        protocol.receive(MAGIC[index : index + 1])
        assert protocol.events() == []
    assert protocol.state is State.HELLO


@pytest.mark.parametrize("index", range(len(MAGIC)))
def test_the_first_byte_of_the_magic_that_differs_is_enough(index: int) -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC[:index])
    with pytest.raises(MagicMismatch):
        protocol.receive(bytes([MAGIC[index] ^ 0x20]))


@pytest.mark.parametrize(
    "opening", [b"\x00", b"GET / HTTP/1.1\r\n\r\n", MAGIC.lower(), b"WHISPER_STREAMING_V1.1", b" " + MAGIC, b"%u0000"]
)
def test_another_opening_is_refused_in_one_piece_too(opening: bytes) -> None:
    with pytest.raises(MagicMismatch):
        ServerProtocol().receive(opening)


@pytest.mark.parametrize("cut", range(len(MAGIC) + 8))
def test_the_magic_may_be_cut_anywhere(cut: int) -> None:
    opening = MAGIC + b"%u0002me"
    protocol = ServerProtocol()
    protocol.receive(opening[:cut])
    events = protocol.events()
    protocol.receive(opening[cut:])
    assert events + protocol.events() == [EngineRequested("me")]


# --- what packets mean


@pytest.mark.parametrize(
    ("data", "user"),
    [
        (b"", ""),
        ("김철수".encode(), "김철수"),
        (b"a\x00b\n", "a\x00b\n"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (bytes(0xFFFF), "\x00" * 0xFFFF),
    ],
    ids=["empty", "korean", "control", "not utf-8", "longest"],
)
def test_any_bytes_are_a_user_id(data: bytes, user: str) -> None:
    protocol = protocol_in(State.HELLO)
    protocol.receive(encode_packet(Header.USER, data))
    assert protocol.events() == [EngineRequested(user)]


def test_a_client_that_sends_everything_ahead_waits_for_its_engine() -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC + b"%u0002me%b0000%s0003abc%c0000%s0001d%s0000%s0002ef%f0000")
    assert protocol.events() == [EngineRequested("me")]
    assert protocol.events() == []
    protocol.grant_engine()
    assert protocol.events() == [
        AudioReceived(b"abc"),
        StatusRequested(closing=False),
        AudioReceived(b"def"),
        AudioFinished(),
    ]
    assert protocol.state is State.FINISHING


def test_what_follows_a_lone_status_request_is_not_looked_at() -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC + b"%c0000garbage")
    assert protocol.events() == [StatusRequested(closing=True)]
    protocol.receive(b"more")
    assert protocol.events() == []


def test_what_comes_before_the_engine_is_granted_is_judged_after_it() -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC + b"%u0000garbage")
    assert protocol.events() == [EngineRequested("")]
    protocol.grant_engine()
    with pytest.raises(ProtocolError):
        protocol.events()


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=70), max_size=20),  # odd lengths and empty packets among them
    st.lists(st.integers(0, 2000), max_size=40),
)
def test_the_audio_is_the_same_for_any_packets_and_chunks(packets: list[bytes], cuts: list[int]) -> None:
    audio = b"".join(packets)
    stream = MAGIC + b"%u0000%b0000" + b"".join(encode_packet(Header.AUDIO, p) for p in packets) + b"%f0000"
    bounds = [0, *sorted(cut % len(stream) for cut in cuts), len(stream)]
    protocol = ServerProtocol()
    events: list[Event] = []
    for start, end in zip(bounds, bounds[1:]):
        protocol.receive(stream[start:end])
        events += play(protocol)
    assert events[0] == EngineRequested("")
    assert events[-1] == AudioFinished()
    assert b"".join(event.pcm for event in events if isinstance(event, AudioReceived)) == audio
    assert len([event for event in events if not isinstance(event, AudioReceived)]) == 2


PIECES = [MAGIC, b"%", *(header + b"0000" for header in HEADERS), b"%s0003ab", b"%u0001", b"%sFFFF", b"00-1", b"\xff"]


@settings(deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=15), st.booleans())
def test_arbitrary_bytes_end_in_a_protocol_error_at_worst(pieces: list[bytes], with_magic: bool) -> None:
    protocol = ServerProtocol()
    with suppress(ProtocolError):
        protocol.receive(MAGIC if with_magic else b"")
        for piece in pieces:
            protocol.receive(piece)
            play(protocol)
    assert protocol.state in State


# --- for time limits and logs


def test_the_handshake_lasts_until_the_client_has_said_what_it_wants() -> None:
    protocol = ServerProtocol()
    assert protocol.handshaking
    protocol.receive(MAGIC + b"%u0000")
    assert protocol.handshaking
    protocol.events()
    assert not protocol.handshaking


def test_complete_packets_are_counted_and_an_incomplete_one_is_known() -> None:
    protocol = protocol_in(State.STREAMING)
    assert (protocol.packets, protocol.mid_packet) == (2, False)
    protocol.receive(b"%s0002a")
    protocol.events()
    assert (protocol.packets, protocol.mid_packet) == (2, True)
    protocol.receive(b"b")
    protocol.events()
    assert (protocol.packets, protocol.mid_packet) == (3, False)


def test_what_came_before_an_illegal_packet_still_counts() -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC + encode_packet(Header.USER, b"u"))
    protocol.events()
    protocol.grant_engine()
    protocol.receive(encode_packet(Header.BEGIN) + encode_packet(Header.AUDIO, b"pcm") + b"%x")
    assert protocol.events() == [AudioReceived(b"pcm")]
    for _ in range(2):
        with pytest.raises(ProtocolError, match="unknown header"):
            protocol.events()
