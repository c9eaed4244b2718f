"""The deep check: an idle engine recognises a sound that is built in, and not more often than it may."""

from __future__ import annotations

import itertools
import threading
from typing import Any, Callable

import pytest
import webrtcvad

from boundary.messages import WINDOW_BYTES, Closed, Content, Recognized, cost_bytes
from boundary.settings import SessionSettings
from config.sections import ModelConfig, ServerConfig
from protocol.data import Cause, Detail
from server.clip import SAMPLE_RATE, vowels
from server.deep import DeepCheck, EngineCheck
from server.supervision import EngineFailed, Granted, Refused
from service.checks import Checked
from tests.harness.engines import wait_until

LIMIT_S = 0.2  # for an engine to answer


def recognized(avg_logprob: float) -> Recognized:
    detail = Detail("en", Cause.FINISH, avg_logprob, 0.1, 0.5, ())
    return Recognized(-1, 0.1, 1.0, Cause.FINISH, "", 0.3, detail, False, 0.0)


class Engines:
    """In place of the pool: tells the session these messages when it has said all."""

    def __init__(self, *messages: Any, is_idle: bool = True) -> None:
        self.messages = messages
        self.is_idle = is_idle
        self.heard: list[Content] = []
        self.released: list[int] = []
        self.post: Callable[[Any], None]

    def borrow(self, session: int, post: Callable[[Any], None]) -> None:
        self.post = post
        post(Granted(3) if self.is_idle else Refused())

    def hand_on(self, session: int, content: Content) -> None:
        assert session < 0
        self.heard.append(content)

    def finish(self, session: int) -> None:
        for message in self.messages:
            self.post(message)

    def release(self, session: int) -> None:
        self.released.append(session)


def check(engines: Engines, **model: Any) -> Checked:
    config = ServerConfig(model=ModelConfig(**{"hang_timeout": LIMIT_S, **model}))
    checked = EngineCheck(config, engines)()  # type: ignore[arg-type]
    assert engines.released == [-1]
    return checked


# --- one check


def test_an_engine_that_answers_is_good_and_the_line_says_what_was_checked() -> None:
    checked = check(Engines(recognized(-1.5), Closed(-1)))
    assert checked.is_good
    assert checked.line.startswith("engine 3 recognised 1.0 s of built-in sound in 0.0")
    assert "no speech" in checked.line


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((), f"engine 3: it has given no answer for {LIMIT_S:g} s"),
        ((EngineFailed("engine 3: its process died"),), "engine 3: its process died"),
        ((Closed(-1),), "engine 3: it did not hear the sound"),
        ((recognized(float("nan")), Closed(-1)), "engine 3: what it computes are no numbers"),
    ],
)
def test_one_that_does_not_is_not(messages: tuple[Any, ...], reason: str) -> None:
    assert check(Engines(*messages)) == Checked(False, f"an engine does not recognise: {reason}")


def test_where_no_engine_is_idle_nothing_is_checked_and_nothing_is_wrong() -> None:
    assert check(Engines(is_idle=False)) == Checked(True, "nothing was checked: no engine is idle", has_run=False)


def test_a_check_ends_where_a_client_wants_the_engine() -> None:
    checked = check(Engines(Refused()))
    assert checked.is_good
    assert "a client came" in checked.line


@pytest.mark.parametrize(
    ("model", "language"), [({"language": "ko"}, "ko"), ({"language": "auto"}, "en"), ({"prompt": "x" * 2000}, "ko")]
)
def test_the_sound_and_how_it_is_heard_fit_into_the_window_of_an_engine(model: Any, language: str) -> None:
    engines = Engines(recognized(-1.0), Closed(-1))
    check(engines, **model)
    assert sum(cost_bytes(content) for content in engines.heard) <= WINDOW_BYTES
    settings, *pcm = engines.heard
    assert isinstance(settings, SessionSettings)
    assert (settings.language, settings.sample_rate, settings.task) == (language, SAMPLE_RATE, "transcribe")
    assert b"".join(pcm) == vowels()  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_the_sound_is_voiced_to_every_vad(mode: int, frame_ms: int) -> None:
    vad, pcm = webrtcvad.Vad(mode), vowels()
    size = SAMPLE_RATE * frame_ms // 1000 * 2
    voiced = [vad.is_speech(pcm[at : at + size], SAMPLE_RATE) for at in range(0, len(pcm) - size + 1, size)]
    assert sum(voiced) > 0.6 * len(voiced)


# --- how often


class Clock:
    """Time as a test wants it."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_check_is_made_once_in_ten_seconds_and_others_get_the_last_with_its_age() -> None:
    clock, numbers = Clock(), itertools.count(1)
    deep_check = DeepCheck(lambda: Checked(True, f"check {next(numbers)}"), clock)
    asked = []
    for _ in range(25):
        asked.append(deep_check.ask())
        clock.now_s += 1
    assert [(checked.line, age_s) for checked, age_s in asked[8:13]] == [
        ("check 1", 8.0),
        ("check 1", 9.0),
        ("check 2", 0.0),
        ("check 2", 1.0),
        ("check 2", 2.0),
    ]
    assert next(numbers) == 4


def test_a_check_for_which_no_engine_was_idle_does_not_count() -> None:
    answers = iter([Checked(True, "busy", has_run=False), Checked(True, "done")])
    deep_check = DeepCheck(lambda: next(answers))
    assert [deep_check.ask()[0].line for _ in range(3)] == ["busy", "done", "done"]


def test_who_asks_while_one_is_under_way_waits_for_the_first_and_then_gets_the_last() -> None:
    clock, numbers = Clock(), itertools.count(1)
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)
    told: list[str] = []

    def slow() -> Checked:
        begun.release()
        assert may_end.acquire(timeout=60)
        return Checked(True, f"check {next(numbers)}")

    deep_check = DeepCheck(slow, clock)
    threads = [threading.Thread(target=lambda: told.append(deep_check.ask()[0].line)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=60)
    may_end.release()
    for thread in threads:
        thread.join(60)
    assert told == ["check 1"] * 5
    clock.now_s += 11
    second = threading.Thread(target=deep_check.ask)
    second.start()
    assert begun.acquire(timeout=60)
    assert deep_check.ask()[0].line == "check 1"  # at once
    may_end.release()
    second.join(60)
    wait_until(lambda: deep_check.ask()[0].line == "check 2")


def test_a_check_that_fails_in_itself_is_made_again() -> None:
    numbers = itertools.count(1)

    def checked() -> Checked:
        if next(numbers) == 1:
            raise RuntimeError("a fault")
        return Checked(True, "done")

    deep_check = DeepCheck(checked)
    with pytest.raises(RuntimeError, match="a fault"):
        deep_check.ask()
    assert deep_check.ask()[0].line == "done"
