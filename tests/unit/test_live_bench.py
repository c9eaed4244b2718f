"""The rules by which text shown while somebody speaks is held against the final text."""

import time
from typing import List, Optional, Sequence, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.live.compare import Comparison, Final, Piece, Shown, align, compare, words_of
from bench.live.figures import Turn, summed_up
from bench.live.rows import COLUMNS
from bench.live.utterances import differences, gather
from bench.load.clients import LiveClient, Timetable, converse
from bench.load.plan import Arrived, Placed, Stream, Window
from bench.load.usage import Usage
from bench.recordings import Recording
from bench.speech import tokens
from protocol.data import Cause, Detail, DetailedResult, Partial, SessionOptions, SpeechStarted, UtteranceDone
from tests.harness.scripted import serving, session
from util import (
    END_PACKET,
    Result,
    detailed_result_packet,
    partial_packet,
)

RESULT_S = 100.0
LETTERS = st.lists(st.sampled_from("ab가나"), max_size=8)


def said(text: str, result_s: float = RESULT_S, following: str = "") -> Final:
    """A word each second: the first from 0 to 1 s."""
    words = [Piece(word, float(number), number + 1.0) for number, word in enumerate(text.split())]
    return Final(words, result_s, following)


def shown(*texts: Tuple[float, str, str]) -> List[Shown]:
    return [Shown(*text) for text in texts]


def stable_s(comparison: Comparison) -> List[float]:
    return [round(one.stable_s + one.word.end_s, 3) for one in comparison.latencies]


def shown_s(comparison: Comparison) -> List[float]:
    return [round(one.shown_s + one.word.end_s, 3) for one in comparison.latencies]


# --- alignment -------------------------------------------------------------------------------


@given(LETTERS)
def test_a_text_is_aligned_with_itself(text: List[str]) -> None:
    assert align(text, text) == list(range(len(text)))


@given(LETTERS, LETTERS)
def test_a_beginning_is_aligned_with_the_beginning(text: List[str], rest: List[str]) -> None:
    assert align(text, text + rest)[: len(text)] == list(range(len(text)))


@given(LETTERS, LETTERS)
def test_an_alignment_joins_equal_tokens_in_their_order(one: List[str], other: List[str]) -> None:
    places = align(one, other)
    assert all(place is None or one[place] == other[number] for number, place in enumerate(places))
    found = [place for place in places if place is not None]
    assert found == sorted(set(found))


@given(LETTERS, LETTERS)
def test_an_alignment_has_the_fewest_edits(one: List[str], other: List[str]) -> None:
    def distance(final: Sequence[str]) -> int:
        row = list(range(len(final) + 1))
        for token in one:
            above, row = row, [row[0] + 1]
            for column, expected in enumerate(final):
                row.append(min(above[column] + (token != expected), above[column + 1] + 1, row[column] + 1))
        return row[-1]

    def edits(places: Sequence[Optional[int]]) -> int:
        """Between the equal tokens; what is behind the last one in the final text costs nothing."""
        total, row, column = 0, 0, 0
        for number, place in enumerate(places):
            if place is not None:
                total += max(place - row, number - column)
                row, column = place + 1, number + 1
        return total + len(one) - row

    assert edits(align(one, other)) == min(distance(other[:end]) for end in range(len(other) + 1))


def test_one_difference_costs_its_own_word_only() -> None:
    assert align("the bat sat on".split(), "the cat sat on the mat".split()) == [0, None, 2, 3, None, None]
    assert align("cat sat on".split(), "the cat sat on the mat".split()) == [None, 0, 1, 2, None, None]
    assert align("well the cat sat".split(), "the cat sat on".split()) == [1, 2, 3, None]


def test_a_repeat_that_is_still_to_come_is_not_taken_for_what_is_shown() -> None:
    assert align("you can do".split(), "what you can do for you can do it".split()) == [None, 0, 1, 2, *[None] * 5]
    assert align(list("네그래서네"), list("네그래서네네")) == [0, 1, 2, 3, 4, None]


# --- words -----------------------------------------------------------------------------------


def test_a_word_is_stable_from_the_packet_that_covers_it() -> None:
    live = shown((1.5, "the", "cat"), (2.4, "the cat", "sa"), (3.9, "the cat sat", ""))
    comparison = compare(live, said("The cat sat."), "en")
    assert stable_s(comparison) == [1.5, 2.4, 3.9]
    assert shown_s(comparison) == [1.5, 1.5, 3.9]
    assert comparison[1:] == (3, 3, 3, 0, 0)


def test_what_was_never_stable_stands_with_the_result() -> None:
    comparison = compare(shown((1.5, "the", "cat"), (3.5, "the", "cat sat")), said("the cat sat", 5.0), "en")
    assert stable_s(comparison) == [1.5, 5.0, 5.0]
    assert shown_s(comparison) == [1.5, 1.5, 3.5]
    assert (comparison.covered_tokens, comparison.final_tokens) == (1, 3)


def test_an_early_difference_makes_no_later_word_late() -> None:
    live = shown((1.5, "a", ""), (2.5, "a cat", ""), (3.5, "a cat sat", ""))
    assert stable_s(compare(live, said("the cat sat"), "en")) == [RESULT_S, 2.5, 3.5]
    korean = shown((2.5, "오늘은", ""), (3.5, "오늘은 날씨가", ""), (4.5, "오늘은 날씨가 참", ""))
    assert stable_s(compare(korean, said("그 오늘은 날씨가 참"), "ko")) == [RESULT_S, 2.5, 3.5, 4.5]


def test_a_word_counts_with_the_packet_that_made_it_whole() -> None:
    live = shown((1.2, "투표", "하고"), (1.8, "투표하", "여"), (2.3, "투표하여", ""))
    comparison = compare(live, said("투표하여"), "ko")
    assert (stable_s(comparison), shown_s(comparison)) == ([2.3], [1.8])


def test_a_word_with_another_ending_is_not_the_word() -> None:
    comparison = compare(shown((1.5, "투표하고", "")), said("투표하여 바"), "ko")
    assert stable_s(comparison) == [RESULT_S, RESULT_S]
    assert (comparison.covered_tokens, comparison.retracted_tokens) == (3, 1)


def test_korean_is_free_in_its_blanks_and_english_is_not() -> None:
    assert stable_s(compare(shown((3.0, "할수 있다", "")), said("할 수 있다"), "ko")) == [3.0, 3.0, 3.0]
    assert stable_s(compare(shown((3.0, "before", "")), said("for"), "en")) == [RESULT_S]
    assert stable_s(compare(shown((3.0, "나 는", "")), said("나도는"), "ko")) == [RESULT_S]


def test_punctuation_and_case_do_not_matter_and_have_no_latency() -> None:
    comparison = compare(shown((2.0, "well known, it's", "")), said("Well-known - its"), "en")
    assert stable_s(comparison) == [2.0, 2.0]


def test_a_word_may_be_shown_before_it_has_ended_but_not_before_it_has_begun() -> None:
    guessed = compare(shown((1.5, "", "the cat"), (2.5, "the cat", "")), said("the cat"), "en")
    assert [round(one.shown_s, 3) for one in guessed.latencies] == [0.5, -0.5]
    repeated = shown((1.5, "yes", "yes"), (2.5, "yes", "I yes"), (3.5, "yes I yes", ""))
    assert shown_s(compare(repeated, said("yes I yes"), "en")) == [1.5, 2.5, 2.5]


def test_text_that_goes_away_was_shown_all_the_same() -> None:
    live = shown((1.1, "", "the cat"), (1.6, "the", ""), (2.6, "the cat", ""))
    assert shown_s(compare(live, said("the cat"), "en")) == [1.1, 1.1]


def test_nothing_shown_is_all_late_and_nothing_retracted() -> None:
    comparison = compare([], said("the cat"), "en")
    assert stable_s(comparison) == shown_s(comparison) == [RESULT_S, RESULT_S]
    assert comparison[1:] == (2, 0, 0, 0, 0)


def test_what_the_final_text_does_not_have_is_retracted() -> None:
    assert compare(shown((3.0, "the big cat", "")), said("the cat sat"), "en").retracted_tokens == 1
    assert compare(shown((3.0, "하나 둘 셋", "")), None, "ko")[1:] == (0, 0, 4, 4, 0)


def test_syllables_in_common_do_not_hide_that_a_text_was_another() -> None:
    shown_text, final_text = "나는 어제 밥을 먹었다", "우리가 나중에 그는 먹지"
    assert compare(shown((5.0, shown_text, "")), said(final_text), "ko").retracted_tokens >= 7


def test_what_was_shown_beyond_a_cut_is_held_against_the_next_text() -> None:
    live = shown((3.0, "the cat sat on", ""))
    comparison = compare(live, said("the cat", following="sat on the mat"), "en")
    assert comparison[1:] == (2, 2, 4, 0, 0)
    assert compare(live, said("the cat"), "en").retracted_tokens == 2


def test_stable_text_that_is_no_beginning_of_the_next_is_a_shrink() -> None:
    live = shown((1.0, "the", ""), (2.0, "the cat", ""), (3.0, "the ca", ""), (4.0, "a cat", ""), (5.0, "a cat", ""))
    assert compare(live, said("the cat"), "en").shrinks == 2
    assert compare(shown((1.0, "투표.", ""), (2.0, "투표", "")), said("투표"), "ko").shrinks == 1


def test_comparisons_add_up() -> None:
    one = compare(shown((1.5, "the", "")), said("the cat"), "en")
    assert Comparison.joined([one, one])[1:] == (4, 2, 2, 0, 0)
    assert len(Comparison.joined([one, one]).latencies) == 4
    assert Comparison.joined([]) == ([], 0, 0, 0, 0, 0)


def test_words_are_what_blanks_separate_and_end_with_their_last_letter() -> None:
    korean = [(" 투표", 0.0, 0.4), ("하여", 0.4, 0.8), (".", 0.8, 2.0)]
    english = [(' "', 2.0, 2.2), ("It", 2.2, 2.5), ("'s", 2.5, 2.7)]
    pieces = [Piece(*piece) for piece in korean + english]
    assert words_of(pieces) == [("투표하여.", 0.0, 0.8), ("\"It's", 2.2, 2.7)]
    assert words_of([Piece(" -", 0.0, 1.0), Piece(" ", 1.0, 1.1)]) == [("-", 0.0, 1.0)]


def test_tokens_are_those_of_the_error_rates() -> None:
    assert tokens("오전 3시!", "ko") == ["오", "전", "3", "시"]
    assert tokens("It's Well-known.", "en") == ["its", "well", "known"]


# --- sessions --------------------------------------------------------------------------------


def partial(start_s: float, stable: str, unstable: str = "") -> Partial:
    return Partial(start_s, start_s + 1.0, stable, unstable)


def detailed(start_s: float, text: str, cause: Cause = Cause.SILENCE) -> Result:
    return Result(start_s, start_s + 1.0, text, Detail("ko", cause, -0.3, 0.0, 0.9, ()))


def done(start_s: float, has_text: bool) -> UtteranceDone:
    return UtteranceDone(start_s, start_s + 1.0, Cause.SILENCE, has_text)


def arrived(*said: Union[Partial, Result, UtteranceDone, SpeechStarted]) -> List[Arrived]:
    return [Arrived(one, float(number)) for number, one in enumerate(said)]


def test_packets_go_to_the_utterance_that_starts_where_they_say() -> None:
    utterances, faults = gather(
        arrived(
            SpeechStarted(1.0),
            partial(1.0, "네"),
            partial(1.04, "네 그"),
            partial(3.0, "다"),  # of the next, while the first is recognised
            detailed(1.0, "네 그래", Cause.LENGTH),
            done(1.0, True),
            detailed(3.0, "다음"),
            done(3.0, True),
            partial(5.0, "음"),
            done(5.0, False),
            UtteranceDone(7.0, 7.0, Cause.ASKED, False),  # nothing was open
        )
    )
    assert faults == {}
    assert [len(one.shown) for one in utterances] == [2, 1, 1]
    assert [one.was_cut for one in utterances] == [True, False, False]
    assert [one.result is None for one in utterances] == [False, False, True]
    assert utterances[0].shown[1] == Shown(2.0, "네 그", "")


@pytest.mark.parametrize(
    ("in_order", "kind"),
    [
        ([detailed(1.0, "네"), partial(1.0, "네")], "late"),
        ([done(1.0, False), partial(1.0, "네")], "late"),
        ([partial(1.0, "", "")], "empty"),
        ([partial(1.0, "네", "그\t래")], "with a tab"),
        ([detailed(1.0, "네"), detailed(1.0, "네")], "second result"),
        ([done(1.0, True)], "event that contradicts the result"),
        ([detailed(1.0, "네"), done(1.0, False)], "event that contradicts the result"),
    ],
)
def test_a_packet_that_should_not_have_come_is_counted(
    in_order: Sequence[Union[Partial, Result, UtteranceDone]], kind: str
) -> None:
    assert gather(arrived(*in_order))[1] == {kind: 1}


def test_results_differ_by_time_or_text_and_not_by_detail() -> None:
    some = [detailed(1.0, "네"), detailed(3.0, "네"), detailed(5.0, "네")]
    assert differences(some, [Result(*one[:3]) for one in some]) == 0
    assert differences(some, [detailed(1.0, "네"), detailed(3.1, "네"), detailed(5.0, "내")]) == 2
    assert differences(some, some[:1]) == differences(some[:1], some) == 2


def test_a_session_gives_a_row() -> None:
    stream = Stream(bytes(96_000), [Placed(Recording("one", "ko", ["네 그래"], bytes(64_000)), 0.0, 3.0)])
    final = detailed(0.0, "네 그래")
    assert final.detail is not None
    packets = b"".join(
        [
            partial_packet(Partial(0.0, 0.5, "", "네 그"), detailed=True),
            partial_packet(Partial(0.0, 0.9, "네", "그래"), detailed=True),
            detailed_result_packet(DetailedResult(final.start_s, final.end_s, final.text, final.detail)),
        ]
    )
    turns = [_turn(stream, packets if asked else b"", asked) for asked in (True, False)]
    row, judged = summed_up(turns, lambda *_: [Piece("네", 0.0, 0.3), Piece("그래", 0.3, 0.9)])
    assert (row.utterances, row.words, row.clients, row.language) == (1, 2, 1, "ko")
    latencies = judged[0].comparison.latencies
    assert [latency.word.text for latency in latencies] == ["네", "그래"]
    assert [word["word"] for word in judged[0].trace()["words"]] == ["네", "그래"]
    assert row.stable_mean == pytest.approx(sum(latency.stable_s for latency in latencies) / 2)
    assert row.coverage == pytest.approx(1 / 3)
    assert (row.retraction, row.shrinks) == (0.0, 0)
    assert row.faults == {}
    assert (row.error_rate, row.error_rate_without, row.changed) == (0.0, 1.0, 1)
    assert row.partials_per_s == pytest.approx(2.0)
    assert row.failures == {}
    assert all(cell(row) for cell in COLUMNS.values())


def _turn(stream: Stream, at_finish: bytes, with_live_text: bool) -> Turn:
    """A session with a server that says all of that at the end."""
    asked = SessionOptions(language="ko", partial=with_live_text, events=True, detail=True)
    with serving(session(at_finish=at_finish + END_PACKET)) as port:
        client = LiveClient(("127.0.0.1", port), "test", stream, 1000, asked)
        now_s = time.monotonic()
        window = Window(now_s - 60, now_s + 60)
        lags_ms = converse([client], None, Timetable([now_s - 3.0], window, now_s + 60))  # all is due at once
    return Turn(asked, [client], window, Usage(), lags_ms)
