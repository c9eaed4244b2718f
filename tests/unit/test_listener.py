"""What the server says to an engine → utterances and answers, in order; also while one is recognised."""

from __future__ import annotations

import queue
import time
from typing import Any

import numpy as np
import pytest

from boundary.messages import (
    Abort,
    Closed,
    Command,
    Consumed,
    EndOfUtterance,
    Finish,
    Happened,
    Input,
    Open,
    Opened,
    Ping,
    Pong,
)
from boundary.settings import EngineSettings, default_session
from demo.recording import recording_pcm
from engine.listener import Listener
from engine.segmenter import Segmenter, Utterance
from protocol.data import Cause, SpeechStarted, SpeechStopped
from tests.harness.engines import wait_until

SPEECH = recording_pcm()
PIECE_BYTES = 9600
FRAME_BYTES = 960
WITH_EVENTS = default_session(EngineSettings())._replace(events=True)


class Engine:
    """A listener, the commands that it gets and the answers that it gives."""

    def __init__(self) -> None:
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.answered: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.listener = Listener(EngineSettings(), self.commands, self.answered)

    def tell(self, *commands: Command) -> None:
        """Let the listener's thread take them over."""
        for command in commands:
            self.commands.put(command)
        wait_until(self.commands.empty)
        taken = self.listener._pending
        wait_until(lambda: taken.qsize() > 0 or self.listener._next is not None or not commands)

    def say(self, pcm: bytes, session: int = 1) -> None:
        pieces = range(0, len(pcm), PIECE_BYTES)
        self.tell(*(Input(session, pcm[start : start + PIECE_BYTES]) for start in pieces))

    def answers(self) -> list[Any]:
        found = []
        while not self.answered.empty():
            found.append(self.answered.get())
        return found

    def hear_the_end(self) -> None:
        """Of the session, which may still be on its way; without another utterance."""
        while self.listener.session is not None:
            assert self.listener.next(1.0) is None

    def all_ended(self, count: int) -> list[Utterance]:
        """So many utterances, which may still be on their way from the listener's thread."""
        found: list[Utterance] = []
        while len(found) < count:
            utterance = self.listener.next(1.0)
            if utterance is not None:
                found.append(utterance)
        return found


@pytest.fixture
def engine() -> Engine:
    engine = Engine()
    engine.tell(Open(1))
    assert engine.listener.next() is None
    assert engine.answers() == [Opened(1)]
    return engine


def test_a_session_is_closed_after_its_last_utterance_was_taken(engine: Engine) -> None:
    engine.say(SPEECH)
    engine.tell(Finish(1))
    first, second = engine.all_ended(2)
    assert (first.cause, second.cause) == (Cause.SILENCE, Cause.FINISH)
    assert Closed(1) not in engine.answers()
    engine.hear_the_end()
    assert engine.answers()[-1] == Closed(1)


def test_who_listens_on_in_a_recognition_takes_no_more_than_the_next_utterance(engine: Engine) -> None:
    engine.say(SPEECH + bytes(32000))
    (first,) = engine.all_ended(1)
    engine.tell(Finish(1))

    def listened() -> bool:
        engine.listener.listen_on(utterance_is_open=False)
        return engine.listener.waiting is not None

    wait_until(listened)
    assert engine.listener.session == 1
    assert Closed(1) not in engine.answers()
    (second,) = engine.all_ended(1)
    assert first.end_s < second.start_s
    engine.hear_the_end()
    assert engine.answers()[-1] == Closed(1)


def test_the_end_of_a_session_is_heard_where_its_utterance_is_open_and_answered_when_that_was_taken(
    engine: Engine,
) -> None:
    engine.say(SPEECH[: 4 * 32000])
    engine.tell(Finish(1))

    def listened() -> bool:
        engine.listener.listen_on(utterance_is_open=True)
        return engine.listener.waiting is not None

    wait_until(listened)
    assert Closed(1) not in engine.answers()
    utterance = engine.listener.next(60)  # it must not wait for a command
    assert utterance is not None
    assert utterance.cause is Cause.FINISH
    assert engine.listener.poll() is None
    assert engine.answers() == [Closed(1)]


def test_nothing_of_an_aborted_session_comes(engine: Engine) -> None:
    engine.say(SPEECH)
    engine.tell(Abort(1))
    wait_until(lambda: engine.listener.is_aborted)
    engine.hear_the_end()
    answers = engine.answers()
    assert answers[-1] == Closed(1)
    assert all(isinstance(answer, Consumed) for answer in answers[:-1])


def test_events_are_told_when_they_happen_to_who_wants_them(engine: Engine) -> None:
    engine.tell(Input(1, WITH_EVENTS))
    engine.say(SPEECH)
    (first,) = engine.all_ended(1)
    events = [answer.event for answer in engine.answers() if isinstance(answer, Happened)]
    assert events == [SpeechStarted(first.start_s), SpeechStopped(first.end_s, Cause.SILENCE)]


def test_an_end_where_nothing_is_open_is_an_utterance_without_sound_or_events(engine: Engine) -> None:
    engine.tell(Input(1, WITH_EVENTS), Input(1, bytes(32000)), Input(1, EndOfUtterance()))
    (nothing,) = engine.all_ended(1)
    assert (nothing.start_s, nothing.end_s, nothing.pcm, nothing.cause) == (0.99, 0.99, b"", Cause.ASKED)
    assert not any(isinstance(answer, Happened) for answer in engine.answers())


def test_how_one_session_was_heard_is_nothing_to_the_next(engine: Engine) -> None:
    engine.tell(Input(1, WITH_EVENTS._replace(turn="manual")), Finish(1), Open(2))
    while engine.listener.session != 2:
        assert engine.listener.next(1.0) is None
    assert engine.listener.settings == default_session(EngineSettings())


def test_an_end_right_at_a_cut_leaves_no_beginning_without_its_end(engine: Engine) -> None:
    time_s = np.arange(12 * 16000) / 16000
    going_on = (8000 * (2 * (120 * time_s % 1) - 1) * np.sin(9 * time_s)).astype("<i2").tobytes()  # a voice that hums
    segmenter = Segmenter(EngineSettings(), WITH_EVENTS)
    frames = range(0, len(going_on), FRAME_BYTES)
    cut = next(
        start for start in frames if any(map(_is_cut_off, segmenter.feed(going_on[start : start + FRAME_BYTES])))
    )
    engine.tell(Input(1, WITH_EVENTS))
    engine.say(going_on[: cut + FRAME_BYTES])
    engine.tell(Input(1, EndOfUtterance()), Finish(1))
    cut_off, rest = engine.all_ended(2)
    assert cut_off.is_cut_off
    assert rest.cause is Cause.ASKED
    kinds = [type(answer.event) for answer in engine.answers() if isinstance(answer, Happened)]
    assert kinds == 2 * [SpeechStarted, SpeechStopped]


def _is_cut_off(one: SpeechStarted | Utterance) -> bool:
    return isinstance(one, Utterance) and one.is_cut_off


# --- when it came, and whether it is there


def test_an_utterance_says_when_what_ended_it_came_however_late_it_is_taken(engine: Engine) -> None:
    engine.say(SPEECH)
    wait_until(engine.commands.empty)
    before_s = time.monotonic()
    engine.say(bytes(32000))
    wait_until(lambda: engine.listener._pending.qsize() >= len(SPEECH + bytes(32000)) // PIECE_BYTES)
    after_s = time.monotonic()
    first, second = engine.all_ended(2)
    assert first.came_s < before_s  # its closing silence is in the speech
    assert before_s <= second.came_s <= after_s


def test_an_utterance_that_the_client_ends_came_when_it_said_so(engine: Engine) -> None:
    engine.say(SPEECH[: 3 * 32000])
    assert engine.listener.poll() is None
    before_s = time.monotonic()
    engine.tell(Finish(1))
    (utterance,) = engine.all_ended(1)
    assert before_s <= utterance.came_s <= time.monotonic()


def test_an_open_utterance_says_when_the_last_of_it_came(engine: Engine) -> None:
    before_s = time.monotonic()
    engine.say(SPEECH[: 3 * 32000])
    wait_until(lambda: engine.listener.poll() is None and engine.listener.heard_s > 2.9)
    so_far = engine.listener.so_far
    assert so_far is not None
    assert before_s <= so_far.came_s <= time.monotonic()


def test_who_is_asked_says_that_it_is_there() -> None:
    engine = Engine()
    engine.tell(Ping(), Open(1), Ping())
    wait_until(lambda: engine.listener.poll() is None and engine.listener.session == 1)
    wait_until(lambda: engine.listener.poll() is None and engine.answered.qsize() == 3)
    assert engine.answers() == [Pong(), Opened(1), Pong()]
