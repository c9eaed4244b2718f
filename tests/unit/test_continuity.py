"""What one utterance is to the next, where speech goes on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.continuity import HELD_S, Continuity, Said
from engine.segmenter import Utterance
from protocol.data import Cause
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.request import Recognition, TimedWord


def utterance(start_s: float, end_s: float, cut_off: bool = False, cause: Cause = Cause.LENGTH) -> Utterance:
    """Its sound begins and ends with it."""
    pcm = bytes(2 * round((end_s - start_s) * SAMPLE_RATE))
    return Utterance(start_s, end_s, start_s, SAMPLE_RATE, pcm, cause, cut_off)


def samples_of(one: Utterance) -> Samples:
    return np.full(len(one.pcm) // 2, one.start_s, np.float32)


def recognised(
    text: str, ends_s: list[float] | None = None, avg_logprob: float = -0.2, temperature: float = 0.0
) -> Recognition:
    """A text whose words end there, counted from the start of its sound."""
    words = [TimedWord(word, end_s - 0.3, end_s, 0.9) for word, end_s in zip(text.split(), ends_s or [])]
    return Recognition(text, "ko", avg_logprob, 0.01, 1.0, temperature, 12.0, tuple(words))


class Talk:
    """Utterances of one session, each with what is recognised in it."""

    def __init__(self, is_on: bool = True) -> None:
        self.continuity = Continuity(is_on)

    def say(self, one: Utterance, recognition: Recognition) -> Said:
        return self.continuity.say(one, samples_of(one), recognition)


CUT = utterance(0.0, 10.0, cut_off=True)
ENDS_S = [1.0, 5.0, 8.5, 9.5, 9.9]
FOUR = "하나 둘 셋 넷 다섯"


def test_the_last_words_before_a_cut_are_left_to_the_next_utterance() -> None:
    talk = Talk()
    said = talk.say(CUT, recognised(FOUR, ENDS_S))
    assert (said.text, said.start_s, said.end_s) == ("하나 둘 셋", 0.0, 8.5)
    following = utterance(10.0, 14.0, cause=Cause.SILENCE)
    context = talk.continuity.context(following)
    assert context is not None
    assert context.text == "하나 둘 셋"
    assert context.held_s == pytest.approx(1.5)
    assert len(context.samples) == 10 * SAMPLE_RATE
    said = talk.say(following, recognised("넷 다섯 여섯"))
    assert (said.text, said.start_s, said.end_s) == ("넷 다섯 여섯", 8.5, 14.0)


def test_the_sound_of_words_that_were_left_is_context_of_the_utterance_after_the_next_too() -> None:
    talk = Talk()
    talk.say(CUT, recognised(FOUR, ENDS_S))
    second = utterance(10.0, 20.0, cut_off=True)
    talk.say(second, recognised("넷 다섯 여섯", [-0.5, 4.0, 9.0]))
    context = talk.continuity.context(utterance(20.0, 25.0))
    assert context is not None
    assert context.text == "넷 다섯"
    assert len(context.samples) == pytest.approx(11.5 * SAMPLE_RATE, abs=2)
    assert context.held_s == pytest.approx(20.0 - 14.0)


def test_what_was_left_is_said_when_nothing_follows() -> None:
    talk = Talk()
    talk.say(CUT, recognised(FOUR, ENDS_S))
    nothing = utterance(10.0, 10.0, cause=Cause.SILENCE)
    assert not talk.continuity.is_empty(nothing)
    said = talk.say(nothing, recognised(""))
    assert (said.text, said.start_s, said.end_s) == ("넷 다섯", 8.5, 10.0)
    assert [word.text for word in said.words] == ["넷", "다섯"]


def test_what_was_left_is_said_before_what_comes_after_a_pause() -> None:
    talk = Talk()
    talk.say(CUT, recognised(FOUR, ENDS_S))
    later = utterance(12.0, 15.0, cause=Cause.SILENCE)
    assert talk.continuity.context(later) is None
    said = talk.say(later, recognised("여섯 일곱", [1.0, 2.0]))
    assert (said.text, said.start_s, said.end_s) == ("넷 다섯 여섯 일곱", 8.5, 15.0)
    assert " ".join(word.text for word in said.words) == said.text


def test_what_was_left_is_said_where_there_is_no_room_to_hear_it_again() -> None:
    talk = Talk()
    talk.say(utterance(0.0, 30.0, cut_off=True), recognised("하나 둘 셋", [5.0, 28.0, 29.5]))
    following = utterance(30.0, 60.0, cut_off=True)
    assert talk.continuity.context(following) is None
    said = talk.say(following, recognised("넷 다섯 여섯", [1.0, 2.0, 29.9]))
    assert (said.text, said.start_s, said.end_s) == ("셋 넷 다섯", 28.0, 32.0)


def test_an_utterance_without_speech_to_which_nothing_was_left_is_empty() -> None:
    talk = Talk()
    talk.say(CUT, recognised("하나 둘", [3.0, 6.0]))
    assert talk.continuity.is_empty(utterance(10.0, 10.0))
    assert not talk.continuity.is_empty(utterance(10.0, 11.0))


def test_at_least_half_of_the_words_are_said() -> None:
    said = Talk().say(CUT, recognised("하나 둘 셋", [9.3, 9.6, 9.9]))
    assert said.text == "하나 둘"


def test_an_utterance_that_ended_in_a_pause_leaves_nothing() -> None:
    for cause in Cause:
        said = Talk().say(utterance(0.0, 10.0, cause=cause), recognised(FOUR, ENDS_S))
        assert (said.text, said.end_s) == (FOUR, 10.0)


@pytest.mark.parametrize(
    ("gap_s", "goes_on"),
    [(0.0, True), (0.5, True), (0.99, True), (1.0, False), (30.0, False)],
)
def test_context_reaches_over_less_than_a_second(gap_s: float, goes_on: bool) -> None:
    talk = Talk()
    talk.say(utterance(1.0, 3.0, cause=Cause.SILENCE), recognised("하나 둘"))
    context = talk.continuity.context(utterance(3.0 + gap_s, 6.0 + gap_s))
    assert (context is not None) == goes_on
    if context is not None:
        assert (context.text, context.held_s) == ("하나 둘", 0.0)
        assert len(context.samples) == pytest.approx((2.0 + gap_s) * SAMPLE_RATE, abs=1)


@pytest.mark.parametrize(
    "doubtful",
    [
        recognised(FOUR, ENDS_S, avg_logprob=-0.9),
        recognised(FOUR, ENDS_S, temperature=0.4),
        recognised(""),
    ],
    ids=["unlikely", "drawn", "nothing"],
)
def test_a_text_that_is_not_to_be_trusted_is_no_context_and_leaves_nothing(doubtful: Recognition) -> None:
    talk = Talk()
    said = talk.say(CUT, doubtful)
    assert (said.text, said.end_s) == (doubtful.text, 10.0)
    context = talk.continuity.context(utterance(10.0, 12.0))
    assert context is not None
    assert (context.text, context.held_s) == ("", 0.0)


def test_where_context_is_off_every_utterance_stands_alone() -> None:
    talk = Talk(is_on=False)
    assert not talk.continuity.wants_words(CUT)
    said = talk.say(CUT, recognised(FOUR, ENDS_S))
    assert (said.text, said.end_s) == (FOUR, 10.0)
    assert talk.continuity.context(utterance(10.0, 12.0)) is None


TIMES_S = st.lists(st.floats(-2, 12), min_size=0, max_size=8).map(
    lambda times: sorted(0.31 * n + time for n, time in enumerate(sorted(times)))
)


@given(st.lists(st.tuples(st.floats(0.5, 10), st.booleans(), st.floats(0, 2), TIMES_S), max_size=6))
def test_words_stay_in_their_utterance_and_utterances_follow_each_other(
    talk: list[tuple[float, bool, float, list[float]]],
) -> None:
    continuity, now_s, before_s = Talk(), 0.0, 0.0
    counted = 0
    for length_s, cut_off, gap_s, ends_s in talk:
        one = utterance(now_s, now_s + length_s, cut_off)
        names = [f"w{counted + index}" for index in range(len(ends_s))]
        said = continuity.say(one, recognised(" ".join(names), ends_s))
        assert before_s <= said.start_s <= said.end_s <= one.end_s
        times = [time for word in said.words for time in (word.start_s, word.end_s)]
        assert times == sorted(times)
        assert all(said.start_s <= time <= said.end_s for time in times)
        if said.words:
            assert " ".join(word.text for word in said.words) == said.text
        counted += len(ends_s)
        before_s = said.end_s
        now_s += length_s + (0.0 if cut_off else gap_s)


def test_what_is_left_is_no_longer_than_what_may_not_be_stable() -> None:
    said = Talk().say(CUT, recognised(FOUR, [1.0, 2.0, 10.0 - HELD_S - 0.01, 10.0 - HELD_S + 0.01, 9.9]))
    assert said.text == "하나 둘 셋"
