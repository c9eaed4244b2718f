"""Client and server driven against each other: whatever either does, in whatever pieces it arrives, they agree."""

from typing import Callable, List

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.data import Cause, Partial, SessionOptions, SpeechStarted, UtteranceDone
from protocol.packets import ErrorCode
from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    ClientEvent,
    ClientProtocol,
    ClientState,
    EngineRequested,
    EngineStatus,
    ErrorReceived,
    Event,
    OptionsReceived,
    Result,
    ServerProtocol,
    SessionEnded,
    State,
    StatusRequested,
    UtteranceEnded,
    Welcome,
    error_packet,
    event_packet,
    partial_packet,
    result_packet,
    status_packet,
    welcome_packet,
)

_ENGINES = 2
_OPTIONS = SessionOptions(language="en", partial=True)
_DONE = UtteranceDone(1.2, 3.4, Cause.ASKED, has_text=False)
_TENTHS = st.integers(0, 36_000)
# Where the server is once it has read everything, and has granted the engine that was asked for.
_MET = {
    ClientState.READY: State.READY,
    ClientState.STREAMING: State.STREAMING,
    ClientState.FINISHING: State.FINISHING,
    ClientState.ASKED: State.ASKED,
    ClientState.ASKED_STREAMING: State.ASKED,
    ClientState.ASKED_FINISHING: State.ASKED,
    ClientState.INQUIRING: State.OVER,
}


class Conversation(RuleBasedStateMachine):
    """Two ends, and between them the bytes that are on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.client, self.server = ClientProtocol(), ServerProtocol()
        self.to_server, self.to_client = b"", b""
        self.said, self.understood = b"", b""  # audio
        self.answered: List[ClientEvent] = []
        self.heard: List[ClientEvent] = []
        self.asked: List[Event] = []
        self.chosen = self.paused = 0  # options and ends of utterances that the client has told
        self.closed = False  # the server has sent the end

    # --- the client: what has no place is refused, and nothing of it is sent

    def _say(self, method: Callable[[], bytes]) -> bool:
        state = self.client.state
        try:
            data = method()
        except RuntimeError:
            assert self.client.state is state
            return False
        self.to_server += data
        return True

    @rule(choice=st.integers(0, 20))
    def go_on(self, choice: int) -> None:
        """As a session goes, with some detours."""
        onwards = [lambda: self.client.ask_engine("kiosk-7"), self.client.begin, self.client.finish]
        if choice == 20 or (choice > 15 and self.client.state is not ClientState.OPENING):
            self._say(self.client.ask_status)
        elif choice == 19 and self._say(lambda: self.client.choose(_OPTIONS)):
            self.chosen += 1
        elif choice < 10 or self.said:
            for method in onwards:
                if self._say(method):
                    break

    @rule(
        method=st.sampled_from(
            [ClientProtocol.ask_status, ClientProtocol.begin, lambda client: client.ask_engine("kiosk-7")]
        )
    )
    def say_anything(self, method: Callable[[ClientProtocol], bytes]) -> None:
        if self.client.state is not ClientState.OPENING:
            self._say(lambda: method(self.client))

    @rule(pcm=st.binary(max_size=100) | st.integers(65_534, 140_000).map(bytes))
    def speak(self, pcm: bytes) -> None:
        if self._say(lambda: self.client.audio(pcm)):
            self.said += pcm

    @rule()
    def pause(self) -> None:
        self.paused += self._say(self.client.end_utterance)

    # --- the wire

    @rule(count=st.just(1_000_000) | st.integers(1, 30))
    def carry_to_server(self, count: int) -> None:
        data, self.to_server = self.to_server[:count], self.to_server[count:]
        self.server.receive(data)
        self._serve()

    @rule(count=st.just(1_000_000) | st.integers(1, 30))
    def carry_to_client(self, count: int) -> None:
        data, self.to_client = self.to_client[:count], self.to_client[count:]
        self.client.receive(data)
        self.heard += self.client.events()

    # --- the server

    def _serve(self) -> None:
        while new := self.server.events():
            for event in new:
                if isinstance(event, AudioReceived):
                    self.understood += event.pcm
                    continue
                self.asked.append(event)
                if isinstance(event, StatusRequested):
                    for index in range(_ENGINES):
                        self._answer(status_packet(index, "running"), EngineStatus(index, "running"))
                    if event.closing:
                        self._end()

    def _answer(self, packet: bytes, event: ClientEvent) -> None:
        if not self.closed:
            self.to_client += packet
            self.answered.append(event)

    def _end(self) -> None:
        self._answer(END_PACKET, SessionEnded())
        self.closed = True

    @precondition(lambda self: self.server.state is State.ASKED and not self.closed)
    @rule()
    def grant(self) -> None:
        self.server.grant_engine()
        self._answer(welcome_packet("yours"), Welcome("yours"))
        self._serve()

    @precondition(lambda self: self.server.state in (State.STREAMING, State.FINISHING) and not self.closed)
    @rule(start=_TENTHS, end=_TENTHS, text=st.text(max_size=20))
    def recognise(self, start: int, end: int, text: str) -> None:
        self._answer(result_packet(start / 10, end / 10, text), Result(start / 10, end / 10, text))

    @precondition(lambda self: self.server.state in (State.STREAMING, State.FINISHING) and not self.closed)
    @rule(start=_TENTHS, text=st.text(max_size=20), detailed=st.booleans())
    def tell_what_is_open(self, start: int, text: str, detailed: bool) -> None:
        partial = Partial(start / 10, start / 10, text.replace("\t", " "), "")
        for packet, event in (
            (event_packet(SpeechStarted(partial.start_s)), SpeechStarted(partial.start_s)),
            (partial_packet(partial, detailed), partial),
            (event_packet(_DONE), _DONE),
        ):
            self._answer(packet, event)

    @precondition(lambda self: self.server.state is State.FINISHING and not self.closed)
    @rule()
    def end(self) -> None:
        self._end()

    @precondition(lambda self: not self.closed)
    @rule(code=st.sampled_from(list(ErrorCode)), detail=st.sampled_from(["", "it died"]), seldom=st.integers(0, 9))
    def fail(self, code: ErrorCode, detail: str, seldom: int) -> None:
        if seldom != 7:
            return
        self._answer(error_packet(code, detail), ErrorReceived(code.value, detail))
        self._end()

    # --- what holds

    @invariant()
    def what_was_heard_is_what_was_answered(self) -> None:
        assert self.heard == self.answered[: len(self.heard)]

    @invariant()
    def the_audio_arrives_unchanged(self) -> None:
        assert self.said.startswith(self.understood)

    @invariant()
    def with_nothing_on_its_way_both_know_the_same(self) -> None:
        if self.to_client:
            return
        assert self.heard == self.answered
        assert (self.client.state is ClientState.OVER) == self.closed
        if self.to_server or self.closed or self.client.state is ClientState.OPENING:
            return
        assert self.chosen <= 1
        has_chosen = self.chosen == 1 and self.client.state is ClientState.READY
        assert self.server.state is (State.CONFIGURED if has_chosen else _MET[self.client.state])
        if self.server.state is not State.ASKED:
            assert self.understood == self.said
            assert self.asked.count(OptionsReceived({"language": "en", "partial": True})) == self.chosen
            assert self.asked.count(UtteranceEnded()) == self.paused
        assert self.asked.count(EngineRequested("kiosk-7")) == (self.client.state is not ClientState.INQUIRING)
        assert self.asked.count(AudioFinished()) == (self.client.state is ClientState.FINISHING)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
