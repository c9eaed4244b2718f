"""Voiced and unvoiced frames → segments."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.sections import VadConfig
from engine.endpointer import Endpointer, Segment
from protocol.data import Cause

FRAME_MS = 30
SILENCE_FRAMES = 16
MAX_FRAMES = 333  # 10 s
PREROLL_FRAMES = 10  # 300 ms


def frames(*runs: int) -> list[bool]:
    """Runs of unvoiced and voiced frames by turns: `frames(2, 3)` is two unvoiced, then three voiced."""
    return [index % 2 == 1 for index, length in enumerate(runs) for _ in range(length)]


def feed(endpointer: Endpointer, voiced: Iterable[bool]) -> list[Segment]:
    return [segment for segment in map(endpointer.feed, voiced) if segment is not None]


def segments(voiced: Iterable[bool], endpointer: Endpointer) -> list[Segment]:
    found = feed(endpointer, voiced)
    last = endpointer.end(Cause.FINISH)
    return found if last is None else [*found, last]


@pytest.fixture
def endpointer() -> Endpointer:
    return Endpointer(VadConfig(), FRAME_MS)


# --- examples


def test_a_segment_starts_with_its_first_voiced_frame_and_ends_after_its_last(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(20, 5, 16)) == [Segment(start=20, end=25, audio_start=10, audio_end=28)]


def test_one_unvoiced_frame_less_than_the_threshold_ends_nothing(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 5, 15)) == []


def test_a_voiced_frame_resets_the_silence_count(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 5, 15, 1, 15)) == []
    assert feed(endpointer, frames(1)) == [Segment(0, 21, 0, 24)]


def test_unvoiced_frames_are_ignored_when_idle(endpointer: Endpointer) -> None:
    assert segments(frames(1000), endpointer) == []
    assert endpointer.keep_from == 1000 - PREROLL_FRAMES


def test_finish_ends_an_open_segment_once(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, 5, 3))
    assert endpointer.end(Cause.FINISH) == Segment(0, 5, 0, 8, Cause.FINISH)
    assert endpointer.end(Cause.FINISH) is None


def test_finish_after_a_segment_has_ended_gives_nothing(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, 5, 16))
    assert endpointer.end(Cause.FINISH) is None


def test_segments_follow_each_other(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 5, 16, 5, 16)) == [Segment(0, 5, 0, 8), Segment(21, 26, 11, 29)]


@pytest.mark.parametrize(("frame_ms", "preroll_frames"), [(10, 30), (20, 15), (30, 10)])
def test_the_preroll_is_300_ms(frame_ms: int, preroll_frames: int) -> None:
    (segment,) = segments(frames(100, 1), Endpointer(VadConfig(), frame_ms))
    assert segment.start - segment.audio_start == preroll_frames


def test_the_preroll_begins_with_the_stream_at_the_earliest(endpointer: Endpointer) -> None:
    assert segments(frames(3, 5), endpointer) == [Segment(3, 8, 0, 8, Cause.FINISH)]


def test_the_preroll_ends_where_the_segment_before_ended() -> None:
    endpointer = Endpointer(VadConfig(silence_threshold=2), FRAME_MS)
    assert segments(frames(0, 5, 2, 5), endpointer) == [Segment(0, 5, 0, 7), Segment(7, 12, 5, 12, Cause.FINISH)]


def test_a_segment_as_long_as_allowed_is_cut_at_once(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, MAX_FRAMES - 1)) == []
    assert feed(endpointer, frames(0, 1)) == [Segment(0, MAX_FRAMES, 0, MAX_FRAMES, Cause.LENGTH, True)]


@pytest.mark.parametrize(("frame_ms", "max_frames"), [(10, 1000), (20, 500), (30, 333)])
def test_the_longest_segment_is_10_seconds_for_every_frame_duration(frame_ms: int, max_frames: int) -> None:
    lengths = [segment.end - segment.start for segment in segments(frames(0, 2500), Endpointer(VadConfig(), frame_ms))]
    assert lengths[0] == max_frames
    assert sum(lengths) == 2500


def test_what_follows_a_forced_cut_belongs_to_the_next_segment(endpointer: Endpointer) -> None:
    first, second = segments(frames(5, MAX_FRAMES + 50), endpointer)
    assert first == Segment(5, 5 + MAX_FRAMES, 0, 5 + MAX_FRAMES, Cause.LENGTH, True)
    assert second == Segment(first.end, first.end + 50, first.end, first.end + 50, Cause.FINISH)


def test_a_forced_cut_is_made_at_the_last_pause_and_the_rest_opens_the_next_segment(endpointer: Endpointer) -> None:
    runs = frames(0, 250, 5, 45, 5, 28)
    assert len(runs) == MAX_FRAMES
    assert feed(endpointer, runs) == [Segment(0, 300, 0, 303, Cause.LENGTH)]
    assert endpointer.end(Cause.FINISH) == Segment(305, 333, 300, 333, Cause.FINISH)


def test_the_silence_count_goes_on_through_a_forced_cut(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, 300, 5, 26, 2))
    assert feed(endpointer, frames(13)) == []
    assert feed(endpointer, frames(1)) == [Segment(305, 331, 300, 334)]


def test_a_gap_inside_a_word_is_no_pause_to_cut_at(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 300, 2, 31)) == [Segment(0, 333, 0, 333, Cause.LENGTH, True)]


def test_a_pause_long_ago_is_no_place_to_cut_at(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 200, 5, 128)) == [Segment(0, 333, 0, 333, Cause.LENGTH, True)]


def test_a_forced_cut_in_a_pause_is_made_there(endpointer: Endpointer) -> None:
    assert feed(endpointer, frames(0, 300, 5, 18, 10)) == [Segment(0, 323, 0, 326, Cause.LENGTH)]
    assert segments(frames(1, 5), endpointer) == [Segment(334, 339, 333, 339, Cause.FINISH)]


def test_speech_that_was_cut_goes_on_in_a_segment_that_is_open_at_once(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, MAX_FRAMES))
    assert endpointer.in_segment
    assert endpointer.voiced_start is None
    assert feed(endpointer, frames(3, 5, 16)) == [Segment(336, 341, 333, 344)]


def test_nothing_behind_a_cut_is_a_segment_without_length(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, MAX_FRAMES))
    assert feed(endpointer, frames(16)) == [Segment(333, 333, 333, 336)]
    assert not endpointer.in_segment


def test_an_end_that_is_asked_for_is_one_in_the_middle_of_speech(endpointer: Endpointer) -> None:
    feed(endpointer, frames(0, 5))
    assert endpointer.end(Cause.ASKED) == Segment(0, 5, 0, 5, Cause.ASKED)
    assert feed(endpointer, frames(0, 3, 16)) == [Segment(5, 8, 5, 11)]


def test_the_earliest_cut_is_the_last_pause_that_a_cut_would_be_made_at(endpointer: Endpointer) -> None:
    assert endpointer.earliest_cut is None
    feed(endpointer, frames(0, 200, 5, 40))
    assert endpointer.earliest_cut == MAX_FRAMES
    feed(endpointer, frames(5, 10))
    assert endpointer.earliest_cut == 245
    assert feed(endpointer, frames(0, 200))[0].end == 245


# --- anything

ANY_VAD = st.builds(
    VadConfig,
    silence_threshold=st.integers(1, 40),
    max_speech_duration=st.sampled_from([1.0, 1.5, 2.0, 3.3]),
)
ANY_FRAMES = st.one_of(
    st.lists(st.booleans(), max_size=300),
    st.lists(st.integers(0, 60), max_size=20).map(lambda runs: frames(*runs)),
)


@settings(deadline=None, max_examples=300)
@given(ANY_VAD, st.sampled_from([10, 20, 30]), ANY_FRAMES)
def test_every_voiced_frame_is_in_one_segment_and_none_is_too_long(
    vad: VadConfig, frame_ms: int, voiced: list[bool]
) -> None:
    found = segments(voiced, Endpointer(vad, frame_ms))
    covered = [frame for segment in found for frame in range(segment.start, segment.end)]
    assert covered == sorted(set(covered))
    assert {frame for frame, is_voiced in enumerate(voiced) if is_voiced} <= set(covered)
    for before, segment in zip([None, *found], found):
        if segment.start == segment.end:  # nothing came where speech had to go on
            assert before is not None
            assert before.cause is Cause.LENGTH
            assert before.end <= segment.start
            continue
        assert voiced[segment.start]
        assert voiced[segment.end - 1]
        assert (segment.end - segment.start) * frame_ms <= vad.max_speech_duration * 1000


@settings(deadline=None, max_examples=300)
@given(ANY_VAD, st.sampled_from([10, 20, 30]), ANY_FRAMES)
def test_the_audio_of_a_segment_holds_it_and_at_most_300_ms_before_and_90_ms_after(
    vad: VadConfig, frame_ms: int, voiced: list[bool]
) -> None:
    previous_end = 0
    for segment in segments(voiced, Endpointer(vad, frame_ms)):
        assert previous_end <= segment.audio_start <= segment.start
        assert segment.end <= segment.audio_end <= len(voiced)
        assert (segment.start - segment.audio_start) * frame_ms <= 300
        assert (segment.audio_end - segment.end) * frame_ms <= 90
        previous_end = segment.end


@settings(deadline=None, max_examples=300)
@given(ANY_VAD, st.sampled_from([10, 20, 30]), ANY_FRAMES)
def test_what_seems_to_end_is_the_segment_that_ends_if_the_silence_goes_on(
    vad: VadConfig, frame_ms: int, voiced: list[bool]
) -> None:
    endpointer = Endpointer(vad, frame_ms)
    for index, is_voiced in enumerate(voiced):
        segment, ending = endpointer.feed(is_voiced), endpointer.ending
        assert segment is None or ending is None
        if ending is not None:
            assert not any(voiced[ending.audio_end : index + 1])
            silent = copy.copy(endpointer)
            (ended, *_) = segments([False] * (vad.silence_threshold + 1), silent)
            assert ended._replace(cause=ending.cause) == ending


@settings(deadline=None, max_examples=300)
@given(ANY_VAD, st.sampled_from([10, 20, 30]), ANY_FRAMES)
def test_audio_that_was_given_up_is_never_asked_for(vad: VadConfig, frame_ms: int, voiced: list[bool]) -> None:
    endpointer = Endpointer(vad, frame_ms)
    kept_from = 0
    for frame, is_voiced in enumerate(voiced):
        assert kept_from <= endpointer.keep_from <= frame
        kept_from = endpointer.keep_from
        assert (frame - kept_from) * frame_ms <= vad.max_speech_duration * 1000 + 300
        segment = endpointer.feed(is_voiced)
        assert segment is None or segment.audio_start >= kept_from
    kept_from = endpointer.keep_from
    segment = endpointer.end(Cause.FINISH)
    assert segment is None or segment.audio_start >= kept_from


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 40), ANY_FRAMES)
def test_short_segments_are_what_lies_between_long_silences(silence_threshold: int, voiced: list[bool]) -> None:
    endpointer = Endpointer(VadConfig(silence_threshold=silence_threshold, max_speech_duration=30), FRAME_MS)
    picture = "".join("v" if is_voiced else "." for is_voiced in voiced)[:1000]
    expected = [match.span() for match in re.finditer(rf"v(?:\.{{0,{silence_threshold - 1}}}v)*", picture)]
    assert [(s.start, s.end) for s in segments((char == "v" for char in picture), endpointer)] == expected
