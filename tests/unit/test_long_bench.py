"""Long recordings made of short ones, and what a text of them has that was not said."""

from typing import List

import numpy as np
import pytest

from bench.long.differences import compare, near
from bench.long.joined import GAP_S, LongRecording, Part, join, join_all, trimmed
from bench.long.rows import COLUMNS, Row
from bench.recordings import Recording

SECOND = 16_000


def tone(seconds: float) -> bytes:
    wave = 8000 * np.sin(np.arange(round(seconds * SECOND)) * 0.1)
    return bytes(wave.astype("<i2").tobytes())


def silence(seconds: float) -> bytes:
    return bytes(2 * round(seconds * SECOND))


def recording(name: str, *references: str, pcm: bytes = b"", language: str = "en") -> Recording:
    return Recording(name, language, [*references], pcm)


def long_of(*recordings: Recording) -> LongRecording:
    """Each lasts one second."""
    parts = [Part(one, float(number), number + 1.0) for number, one in enumerate(recordings)]
    return LongRecording("long", recordings[0].language, parts, b"")


def names(several: List[LongRecording]) -> List[List[str]]:
    return [[part.recording.name for part in one.parts] for one in several]


def test_quiet_edges_go_but_for_a_moment_and_pauses_inside_stay() -> None:
    speech = tone(0.5) + silence(0.8) + tone(0.5)
    hum = (np.frombuffer(tone(1.0), "<i2") // 400).astype("<i2").tobytes()
    kept = trimmed(silence(1.0) + speech + hum)
    assert speech in kept
    assert len(kept) == len(speech) + len(silence(0.1))


def test_real_speech_stays_whole(phrase: bytes) -> None:
    kept = trimmed(phrase)
    assert kept in phrase
    assert len(kept) <= len(phrase) - len(silence(1.0))  # the phrase has more than a second of silence around it
    assert len(trimmed(silence(0.5) + kept + silence(0.5))) >= len(kept) - len(silence(0.1))


@pytest.mark.parametrize("pcm", [b"", silence(0.5)])
def test_nothing_is_left_of_silence(pcm: bytes) -> None:
    assert trimmed(pcm) == b""


def test_a_long_recording_says_where_its_parts_are() -> None:
    long = join("long", [recording("a", pcm=tone(1.0)), recording("b", pcm=silence(1.0) + tone(2.0))])
    first, second = long.parts
    assert (first.start_s, first.end_s) == pytest.approx((0.0, 1.0))
    assert (second.start_s, second.end_s) == pytest.approx((1.0 + GAP_S, 1.0 + GAP_S + 0.05 + 2.0))
    assert long.duration_s == pytest.approx(second.end_s + GAP_S)


def test_all_recordings_come_once_and_in_order() -> None:
    several = [recording(str(number), pcm=tone(2.0)) for number in range(10)]
    assert names(join_all(several, 7.0)) == [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8", "9"]]
    assert names(join_all(several, 100.0)) == [[str(number) for number in range(10)]]


def test_a_further_take_begins_elsewhere() -> None:
    several = [recording(name, pcm=tone(1.0)) for name in "abcd"]
    assert names(join_all(several, 4.0, takes=2)) == [["a", "b", "c", "d"], ["c", "d", "a", "b"]]


def test_what_is_wrong_lost_and_added_is_told_with_its_place() -> None:
    long = long_of(recording("a", "one two three four"), recording("b", "five six"))
    compared = compare(long, "one too three five six seven seven")
    wrong, lost, added = compared.differences
    assert (wrong.kind, wrong.said, wrong.written) == ("wrong", ["two"], ["too"])
    assert (lost.kind, lost.said, lost.written) == ("lost", ["four"], [])
    assert (added.kind, added.said, added.written) == ("added", [], ["seven", "seven"])
    assert [one.at_s for one in compared.differences] == pytest.approx([0.375, 0.875, 1.75])
    assert [compared.edits(kind) for kind in ("wrong", "lost", "added")] == [1, 1, 2]


def test_each_recording_is_held_against_its_nearest_spelling() -> None:
    long = long_of(
        recording("a", "오전 3시", "오전 세 시", language="ko"), recording("b", "10명", "열 명", language="ko")
    )
    assert compare(long, "오전 세 시 10명").differences == []
    assert compare(long, "오전 3시 열 명").differences == []


def test_all_is_lost_where_no_text_came() -> None:
    compared = compare(long_of(recording("a", "one two")), "")
    assert compared.edits("lost") == len(compared.tokens_s) == 2


def test_what_is_at_a_cut_is_counted_apart() -> None:
    assert near([8.0, 8.6, 10.0, 11.4, 11.6], [10.0]) == 3
    assert near([8.0], []) == 0
    row = Row("a server", "ko", 10.0, 100, 3, 2, 1, tokens_at_cuts=20, edits_at_cuts=2)
    cells = {heading: cell(row) for heading, cell in COLUMNS.items()}
    assert (cells["error rate"], cells["error rate at cuts"], cells["elsewhere"]) == ("6.0 % (CER)", "10.0 %", "5.0 %")
    uncut = row._replace(tokens_at_cuts=0, edits_at_cuts=0)
    assert COLUMNS["error rate at cuts"](uncut) == "–"
