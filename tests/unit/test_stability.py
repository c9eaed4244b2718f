"""Which words of an open utterance stay."""

from typing import List, Sequence, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognizer.stability import (
    RULES,
    HeardToken,
    HeardWord,
    Look,
    Seen,
    continuation,
    count_stable,
    heard_since,
    may_settle,
    remembered,
    spoken,
    without_end_marks,
    words_of,
)

LONG_S = 10.0
SURE, UNLIKELY = 0.95, 0.1


def token(spelling: str, probability: float = SURE, at_s: float = 1.0) -> HeardToken:
    return HeardToken(7, spelling.encode(), probability, at_s)


def heard(text: str, probability: float = SURE, ended: bool = True) -> List[HeardWord]:
    """Every word of the text as a token, but for punctuation, which is one too."""
    spellings = text.replace(",", "|,").replace(".", "|.").replace(" ", "| ").split("|")
    return words_of([token(spelling, probability) for spelling in spellings if spelling], ended)


def stable(words: Sequence[HeardWord], heard_for_s: float = 0.0, closely: bool = True, sound_s: float = 3.0) -> int:
    """Of words that looks have heard for so long, each of which ends at one second."""
    look = Look(list(words), -0.2, 0.0, closely)
    return count_stable(look, [sound_s - heard_for_s] * len(words), sound_s, LONG_S)


def test_tokens_become_words_at_blanks_and_punctuation_stands_apart() -> None:
    words = words_of([token(" 안녕"), token("하세요"), token(","), token(" 저는")], ended=False)
    assert [word.text for word in words] == [" 안녕하세요", ",", " 저는"]
    assert [word.complete for word in words] == [True, True, False]


def test_a_word_is_as_probable_as_its_least_probable_token_and_ends_where_the_last_is_heard() -> None:
    (word,) = words_of([token(" 절", 0.9, 1.0), token("개", 0.3, 1.2)], ended=True)
    assert (word.probability, word.end_s) == (0.3, 1.2)


def test_a_number_goes_on_behind_its_comma() -> None:
    assert not words_of([token(" 600"), token(",")], ended=False)[0].complete
    assert all(
        word.complete for word in words_of([token(" 600"), token(","), token("000"), token(" people")], False)[:3]
    )


@pytest.mark.parametrize("n_bytes", [1, 2, 4, 5])
def test_a_syllable_of_which_bytes_are_missing_does_not_show(n_bytes: int) -> None:
    spelling = " 한글".encode()[: 1 + n_bytes]
    (word,) = words_of([HeardToken(7, spelling, SURE, 1.0)], ended=False)
    assert word.text == " 한글"[: 1 + n_bytes // 3]
    assert not word.complete


def test_sure_words_stay_at_once_and_others_the_later_the_less_sure_they_are() -> None:
    assert stable(heard(" we are here now")) == 3
    for sure, for_s in RULES.sure:
        words = heard(" we are here now", sure)
        assert stable(words, for_s) >= 3
        assert not for_s or stable(words, for_s - 0.03) == 0


def test_a_word_that_nothing_follows_has_to_be_sure_and_heard_again() -> None:
    assert stable(heard(" we are", 0.75), 2.0) == 1
    assert stable(heard(" we are")) == 1
    assert stable(heard(" we are"), RULES.again_s) == 2
    assert stable(heard(" we are", ended=False), RULES.again_s) == 1


def test_a_quick_look_at_a_doubtful_word_is_not_believed_however_often() -> None:
    words = heard(" we are here", UNLIKELY)
    assert stable(words, 2.0, closely=False) == 0
    assert stable(words, 2.0) == 2


def test_a_doubtful_word_holds_up_the_others_only_so_long() -> None:
    words = [*heard(" or", UNLIKELY), *heard(" we are here")]
    assert stable(words, sound_s=1.0 + RULES.late_s - 0.03) == 0
    assert stable(words, sound_s=1.0 + RULES.late_s) == 3


def test_nothing_stays_behind_a_doubtful_word() -> None:
    words = [*heard(" we", SURE), *heard(" or", UNLIKELY), *heard(" are here", SURE)]
    assert stable(words) == 1


def test_nothing_stays_that_ends_where_the_sound_does_or_behind_a_limit() -> None:
    words = words_of([token(" we", at_s=1.0), token(" are", at_s=2.95), token(" here", at_s=2.98)], ended=True)
    look = Look(words, -0.2, 0.0, closely=False)
    since_s = [1.0, 1.0, 1.0]
    assert count_stable(look, since_s, 3.0, LONG_S) == 1
    assert count_stable(look, since_s, 9.0, LONG_S) == 3
    assert count_stable(look, since_s, 9.0, 0.9) == 0


def test_nothing_stays_of_a_sound_that_is_short() -> None:
    words = words_of([token(" we", at_s=0.3), token(" are", at_s=0.5), token(" here", at_s=0.7)], ended=True)
    assert stable(words, 1.0, sound_s=RULES.early_s - 0.03) == 0
    assert stable(words, 1.0, sound_s=RULES.early_s) == 3


def test_punctuation_counts_neither_as_said_nor_as_heard() -> None:
    before = remembered(heard(" ask not"), [1.0, 1.5])
    assert before == [Seen("ask", 1.0), Seen("not", 1.5)]
    assert heard_since(heard(", ask. not"), before, 2.0) == [2.0, 1.0, 2.0, 1.5]


def test_doubtful_punctuation_stays_only_before_what_stays() -> None:
    marks = [*heard(" you"), *heard(",", UNLIKELY)]
    assert stable(marks, RULES.again_s) == 1
    assert stable([*marks, *heard(" ask")], RULES.again_s) == 3


def test_what_differs_from_the_look_before_is_new_and_what_stands_around_it_is_not() -> None:
    before = [Seen("we", 1.0), Seen("are", 1.0), Seen("here", 1.5)]
    assert heard_since(heard(" we were here"), before, 2.0) == [1.0, 2.0, 1.5]
    assert heard_since(heard(" now we were not"), before, 2.0) == [2.0, 1.0, 2.0, 2.0]


WORDS = st.lists(
    st.tuples(st.text("가나다ab, .\ufffd1", min_size=1, max_size=4), st.floats(0, 1), st.floats(0, LONG_S)), max_size=8
)


@given(looks=st.lists(st.tuples(WORDS, st.booleans(), st.booleans()), max_size=6))
def test_stable_text_only_grows_whatever_is_heard(
    looks: List[Tuple[List[Tuple[str, float, float]], bool, bool]],
) -> None:
    text = ""
    seen: List[Seen] = []
    for number, (spellings, ended, closely) in enumerate(looks, 1):
        words = words_of([token(*spelling) for spelling in spellings], ended)
        since_s = heard_since(words, seen, number * 2.0)
        count = count_stable(Look(words, -0.2, 0.0, closely), since_s, number * 2.0, LONG_S)
        assert 0 <= count <= len(words)
        assert "".join(word.text for word in words).count("\ufffd") == 0
        grown = text + "".join(word.text for word in words[:count])
        assert grown.startswith(text)
        text, seen = grown, remembered(words[count:], since_s[count:])


def test_a_result_goes_on_where_stable_text_ends() -> None:
    assert continuation("", "We are here.") == "We are here."
    assert continuation("We are", "We are here.") == " here."
    assert continuation("we are,", "We are here.") == " here."
    assert continuation("We are", "We are, here.") == ", here."
    assert continuation("not 600", "Not 600,000, that") == ",000, that"
    assert continuation("We are here", "We are here.") == "."


def test_a_result_that_differs_a_little_goes_on_at_the_nearest_place() -> None:
    assert continuation("라디오 소리 좀 줄여달라는데", "라디오 소리 좀 주려달라는데 그게") == " 그게"
    assert continuation("이", "이값이 실제") == "값이 실제"
    assert continuation("그렇게 어렵습니다", "그렇게 어렵습니까?") == "?"


def test_a_result_that_says_something_else_does_not_go_on() -> None:
    assert continuation("그런데 여기", "이런 내용이 2001년부터") is None
    assert continuation("We are here", "") is None


@given(start=st.text("가나 ab,.", max_size=12), rest=st.text("가나 ab,.", max_size=12))
def test_what_goes_on_from_a_beginning_of_a_text_gives_its_letters(start: str, rest: str) -> None:
    found = continuation(start, start + rest)
    assert found is not None
    assert spoken(start + found).endswith(spoken(rest))


def test_a_result_in_a_pause_stays_when_speech_has_not_gone_on_for_a_while() -> None:
    assert not may_settle(-0.1, 0.2)
    assert may_settle(-0.1, 0.3)
    assert not may_settle(-0.7, 0.3)
    assert may_settle(-0.7, 0.42)


def test_the_punctuation_at_the_end_is_left_out() -> None:
    assert without_end_marks(" 안녕하세요?!") == " 안녕하세요"
    assert without_end_marks("...") == ""
