"""Results as text, JSON and subtitles."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.formats import JsonFormat, SubtitleFormat, TextFormat, columns, cues, wrapped
from protocol.data import Cause, Detail, Partial, Word
from util import Result


def result_of(words: list[Word], start_s: float | None = None, end_s: float | None = None) -> Result:
    text = " ".join(word.text for word in words)
    detail = Detail("ko", Cause.SILENCE, -0.31, 0.02, 0.87, tuple(words))
    start_s = words[0].start_s if start_s is None else start_s
    return Result(start_s, words[-1].end_s if end_s is None else end_s, text, detail)


def spoken(text: str, word_s: float = 0.3, start_s: float = 0.0) -> list[Word]:
    """One word after the other, of equal length."""
    return [
        Word(word, start_s + index * word_s, start_s + (index + 1) * word_s, 0.9)
        for index, word in enumerate(text.split())
    ]


HELLO = result_of([Word("안녕하세요", 1.2, 1.9, 0.91), Word("여러분", 2.0, 3.4, 0.8)])

# --- text and JSON


def test_text_has_times_with_one_decimal() -> None:
    assert TextFormat().begin() + TextFormat().result(HELLO) == "1.2 3.4 : 안녕하세요 여러분\n"


def test_text_of_several_recordings_has_headings() -> None:
    assert TextFormat("a\x1b.wav").begin() == "==> a\\x1b.wav <==\n"


def test_json_has_all_that_is_known_in_one_line() -> None:
    line = JsonFormat("talk.wav").result(HELLO)
    assert line.endswith("}\n")
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "type": "result",
        "file": "talk.wav",
        "start": 1.2,
        "end": 3.4,
        "text": "안녕하세요 여러분",
        "language": "ko",
        "cause": "silence",
        "avg_logprob": -0.31,
        "no_speech_prob": 0.02,
        "confidence": 0.87,
        "words": [
            {"word": "안녕하세요", "start": 1.2, "end": 1.9, "confidence": 0.91},
            {"word": "여러분", "start": 2.0, "end": 3.4, "confidence": 0.8},
        ],
    }
    assert "안녕하세요" in line


def test_json_of_what_is_open_says_so() -> None:
    line = JsonFormat(None).partial(Partial(1.2, 2.0, "hello", "there"))
    assert json.loads(line) == {
        "type": "partial",
        "file": None,
        "start": 1.2,
        "end": 2.0,
        "stable": "hello",
        "unstable": "there",
    }


def test_only_json_has_what_is_open() -> None:
    partial = Partial(1.2, 2.0, "hello", "there")
    assert [form.partial(partial) for form in (TextFormat(), SubtitleFormat("srt"), SubtitleFormat("vtt"))] == [""] * 3


HOSTILE = st.text(max_size=60) | st.sampled_from(
    ["\x1b[2J", "\x9b2J", "a\rb", "a\n\nb", "\u202eabc", "1\n00:00:00,000 --> 00:00:01,000", "<b>{\\an8}", "&amp;", " "]
)


@given(HOSTILE, HOSTILE)
def test_no_control_character_leaves_any_format(text: str, other: str) -> None:
    result = Result(0.0, 2.0, f"{text} {other}", Detail(text, Cause.ASKED, 0, 0, 1, (Word(text, 0, 1, 1),)))
    partial = Partial(0.0, 2.0, text, other)
    for form in (TextFormat(text), JsonFormat(text), SubtitleFormat("srt"), SubtitleFormat("vtt")):
        for shown in (
            form.begin(),
            form.result(result),
            form.result(result._replace(detail=None)),
            form.partial(partial),
        ):
            assert shown.replace("\n", "").isprintable()
    assert json.loads(JsonFormat(text).result(result))["text"] == f"{text} {other}"


# --- subtitles


def test_srt_numbers_its_cues_over_all_results() -> None:
    form = SubtitleFormat("srt")
    later = result_of([Word("끝.", 3661.5, 3662.25, 1.0)])
    assert form.begin() + form.result(HELLO) + form.result(later) == (
        "1\n00:00:01,200 --> 00:00:03,400\n안녕하세요 여러분\n\n2\n01:01:01,500 --> 01:01:02,250\n끝.\n\n"
    )


def test_vtt_has_a_header_and_points() -> None:
    form = SubtitleFormat("vtt")
    assert form.begin() + form.result(HELLO) == "WEBVTT\n\n00:00:01.200 --> 00:00:03.400\n안녕하세요 여러분\n\n"


def test_what_a_player_takes_for_markup_is_escaped_or_replaced() -> None:
    result = result_of([Word("R&D", 0, 1, 1), Word("<b>", 1, 2, 1), Word("-->", 2, 3, 1)])
    assert "R&amp;D &lt;b&gt; --&gt;\n" in SubtitleFormat("vtt").result(result)
    assert "R&D ‹b› --›\n" in SubtitleFormat("srt").result(result)


def test_a_result_that_fits_is_one_cue_with_its_own_times() -> None:
    result = result_of(spoken("one two three", 1.0, 5.0), start_s=4.5, end_s=9.0)
    assert [(cue.start_s, cue.end_s, cue.lines) for cue in cues(result)] == [(4.5, 9.0, ["one two three"])]


def test_a_long_result_is_split_at_the_times_of_its_words_into_cues_of_about_one_length() -> None:
    words = spoken("seven seconds and no more are shown at once", 1.0)
    first, second = cues(result_of(words))
    assert (first.start_s, first.end_s, second.start_s, second.end_s) == (0.0, 5.0, 5.0, 9.0)
    assert (first.lines, second.lines) == (["seven seconds and no more"], ["are shown at once"])


def test_a_cue_has_two_lines_of_42_columns_at_most() -> None:
    shown = list(cues(result_of(spoken("communication " * 7, 0.5))))
    assert [cue.lines for cue in shown] == [
        ["communication communication"] * 2,
        ["communication communication communication"],
    ]
    korean = list(cues(result_of(spoken("가나다라마바사아자차 " * 5, 0.5))))
    assert [cue.lines for cue in korean] == [
        ["가나다라마바사아자차", "가나다라마바사아자차 가나다라마바사아자차"],
        ["가나다라마바사아자차 가나다라마바사아자차"],
    ]


def test_two_lines_are_about_as_long() -> None:
    (cue,) = cues(result_of(spoken("Ever tried. Ever failed. No matter. Try again.")))
    assert cue.lines == ["Ever tried. Ever failed.", "No matter. Try again."]


def test_a_text_without_blanks_is_split_between_characters() -> None:
    shown = list(cues(result_of([Word("漢" * 50, 0.0, 5.0, 1.0)])))
    assert [cue.lines for cue in shown] == [["漢" * 21], ["漢" * 21, "漢" * 8]]
    assert [(cue.start_s, cue.end_s) for cue in shown] == [(0.0, pytest.approx(2.1)), (pytest.approx(2.1), 5.0)]


def test_a_result_without_detail_has_its_words_spread_over_its_time() -> None:
    shown = list(cues(Result(10.0, 20.0, "aaaa " * 10)))
    assert [(cue.start_s, cue.end_s) for cue in shown] == [(10.0, 15.0), (15.0, 20.0)]


SECONDS = st.floats(0, 40, allow_nan=False).map(lambda seconds: round(seconds, 2))
WORDS = st.builds(Word, st.text(max_size=50) | st.sampled_from(["hello", "안녕하세요"]), SECONDS, SECONDS, SECONDS)


@given(st.lists(WORDS, max_size=40), SECONDS, SECONDS)
def test_whatever_times_and_words_come_cues_can_be_read_and_played(words: list[Word], one: float, other: float) -> None:
    """Also those of a server that is wrong."""
    start_s, end_s = sorted((one, other))
    result = Result(start_s, end_s, "a", Detail("ko", Cause.LENGTH, 0, 0, 0, tuple(words)))
    shown = list(cues(result))
    for cue in shown:
        assert 1 <= len(cue.lines) <= 2
        assert all(0 < columns(line) <= 42 or len(line) == 1 for line in cue.lines)
        assert start_s <= cue.start_s < cue.end_s <= max(end_s, cue.start_s + 0.001)
        assert cue.end_s - cue.start_s <= 7.0 + 1e-9
    for before, after in zip(shown, shown[1:]):
        assert before.start_s <= after.start_s
        assert before.end_s <= after.start_s + 0.0011
    written = SubtitleFormat("vtt").result(result)
    assert len(re.findall(r"^\d\d:\d\d:\d\d\.\d{3} --> ", written, re.MULTILINE)) == len(shown)


def test_times_that_cannot_be_are_shown_as_the_beginning() -> None:
    assert SubtitleFormat("srt").result(Result(-5.0, 1.0, "a")).startswith("1\n00:00:00,000 --> 00:00:01,000\n")


def test_nothing_said_is_no_cue() -> None:
    assert SubtitleFormat("srt").result(Result(0, 1, " ")) == ""


# --- widths


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("abc", 3),
        ("한글", 4),
        ("ｆｕｌｌ", 8),
        ("e\u0301", 1),
        ("\u1112\u1161\u11ab", 2),
        ("…", 1),
        ("漢字kana", 8),
    ],
)
def test_the_width_of_a_text_is_counted_in_columns(text: str, width: int) -> None:
    assert columns(text) == width


@given(st.lists(st.text("ab한", min_size=1, max_size=21), max_size=20))
def test_wrapping_keeps_all_words_in_order(words: list[str]) -> None:
    lines = wrapped(words)
    assert " ".join(lines) == " ".join(words)
    assert all(columns(line) <= 42 for line in lines)
