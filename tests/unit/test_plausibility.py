"""What is taken for the usual mistakes of Whisper, and what is not."""

import pytest

from recognizer.plausibility import is_end_of_before, is_one_sound, is_said_twice, most_tokens


@pytest.mark.parametrize(
    "text",
    [
        "도대체 몇 번을 더 말씀드려야 합니까? 도대체 몇 번을 더 말씀드려야 합니까?",
        "공부와 일을 같이 하려면 공부와 일을 같이 하려면 힘들겠어요.",
        "Turn left here. Turn left here.",
    ],
)
def test_a_sentence_that_comes_twice_in_a_row_is_noticed(text: str) -> None:
    assert is_said_twice(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "네, 네. 네, 알겠습니다.",
        "빨리빨리 오세요, 빨리빨리!",
        "돈을 볼 가능성도 없고 권력을 잡을 가능성도 없고",
        "No, no, no, that is not what I said.",
    ],
)
def test_a_word_that_comes_again_is_no_mistake(text: str) -> None:
    assert not is_said_twice(text)


@pytest.mark.parametrize("text", ["ㅋㅋㅋㅋㅋㅋㅋㅋ", "하하하하하", "하, 하, 하, 하!", "Mmmmm", "Ha ha ha ha ha"])
def test_one_sound_again_and_again_is_noticed(text: str) -> None:
    assert is_one_sound(text)


@pytest.mark.parametrize(
    "text", ["", "네, 네.", "네네네네 알겠습니다", "하하하", "9999", "빨리빨리빨리빨리", "www dot example dot com"]
)
def test_words_are_more_than_one_sound(text: str) -> None:
    assert not is_one_sound(text)


def test_nobody_says_more_tokens_than_whisper_writes() -> None:
    assert most_tokens(0.5) < most_tokens(5) < most_tokens(30) == 220


@pytest.mark.parametrize(("word", "is_end"), [(".", True), ("?!", True), ("。", True), ("그", False), (".5", False)])
def test_punctuation_alone_at_the_beginning_ends_the_text_before(word: str, is_end: bool) -> None:
    assert is_end_of_before(word) == is_end
