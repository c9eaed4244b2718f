"""A session as the client sees it: what may be sent when, what may come when, and what it means."""

from contextlib import suppress
from typing import Callable, Dict, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.data import Cause, Partial, SessionOptions, SpeechStarted, SpeechStopped, UtteranceDone
from protocol.packets import (
    MAGIC,
    MAX_DATA_BYTES,
    SERVER_HEADERS,
    ErrorCode,
    Header,
    ProtocolError,
    encode_packet,
)
from util import (
    END_PACKET,
    ClientEvent,
    ClientProtocol,
    ClientState,
    EngineStatus,
    ErrorReceived,
    Result,
    SessionEnded,
    Welcome,
    error_packet,
    event_packet,
    partial_packet,
    result_packet,
    status_packet,
    welcome_packet,
)

ERROR = error_packet(ErrorCode.ENGINE_FAILED, "it died: nobody knows of what")
DATA = {
    Header.WELCOME: b"engine 0 is yours",
    Header.PARTIAL: b"1.2 3.4 : hello\tthere",
    Header.RESULT: b"1.2 3.4 : hello",
    Header.EVENT: b'{"event":"speech_started","at":1.2}',
    Header.ENGINE_STATUS: b"engine 0: running",
    Header.ERROR: b"TIMEOUT",
    Header.END: b"",
}


def protocol_in(state: ClientState) -> ClientProtocol:
    protocol = ClientProtocol()
    for step in WAY_TO[state]:
        step(protocol)
    assert protocol.state is state
    return protocol


def hear(data: bytes) -> Callable[[ClientProtocol], None]:
    def step(protocol: ClientProtocol) -> None:
        protocol.receive(data)
        while protocol.events():
            pass

    return step


def ask(protocol: ClientProtocol) -> bytes:
    return protocol.ask_engine("x")


def speak(protocol: ClientProtocol) -> bytes:
    return protocol.audio(b"abc")


def choose(protocol: ClientProtocol) -> bytes:
    return protocol.choose(SessionOptions(language="en"))


WELCOMED = hear(welcome_packet(""))
SAY: Dict[str, Callable[[ClientProtocol], bytes]] = {
    "%u": ask,
    "%c": ClientProtocol.ask_status,
    "%o": choose,
    "%b": ClientProtocol.begin,
    "%s": speak,
    "%e": ClientProtocol.end_utterance,
    "%f": ClientProtocol.finish,
}
WAY_TO: Dict[ClientState, List[Callable[[ClientProtocol], object]]] = {
    ClientState.OPENING: [],
    ClientState.INQUIRING: [ClientProtocol.ask_status],
    ClientState.ASKED: [ask],
    ClientState.ASKED_STREAMING: [ask, ClientProtocol.begin],
    ClientState.ASKED_FINISHING: [ask, ClientProtocol.begin, ClientProtocol.finish],
    ClientState.READY: [ask, WELCOMED],
    ClientState.STREAMING: [ask, WELCOMED, ClientProtocol.begin],
    ClientState.FINISHING: [ask, WELCOMED, ClientProtocol.begin, ClientProtocol.finish],
    ClientState.FAILED: [ask, hear(ERROR)],
    ClientState.OVER: [ask, hear(ERROR + END_PACKET)],
}
# What may be sent and what may come in each state, by letters of headers, as the specification has it.
LEGAL = {
    ClientState.OPENING: "uc E",
    ClientState.INQUIRING: " CEF",
    ClientState.ASKED: "obc LE",
    ClientState.ASKED_STREAMING: "sefc LE",
    ClientState.ASKED_FINISHING: "c LE",
    ClientState.READY: "obc CE",
    ClientState.STREAMING: "sefc PRVCE",
    ClientState.FINISHING: "c PRVCEF",
    ClientState.FAILED: " F",
    ClientState.OVER: " ",
}
SENT = [(state, what) for state in LEGAL for what in SAY]
CAME = [(state, header) for state in LEGAL for header in sorted(SERVER_HEADERS)]


def legal(state: ClientState, header: str) -> bool:
    return header[1] in LEGAL[state]


# --- what the client sends


@pytest.mark.parametrize(("state", "what"), [pair for pair in SENT if legal(*pair)])
def test_what_may_be_sent_is_given_as_bytes(state: ClientState, what: str) -> None:
    data = {"%u": b"x", "%o": b'{"language":"en"}', "%s": b"abc"}.get(what, b"")
    opening = MAGIC if state is ClientState.OPENING else b""
    assert SAY[what](protocol_in(state)) == opening + encode_packet(Header(what.encode()), data)


@pytest.mark.parametrize(("state", "what"), [pair for pair in SENT if not legal(*pair)])
def test_what_may_not_be_sent_is_a_fault_of_the_program_and_changes_nothing(state: ClientState, what: str) -> None:
    protocol = protocol_in(state)
    with pytest.raises(RuntimeError, match=f"'{what}' has no place here: {state.value}"):
        SAY[what](protocol)
    assert protocol.state is state


@pytest.mark.parametrize("length", [0, 1, MAX_DATA_BYTES, MAX_DATA_BYTES + 1, 3 * MAX_DATA_BYTES + 5])
def test_audio_of_any_length_is_sent_in_packets(length: int) -> None:
    pcm = bytes(index % 251 for index in range(length))
    sent = protocol_in(ClientState.STREAMING).audio(pcm)
    pieces = [pcm[start : start + MAX_DATA_BYTES] for start in range(0, length, MAX_DATA_BYTES)]
    assert sent == b"".join(encode_packet(Header.AUDIO, piece) for piece in pieces)


def test_a_user_id_too_long_for_a_packet_is_cut_at_a_character() -> None:
    sent = ClientProtocol().ask_engine("a" + "가" * 30_000)
    assert sent.startswith(MAGIC + b"%uFFFD")
    assert sent[-3:].decode() == "가"


def test_options_are_told_once_whether_or_not_the_welcome_has_come() -> None:
    for way in ([ask], [ask, WELCOMED], [ask, WELCOMED, ClientProtocol.ask_status]):
        protocol = ClientProtocol()
        for step in way:
            step(protocol)
        assert choose(protocol) == b'%o0011{"language":"en"}'
        with pytest.raises(RuntimeError, match="told once"):
            choose(protocol)


def test_options_that_had_no_place_may_still_be_told() -> None:
    protocol = ClientProtocol()
    with pytest.raises(RuntimeError, match="has no place here"):
        choose(protocol)
    ask(protocol)
    assert choose(protocol)


def test_who_asks_for_nothing_says_nothing() -> None:
    protocol = protocol_in(ClientState.READY)
    assert protocol.choose(SessionOptions()) == b""
    assert choose(protocol)


# --- what comes


@pytest.mark.parametrize(("state", "header"), [pair for pair in CAME if legal(pair[0], pair[1].value.decode())])
def test_a_packet_that_may_come_leads_on(state: ClientState, header: Header) -> None:
    protocol = protocol_in(state)
    before = protocol.packets
    protocol.receive(encode_packet(header, DATA[header]))
    assert len(protocol.events()) == 1
    assert protocol.packets == before + 1
    expected = {Header.ERROR: ClientState.FAILED, Header.END: ClientState.OVER}
    if header is Header.WELCOME:
        assert protocol.state.name == {"ASKED": "READY"}.get(state.name, state.name.replace("ASKED_", ""))
    else:
        assert protocol.state is expected.get(header, state)


@pytest.mark.parametrize(("state", "header"), [pair for pair in CAME if not legal(pair[0], pair[1].value.decode())])
def test_a_packet_that_may_not_come_is_an_error_of_the_server(state: ClientState, header: Header) -> None:
    protocol = protocol_in(state)
    protocol.receive(encode_packet(header, DATA[header]))
    for _ in range(2):
        with pytest.raises(ProtocolError, match=f"'{header.value.decode()}' has no place here: {state.value}"):
            protocol.events()
    assert protocol.state is state


def test_packets_are_events_with_their_meaning() -> None:
    protocol = protocol_in(ClientState.ASKED_FINISHING)
    stream = (
        welcome_packet("engine 1 is yours")
        + status_packet(0, "sleeping")
        + event_packet(SpeechStarted(1.2))
        + partial_packet(Partial(1.2, 2.0, "안녕 :", "하"), detailed=False)
        + partial_packet(Partial(1.2, 2.4, "안녕 : 하세요", ""), detailed=True)
        + event_packet(SpeechStopped(3.4, Cause.SILENCE))
        + result_packet(1.2, 3.4, "안녕 : 하세요")
        + event_packet(UtteranceDone(1.2, 3.4, Cause.SILENCE, has_text=True))
    )
    protocol.receive(stream + END_PACKET)
    assert protocol.events() == [
        Welcome("engine 1 is yours"),
        EngineStatus(0, "sleeping"),
        SpeechStarted(1.2),
        Partial(1.2, 2.0, "안녕 :", "하"),
        Partial(1.2, 2.4, "안녕 : 하세요", ""),
        SpeechStopped(3.4, Cause.SILENCE),
        Result(1.2, 3.4, "안녕 : 하세요"),
        UtteranceDone(1.2, 3.4, Cause.SILENCE, has_text=True),
        SessionEnded(),
    ]
    assert protocol.events() == []


@pytest.mark.parametrize(
    ("data", "event"),
    [
        (b"TIMEOUT", ErrorReceived("TIMEOUT", "")),
        (b"ENGINE_FAILED: engine 0: it died", ErrorReceived("ENGINE_FAILED", "engine 0: it died")),
        (b"", ErrorReceived("", "")),
        (b"NEW_CODE: \xff", ErrorReceived("NEW_CODE", "\ufffd")),
    ],
)
def test_an_error_is_a_code_and_a_detail(data: bytes, event: ErrorReceived) -> None:
    protocol = protocol_in(ClientState.STREAMING)
    protocol.receive(encode_packet(Header.ERROR, data))
    assert protocol.events() == [event]


@pytest.mark.parametrize(
    "packet",
    [
        *(b"%C0007running", b"%C000Aengine : x", b"%R0003abc", b"%R000Fnan nan : hello", b"%R000B1.2 3e4 : x"),
        *(b"%R0002{}", b"%P0009no result", b"%P00071.2 3.4", b"%P0002{}", b"%V0000", b"%V0002{}", b"%F0001x"),
        encode_packet(Header.RESULT, b"9" * 400 + b".0 1.0 : x"),
        encode_packet(Header.PARTIAL, b"9" * 400 + b".0 1.0 : x\ty"),
    ],
)
def test_a_packet_whose_data_is_wrong_is_an_error_of_the_server(packet: bytes) -> None:
    protocol = protocol_in(ClientState.FINISHING)
    protocol.receive(packet)
    with pytest.raises(ProtocolError):
        protocol.events()


def test_an_event_that_a_newer_server_tells_is_passed_over() -> None:
    protocol = protocol_in(ClientState.STREAMING)
    protocol.receive(encode_packet(Header.EVENT, b'{"event":"speaker_changed","to":2}') + result_packet(0, 1, "one"))
    assert protocol.events() == [Result(0, 1, "one")]


def test_what_came_before_a_wrong_packet_still_counts() -> None:
    protocol = protocol_in(ClientState.STREAMING)
    protocol.receive(result_packet(0, 1, "one") + b"HTTP")
    assert protocol.events() == [Result(0, 1, "one")]
    for _ in range(2):
        with pytest.raises(ProtocolError, match="starts with '%'"):
            protocol.events()


PIECES = [*(header.value + b"0000" for header in Header), b"%R000B1.0 2.0 : x", b"%C000Dengine 0: run", b"%", b"\xff"]
PIECES += [encode_packet(header, data) for header, data in DATA.items()]
PIECES += [encode_packet(header, b'{"event":"utterance_done","at":1e400}') for header in (Header.EVENT, Header.RESULT)]


@settings(deadline=None)
@given(st.sampled_from(list(WAY_TO)), st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=8)), max_size=15))
def test_arbitrary_bytes_end_in_a_protocol_error_at_worst(state: ClientState, pieces: List[bytes]) -> None:
    protocol = protocol_in(state)
    events: List[ClientEvent] = []
    with suppress(ProtocolError):
        for piece in pieces:
            protocol.receive(piece)
            events += protocol.events()
    assert SessionEnded() not in events or protocol.state is ClientState.OVER
