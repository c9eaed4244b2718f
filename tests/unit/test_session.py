"""A session: what is done about whatever its client, its engine, the clock and the server say, in any order."""

import math
from typing import Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from boundary.messages import CHUNK_BYTES, WINDOW_BYTES, Closed, Consumed, Recognized, cost_bytes
from config.sections import NetworkConfig, ServerConfig
from protocol.data import Cause
from protocol.packets import (
    MAGIC,
    SERVER_HEADERS,
    ErrorCode,
    Header,
    Packet,
    PacketParser,
    encode_packet,
)
from server.session import (
    AskStatus,
    CutShort,
    Ending,
    EndNow,
    Finish,
    HandOn,
    NoNewSession,
    Phase,
    Record,
    Release,
    RequestEngine,
    Send,
    Session,
)
from server.supervision import EngineFailed, EngineState, Granted, Refused
from tests.harness.wire import BEGIN, FINISH, STATUS, audio_packets, session_bytes, user_packet

START_S = 1000.0  # of the clock, as good as any
TIMEOUT_S = 10.0
LIMIT_S = 100.0
STOPPING = CutShort(ErrorCode.SERVER_STOPPING, "the time to finish is over")


class Played:
    """A session that somebody plays by hand, and what it has asked for."""

    def __init__(self, max_speed: float = 0, max_session: float = LIMIT_S) -> None:
        network = NetworkConfig(socket_timeout=TIMEOUT_S, max_session=max_session, max_speed=max_speed)
        self.now_s = START_S
        self.session = Session(ServerConfig(network=network), START_S)
        self.asked: List[object] = []
        self.heard = bytearray()  # by the engine
        self.recorded = bytearray()
        self.unconsumed: List[int] = []
        self.packets: List[Packet] = []
        self._parser = PacketParser(SERVER_HEADERS)

    def act(self) -> None:
        for action in self.session.take_actions():
            assert Release() not in self.asked or isinstance(action, Send)
            if isinstance(action, HandOn):
                assert isinstance(action.content, bytes)
                assert 0 < len(action.content) <= CHUNK_BYTES
                self.heard += action.content
                self.unconsumed.append(cost_bytes(action.content))
                assert sum(self.unconsumed) <= WINDOW_BYTES
                assert Finish() not in self.asked
            elif isinstance(action, Record):
                self.recorded += action.pcm
            elif isinstance(action, Send):
                self._parser.feed(action.packets)
                self.packets += list(iter(self._parser.next_packet, None))
            else:
                self.asked.append(action)

    def receive(self, data: bytes) -> None:
        assert self.session.wants_input
        self.session.received(data, self.now_s)
        self.act()

    def tell(self, message: object) -> None:
        self.session.handle(message, self.now_s)  # type: ignore[arg-type]
        self.act()

    def receive_and_tell(self, data: bytes, message: object) -> None:
        self.receive(data)
        self.tell(message)

    def begin(self) -> "Played":
        self.receive(MAGIC + user_packet() + BEGIN)
        self.tell(Granted(0))
        return self

    def consume(self) -> None:
        while self.unconsumed:
            self.tell(Consumed(1, self.unconsumed.pop(0), in_utterance=False))

    def wait(self, seconds: float) -> None:
        """Let time pass, looked at when it is due."""
        end_s = self.now_s + seconds
        while self.session.due_s <= end_s:
            self.now_s = max(self.now_s, self.session.due_s)
            self.session.tick(self.now_s, looked_s=self.now_s)
            self.act()
        self.now_s = end_s

    @property
    def error(self) -> str:
        """The code that it ended with; it has, and nothing follows the end."""
        assert self.session.ended
        assert [packet.header for packet in self.packets[-2:]] == [Header.ERROR, Header.END]
        return self.packets[-2].data.decode().partition(":")[0]


# --- what it says of itself


def test_what_is_sent_says_what_it_tells_where_the_time_matters() -> None:
    played = Played().begin()
    played.session.take_actions()
    said = Recognized(1, 0.5, 1.5, Cause.SILENCE, "text", 0.2, None, False, 99.0)
    empty = said._replace(text="", is_suppressed=True)
    for message in (said, empty):
        played.session.handle(message, played.now_s)
    sent = [action for action in played.session.take_actions() if isinstance(action, Send)]
    assert [action.news for action in sent] == [said]
    assert (played.session.segments, played.session.suppressed) == (2, 1)


def test_every_end_has_a_word_of_its_own() -> None:
    ends: Dict[Ending, Callable[[Played], object]] = {
        Ending.COMPLETED: lambda played: played.receive_and_tell(FINISH, Closed(1)),
        Ending.LEFT: lambda played: played.session.left(),
        Ending.NOT_READING: lambda played: played.session.left("it does not read", Ending.NOT_READING),
        Ending.ILLEGAL_PACKET: lambda played: played.receive(b"%x0000"),
        Ending.TIMEOUT: lambda played: played.wait(TIMEOUT_S),
        Ending.ENGINE_FAILED: lambda played: played.tell(EngineFailed("it died")),
        Ending.SERVER_STOPPING: lambda played: played.tell(EndNow(ErrorCode.SERVER_STOPPING, "at once")),
    }
    for ending, happens in ends.items():
        played = Played().begin()
        assert played.session.ending is None
        happens(played)
        assert played.session.ending is ending


def test_a_client_without_an_engine_ends_in_a_word_too() -> None:
    for data, ending in ((b"GET / HTTP/1.1", Ending.FOREIGN), (MAGIC + b"%x", Ending.ILLEGAL_PACKET)):
        played = Played()
        played.receive(data)
        assert played.session.ending is ending
    played = Played()
    played.receive(MAGIC + user_packet())
    played.tell(Refused())
    assert played.session.ending is Ending.SERVER_TOO_BUSY
    played = Played()
    played.receive(MAGIC + STATUS)
    played.session.tell_status([EngineState.SLEEPING], played.now_s)
    assert played.session.ending is Ending.STATUS


# --- how it goes when nothing goes wrong


def test_a_session_from_beginning_to_end() -> None:
    played = Played()
    played.receive(session_bytes(b"speech"))
    assert played.asked == [RequestEngine()]
    assert not played.session.wants_input
    played.tell(Granted(3))
    assert played.heard == played.recorded == b"speech"
    assert played.asked == [RequestEngine(), Finish()]
    played.tell(Recognized(1, 0.5, 1.5, Cause.SILENCE, "text", 0.2, None, False, 0.0))
    played.tell(Recognized(1, 1.5, 2.5, Cause.SILENCE, "", 0.2, None, False, 0.0))
    played.tell(Closed(1))
    assert [(packet.header, packet.data) for packet in played.packets] == [
        (Header.WELCOME, b"engine 3 is yours"),
        (Header.RESULT, b"0.5 1.5 : text"),
        (Header.END, b""),
    ]
    assert played.session.outcome == "completed"
    assert played.asked[-1] == Release()
    assert (played.session.segments, played.session.busy_s, played.session.audio_bytes) == (2, 0.4, 6)


def test_status_is_asked_before_a_session_and_in_it() -> None:
    played = Played()
    played.receive(MAGIC + STATUS)
    assert played.asked == [AskStatus()]
    assert not played.session.wants_input
    played.session.tell_status([EngineState.RUNNING, EngineState.STARTING], START_S)
    played.act()
    assert [packet.data for packet in played.packets] == [b"engine 0: running", b"engine 1: starting", b""]
    assert played.session.outcome == "status"
    assert played.asked == [AskStatus()]

    played = Played().begin()
    played.receive(audio_packets(b"ab") + STATUS + audio_packets(b"cd"))
    assert played.heard == b"ab"
    played.session.tell_status([EngineState.RUNNING], START_S)
    played.act()
    assert played.heard == b"abcd"
    assert played.session.wants_input


# --- flow


def test_audio_waits_for_the_engine_and_the_client_with_it() -> None:
    played = Played().begin()
    speech = bytes(range(256)) * 1000
    played.receive(audio_packets(speech))
    assert len(played.heard) < len(speech)
    assert not played.session.wants_input
    assert played.session.due_s == START_S + LIMIT_S  # nobody is blamed for what the server takes
    played.now_s += 50
    played.consume()
    assert played.heard == speech
    assert played.session.wants_input
    assert played.session.due_s == played.now_s + TIMEOUT_S


def test_who_takes_no_answers_is_not_read() -> None:
    played = Played().begin()
    text = "x" * 60_000
    for number in range(5):
        played.tell(Recognized(1, number, number + 1, Cause.SILENCE, text, 0.1, None, False, 0.0))
    assert played.session.unsent_bytes > 256 * 1024
    assert not played.session.wants_input
    played.session.sent(60_000, START_S)
    assert played.session.wants_input


def test_who_takes_no_answers_gets_no_more_of_them_and_no_more_audio_is_taken() -> None:
    played = Played().begin()
    for number in range(4):
        played.tell(Recognized(1, number, number + 1, Cause.SILENCE, "x" * 60_000, 0.1, None, False, 0.0))
    assert played.session.wants_input
    played.receive(STATUS + audio_packets(b"ab") + FINISH)
    states = [EngineState.RUNNING] * 2000
    played.session.tell_status(states, START_S)
    played.act()
    assert played.session.unsent_bytes > 256 * 1024
    assert played.heard == b""
    played.session.sent(60_000, START_S)
    played.act()
    assert played.heard == b"ab"
    assert played.session.phase is Phase.FINISHING
    played.tell(Recognized(1, 5, 6, Cause.SILENCE, "x" * 60_000, 0.1, None, False, 0.0))
    assert not played.session.wants_input


def test_audio_that_comes_too_fast_is_handed_on_at_its_pace() -> None:
    played = Played(max_speed=1, max_session=0).begin()
    speech = bytes(32000 * 10)  # 10 s, of which 5 may come at once
    played.receive(audio_packets(speech))
    while len(played.heard) < len(speech):
        played.consume()
        if played.session.wants_input:
            break
        played.wait(0.05)
    assert played.heard == speech
    assert played.now_s - START_S == pytest.approx(5.0, abs=0.5)


# --- time


@pytest.mark.parametrize(
    ("sent", "granted", "reason"),
    [
        (b"", False, "handshake"),
        (MAGIC + b"%u00", False, "handshake"),
        (MAGIC + user_packet(), True, "nothing"),
        (MAGIC + user_packet() + BEGIN + b"%s0100abc", True, "packet"),
    ],
)
def test_who_says_nothing_for_too_long_is_told(sent: bytes, granted: bool, reason: str) -> None:
    played = Played()
    if sent:
        played.receive(sent)
    if granted:
        played.tell(Granted(0))
    played.wait(TIMEOUT_S - 0.01)
    assert not played.session.ended
    played.wait(0.01)
    assert played.error == "TIMEOUT"
    assert reason in played.packets[-2].data.decode()


def test_a_packet_that_has_begun_has_its_time_from_when_the_server_reads_on() -> None:
    played = Played(max_session=0).begin()
    speech = bytes(250_000)
    played.receive(audio_packets(speech) + b"%s0100abc")
    assert not played.session.wants_input
    played.now_s += 2 * TIMEOUT_S
    played.consume()
    assert played.session.due_s == played.now_s + TIMEOUT_S
    played.wait(TIMEOUT_S)
    assert b"a packet was not completed" in played.packets[-2].data


@pytest.mark.parametrize("handshake", [True, False])
def test_a_byte_now_and_then_keeps_nobody_alive(handshake: bool) -> None:
    played = Played() if handshake else Played(max_session=0).begin()
    stream = MAGIC + user_packet() if handshake else b"%s0100" + bytes(256)
    for index in range(len(stream)):
        played.wait(TIMEOUT_S / 5)
        if played.session.ended:
            break
        played.receive(stream[index : index + 1])
    assert played.error == "TIMEOUT"


def test_who_was_not_looked_at_is_not_blamed() -> None:
    """After a freeze of the server, what came in time lies in the socket."""
    played = Played(max_session=0).begin()
    played.now_s += 10 * TIMEOUT_S
    played.session.tick(played.now_s, looked_s=START_S)
    assert not played.session.ended
    played.receive(audio_packets(b"ab"))
    played.wait(TIMEOUT_S)
    assert played.error == "TIMEOUT"


def test_who_has_waited_long_for_an_engine_has_all_its_time_from_then_on() -> None:
    played = Played()
    played.receive(MAGIC + user_packet())
    played.wait(3 * TIMEOUT_S)
    played.tell(Granted(0))
    played.wait(TIMEOUT_S - 0.01)
    assert not played.session.ended


def test_waiting_for_an_engine_or_for_results_is_no_time_out() -> None:
    played = Played()
    played.receive(session_bytes(b"ab"))
    played.wait(10 * TIMEOUT_S)
    played.tell(Granted(0))
    played.wait(10 * TIMEOUT_S)
    assert played.session.phase is Phase.FINISHING


def test_a_session_that_lasts_too_long_gets_its_text_first() -> None:
    played = Played().begin()
    for _ in range(30):
        played.wait(LIMIT_S / 20)
        if played.session.phase is not Phase.SERVING:
            break
        played.receive(audio_packets(b"ab"))
        played.consume()
    assert played.now_s - START_S == pytest.approx(LIMIT_S, abs=TIMEOUT_S)
    assert played.asked[-1] == Finish()
    played.receive(audio_packets(b"too late") + FINISH + b"%x")
    played.tell(Recognized(1, 0, 1, Cause.SILENCE, "text", 0.1, None, False, 0.0))
    played.tell(Closed(1))
    assert played.error == "TIMEOUT"
    assert Header.RESULT in [packet.header for packet in played.packets]
    assert b"too late" not in played.heard


# --- the server stops


def test_what_was_read_before_a_stop_is_heard_however_slow_the_engine() -> None:
    """Audio that was accepted is never overtaken by the end."""
    played = Played().begin()
    speech = bytes(range(256)) * 250
    played.receive(audio_packets(speech[:-1000]) + audio_packets(speech[-1000:]))
    played.tell(STOPPING)
    assert played.session.phase is Phase.DRAINING
    assert Finish() not in played.asked
    played.consume()
    assert played.heard == speech
    assert played.asked[-1] == Finish()
    played.tell(Closed(1))
    assert played.error == "SERVER_STOPPING"


def test_all_that_was_read_before_a_stop_is_heard_and_nothing_behind_its_end_matters() -> None:
    played = Played().begin()
    speech = bytes(range(256)) * 230
    played.receive(audio_packets(speech[:-1000]) + STATUS + audio_packets(speech[-1000:]) + FINISH + b"%x0000")
    assert played.session.phase is Phase.SERVING
    played.tell(STOPPING)
    played.consume()
    assert played.heard == speech
    played.tell(Closed(1))
    assert played.error == "SERVER_STOPPING"


@pytest.mark.parametrize("even_waiting", [True, False])
def test_a_stop_lets_sessions_go_on_and_nobody_begin(even_waiting: bool) -> None:
    new, waiting, serving = Played(), Played(), Played().begin()
    waiting.receive(MAGIC + user_packet())
    for played in (new, waiting, serving):
        played.tell(NoNewSession(even_waiting))
    assert new.error == "SERVER_STOPPING"
    assert waiting.session.ended == even_waiting
    assert serving.session.phase is Phase.SERVING


def test_who_waits_for_its_last_results_gets_them_in_spite_of_a_stop() -> None:
    played = Played().begin()
    played.receive(FINISH)
    played.tell(STOPPING)
    played.tell(Closed(1))
    assert played.session.outcome == "completed"


def test_an_end_at_once_is_told_at_every_point() -> None:
    plays = [Played(), Played(), Played().begin(), Played().begin()]
    plays[1].receive(MAGIC + user_packet())
    plays[3].receive(FINISH)
    for played in plays:
        played.tell(EndNow(ErrorCode.SERVER_STOPPING, "at once"))
        assert played.error == "SERVER_STOPPING"


def test_what_waits_for_its_pace_is_handed_on_at_once_when_the_time_is_over() -> None:
    played = Played(max_speed=1, max_session=0).begin()
    speech = bytes(32000 * 7)
    played.receive(audio_packets(speech))
    while played.unconsumed:
        played.consume()
    assert len(played.heard) < len(speech)
    played.tell(STOPPING)
    played.consume()
    assert played.heard == speech
    assert played.session.phase is Phase.FINISHING


def test_rubbish_behind_the_audio_does_not_hold_up_the_end() -> None:
    played = Played().begin()
    speech = bytes(range(256)) * 230
    played.receive(audio_packets(speech) + STATUS + b"rubbish")
    played.tell(STOPPING)
    played.consume()
    played.tell(Closed(1))
    assert played.error == "SERVER_STOPPING"


def test_who_waits_for_an_engine_is_told_when_the_time_to_finish_is_over() -> None:
    played = Played()
    played.receive(MAGIC + user_packet())
    played.tell(NoNewSession(even_waiting=False))
    played.tell(STOPPING)
    assert played.error == "SERVER_STOPPING"


# --- other ends


def test_another_opening_is_answered_with_nothing() -> None:
    played = Played()
    played.receive(b"GET / HTTP/1.1")
    assert played.session.ended
    assert played.packets == []


def test_no_engine_and_an_engine_that_fails_are_told() -> None:
    busy, failed = Played(), Played().begin()
    busy.receive(MAGIC + user_packet())
    busy.tell(Refused())
    failed.tell(EngineFailed("engine 0: it died"))
    assert (busy.error, failed.error) == ("SERVER_TOO_BUSY", "ENGINE_FAILED")


def test_an_engine_that_comes_to_who_has_left_is_given_back() -> None:
    played = Played()
    played.receive(MAGIC + user_packet())
    played.session.left()
    played.act()
    assert played.asked == [RequestEngine(), Release()]
    played.tell(Granted(0))
    assert played.packets == []


# --- whatever happens


class World(RuleBasedStateMachine):
    """A client that sends anything, in pieces of any size, an engine, the clock and a server, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.played = Played()
        self.session = self.played.session
        self.stream = b""  # sent by the client and not yet read
        self.audio = bytearray()  # that it has put into whole packets
        self.checked_bytes = 0  # of what the engine has heard
        self.read_bytes = 0
        self.ends: List[Tuple[int, int]] = []  # of each audio packet: in the stream, in the audio
        self.written_bytes = 0
        self.is_legal = True
        self.results = 0
        self.outcome: Optional[str] = None
        self._write(MAGIC)

    def _write(self, data: bytes) -> None:
        self.stream += data
        self.written_bytes += len(data)

    # --- the client

    @rule(packet=st.sampled_from([user_packet(), BEGIN, FINISH, STATUS, b"%x0000", b"%s00g0"]))
    def say(self, packet: bytes) -> None:
        self._write(packet)

    @rule(n_bytes=st.sampled_from([1, 960, CHUNK_BYTES, 65535]))
    def speak(self, n_bytes: int) -> None:
        pcm = bytes([len(self.audio) % 251]) * n_bytes
        self._write(encode_packet(Header.AUDIO, pcm))
        self.audio += pcm
        self.ends.append((self.written_bytes, len(self.audio)))

    @rule()
    def go_through(self) -> None:
        """A session in order, up to its audio."""
        if self.session.phase is Phase.OPENING and not self.read_bytes:
            self.stream, self.audio, self.ends, self.written_bytes = b"", bytearray(), [], 0
            self._write(MAGIC + user_packet() + BEGIN)
            self.read(1 << 20)
            self.grant()

    @precondition(lambda self: self.stream and self.session.wants_input)
    @rule(n_bytes=st.sampled_from([1, 7, 1000, 65536]))
    def read(self, n_bytes: int) -> None:
        data, self.stream = self.stream[:n_bytes], self.stream[n_bytes:]
        self.read_bytes += len(data)
        self.played.receive(data)

    @rule()
    def take_answers(self) -> None:
        self.session.sent(self.session.unsent_bytes, self.played.now_s)
        self.played.act()

    @rule()
    def leave(self) -> None:
        self.session.left()
        self.played.act()

    # --- the server's side

    @precondition(lambda self: self.session.phase is Phase.WAITING)
    @rule()
    def grant(self) -> None:
        if self.session.phase is Phase.WAITING:
            self.played.tell(Granted(0))

    @precondition(lambda self: self.session.phase is Phase.WAITING)
    @rule()
    def refuse(self) -> None:
        self.played.tell(Refused())

    @rule()
    def consume(self) -> None:
        self.played.consume()

    @precondition(lambda self: self.session.slot is not None and not self.session.ended)
    @rule(text=st.sampled_from(["", "text", "x" * 60_000]))
    def recognise(self, text: str) -> None:
        self.results += bool(text)
        self.played.tell(Recognized(1, 0.0, 1.0, Cause.SILENCE, text, 0.1, None, False, 0.0))

    @precondition(lambda self: self.session.phase is Phase.FINISHING and not self.played.unconsumed)
    @rule()
    def close(self) -> None:
        self.played.tell(Closed(1))

    @precondition(lambda self: self.session.slot is not None)
    @rule()
    def fail(self) -> None:
        self.played.tell(EngineFailed("it died"))

    @precondition(lambda self: AskStatus() in self.played.asked)
    @rule()
    def tell_status(self) -> None:
        self.played.asked.remove(AskStatus())
        self.session.tell_status([EngineState.RUNNING], self.played.now_s)
        self.played.act()

    @rule(message=st.sampled_from([NoNewSession(True), NoNewSession(False), STOPPING]))
    def stop(self, message: object) -> None:
        self.played.tell(message)

    @rule(seconds=st.sampled_from([0.0, 1.0, TIMEOUT_S, LIMIT_S]))
    def wait(self, seconds: float) -> None:
        self.played.wait(seconds)

    # --- what always holds

    @invariant()
    def the_engine_hears_what_was_said_in_order_and_what_it_hears_is_recorded(self) -> None:
        new = slice(self.checked_bytes, len(self.played.heard))
        assert self.played.heard[new] == self.audio[new] == self.played.recorded[new]
        self.checked_bytes = len(self.played.heard)

    @invariant()
    def before_the_end_of_audio_all_of_it_is_heard(self) -> None:
        if Finish() in self.played.asked and self.session.outcome == "":
            read = max((heard for end, heard in self.ends if end <= self.read_bytes), default=0)
            assert len(self.played.heard) == len(self.played.recorded) <= read

    @invariant()
    def nothing_is_asked_of_engines_after_the_end_and_the_place_is_given_back(self) -> None:
        asked = self.played.asked
        assert asked.count(RequestEngine()) <= 1
        assert asked.count(Finish()) <= 1
        assert asked.count(Release()) == (1 if self.session.ended and RequestEngine() in asked else 0)

    @invariant()
    def the_client_is_sent_what_the_protocol_allows(self) -> None:
        headers = [packet.header for packet in self.played.packets if packet.header is not Header.ENGINE_STATUS]
        assert headers.count(Header.RESULT) == self.results
        assert (Header.WELCOME in headers) == (self.session.slot is not None)
        if Header.WELCOME in headers:
            assert headers[0] is Header.WELCOME
        if Header.END in headers:
            assert headers.index(Header.END) == len(headers) - 1
            assert self.session.ended
        if Header.ERROR in headers:
            assert headers[-2:] == [Header.ERROR, Header.END]

    @invariant()
    def an_outcome_is_final(self) -> None:
        if self.outcome:
            assert self.session.outcome == self.outcome
        self.outcome = self.session.outcome
        assert self.session.ended == bool(self.outcome)

    @invariant()
    def somebody_is_waited_for(self) -> None:
        """Whoever holds the session up has a deadline, here or with who watches the engines."""
        if self.session.wants_input and self.session.phase is not Phase.FINISHING:
            assert self.session.due_s <= self.played.now_s + TIMEOUT_S
        elif self.session.phase is Phase.SERVING and not self.played.unconsumed:
            held_up_by_client = self.session.unsent_bytes >= 256 * 1024
            assert held_up_by_client or AskStatus() in self.played.asked or self.session.due_s < math.inf


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
