"""The load test's own arithmetic: when packets are due, where utterances end, which result belongs to which."""

import math
from typing import List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load import plan
from bench.load.plan import EndPoint, Heard, Stream, Window
from bench.recordings import Recording
from util import Result

EVERYTHING = Window(0.0, 1000.0)
FRAME_BYTES = 960


def stream_of(speech: bytes, duration_s: float, seed: int = 1) -> Stream:
    recordings = [Recording(name, "en", ["fail again"], speech) for name in ("one", "two", "three")]
    return plan.make_stream(recordings, duration_s, plan.client_random(seed, 0))


def heard(start_s: float, end_s: float, arrival_s: float, text: str = "x") -> Heard:
    return Heard(Result(start_s, end_s, text), arrival_s)


def test_packets_are_due_without_drift() -> None:
    assert plan.due_s(5.0, 100_000, 30) == pytest.approx(5.0 + 3000.0, abs=1e-9)


def test_a_stream_holds_whole_recordings_and_is_long_enough(speech: bytes) -> None:
    stream = stream_of(speech, 30.0)
    assert len(stream.pcm) >= 30 * plan.BYTES_PER_S
    for placed in stream.placed:
        start = round(placed.start_s * plan.BYTES_PER_S)
        assert stream.pcm[start : start + len(speech)] == speech


def test_no_recording_comes_twice_before_all_have_come(speech: bytes) -> None:
    names = [placed.recording.name for placed in stream_of(speech, 70.0).placed]
    assert set(names[:3]) == set(names[3:6]) == {"one", "two", "three"}


def test_the_seed_alone_decides_the_order(speech: bytes) -> None:
    assert stream_of(speech, 70.0) == stream_of(speech, 70.0)


@given(st.integers(1, 30 * 16_000).map(lambda samples: 2 * samples))
def test_speech_is_at_most_four_fifths_and_silence_long_enough(recording_bytes: int) -> None:
    silence = plan.silence_bytes(recording_bytes)
    assert silence % 2 == 0
    assert silence >= 0.9 * plan.BYTES_PER_S - 2
    assert recording_bytes / (recording_bytes + silence) <= 0.8 + 1e-3


def test_every_recording_ends_with_an_utterance_that_silence_ended(speech: bytes) -> None:
    stream = stream_of(speech, 40.0)
    endpoints = plan.find_endpoints(stream.pcm)
    for placed in stream.placed:
        last = [point for point in endpoints if placed.start_s < point.end_s < placed.end_s][-1]
        assert not last.cut
        assert last.known_bytes / plan.BYTES_PER_S <= placed.end_s


def test_an_end_is_known_sixteen_frames_after_the_last_voiced_one(speech: bytes) -> None:
    for point in plan.find_endpoints(stream_of(speech, 20.0).pcm):
        if not point.cut:
            assert point.known_bytes == round(point.end_s / 0.03 + 16) * FRAME_BYTES


def test_an_utterance_without_a_pause_is_cut(speech: bytes) -> None:
    vowel = speech[32_000 : 32_000 + 30 * FRAME_BYTES]
    assert any(point.cut for point in plan.find_endpoints(vowel * 15))


@given(st.lists(st.integers(6, 100), min_size=1, max_size=20), st.data())
def test_rounded_times_find_their_own_ends(steps: List[int], data: st.DataObject) -> None:
    ends_s = [0.1 * sum(steps[: i + 1]) + 0.03 for i in range(len(steps))]
    sent = sorted(data.draw(st.sets(st.integers(0, len(steps) - 1))))
    assert plan.match(ends_s, [round(ends_s[i], 1) for i in sent]) == {i: n for n, i in enumerate(sent)}


def test_latency_counts_from_the_packet_that_completes_the_silence() -> None:
    points = [
        EndPoint(0.0, 1.0, 1, False),
        EndPoint(0.0, 3.0, 2, False),
        EndPoint(0.0, 5.0, 3, True),
        EndPoint(0.0, 7.0, 4, False),
    ]
    results = [heard(0.5, 1.0, 11.25), heard(4.0, 5.0, 15.4), heard(6.0, 7.0, 18.0), heard(8.0, 9.0, 20.0)]
    tally = plan.tally(points, results, [11.0, 13.0, 15.0, 17.5], EVERYTHING)
    assert tally.latencies_ms == pytest.approx([250.0, 500.0])
    assert (tally.without_result, tally.cut, tally.unmatched) == (1, 1, 1)


def test_what_ends_outside_the_window_does_not_count() -> None:
    points = [EndPoint(0.0, 1.0, 1, False), EndPoint(0.0, 3.0, 2, False)]
    tally = plan.tally(points, [heard(0.5, 1.0, 11.2), heard(2.0, 3.0, 13.2)], [11.0, 13.0], Window(12.0, 14.0))
    assert tally.latencies_ms == pytest.approx([200.0])


def test_ends_that_a_broken_session_never_sent_do_not_count() -> None:
    points = [EndPoint(0.0, 1.0, 1, False), EndPoint(0.0, 3.0, 2, False)]
    tally = plan.tally(points, [heard(0.5, 1.0, 11.2)], [11.0], EVERYTHING)
    assert (len(tally.latencies_ms), tally.without_result) == (1, 0)


def test_texts_go_to_the_recording_they_were_said_in(speech: bytes) -> None:
    placed = stream_of(speech, 20.0).placed
    second_s = placed[1].start_s
    results = [heard(0.1, 5.0, 0, "a"), heard(6.0, 10.0, 0, "b"), heard(second_s + 0.1, second_s + 5, 0, "c")]
    assert plan.texts(placed, results)[:2] == ["a b", "c"]


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(0, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: List[float], percent: int) -> None:
    found = plan.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= math.floor(len(values) * percent / 100)


def test_no_values_have_no_percentile() -> None:
    assert plan.percentile([], 50) is None


def test_packets_more_than_thirty_milliseconds_late_are_counted() -> None:
    assert plan.lag([1.0] * 18 + [29.0, 31.0]) == (29.0, 1)
