"""What is measured: its names and forms, and what moves it."""

from __future__ import annotations

import math
import mmap
import os
from typing import Any

import pytest

from protocol.packets import ErrorCode
from server.latencies import Latencies
from server.memory import memory_of
from server.metrics import OUTCOMES, REFUSALS, SEGMENT_RESULTS, Metrics
from server.session import Ending
from server.supervision import EngineState, Loss
from tests.harness.markdown import Document
from tests.harness.metrics import Figures, assert_all_explained, assert_well_named
from tests.harness.server import PROJECT

NO_PROCESS = 2**22 + 1  # beyond the largest id that Linux gives


def figures(metrics: Metrics) -> Figures:
    return Figures(metrics.told(None)[0].decode())


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    states = [EngineState.RUNNING, EngineState.SLEEPING, EngineState.SLEEPING]
    metrics.watch_engines(lambda: states, lambda: {0: os.getpid(), 2: NO_PROCESS})
    return metrics


def moved(metrics: Metrics, act: Any) -> dict[str, float]:
    """What changes when something happens, without buckets."""
    before = figures(metrics)
    act()
    changes = figures(metrics).since(before)
    return {name: by for name, by in changes.items() if not name.startswith(("stt_process", "stt_engine_memory"))}


# --- names


def test_names_are_as_prometheus_wants_them(metrics: Metrics) -> None:
    metrics.runs("1", "base", "int8", "cpu")
    assert_well_named(metrics.told(None)[0].decode(), "stt_")


def test_who_asks_for_open_metrics_gets_them(metrics: Metrics) -> None:
    content, content_type = metrics.told("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")


def test_every_figure_is_explained_and_no_other() -> None:
    assert_all_explained(full().told(None)[0].decode(), "stt_", "figure of the server")


def test_every_label_and_its_values_are_explained() -> None:
    text = Document(PROJECT / "docs" / "operations.md").text
    values = {*OUTCOMES, *REFUSALS, *SEGMENT_RESULTS, *(loss.value for loss in Loss)}
    assert [value for value in sorted(values) if f"`{value}`" not in text] == []


def full() -> Metrics:
    metrics = Metrics()
    metrics.watch_engines(list, dict)
    return metrics


def test_whatever_ends_a_session_has_a_name_to_count_it_under() -> None:
    assert {Ending[code.name] for code in ErrorCode} <= set(Ending)
    metrics = full()
    for outcome in OUTCOMES:
        assert (
            moved(metrics, lambda outcome=outcome: metrics.ended(Ending(outcome)))[
                f'stt_sessions_total{{outcome="{outcome}"}}'
            ]
            == 1
        )


# --- what moves them


def test_a_session_moves_how_many_there_are_and_how_long_it_waited(metrics: Metrics) -> None:
    began = moved(metrics, lambda: metrics.began(2.5))
    assert began == {
        "stt_sessions_active": 1,
        "stt_engine_wait_seconds_count": 1,
        "stt_engine_wait_seconds_sum": 2.5,
    }
    ended = moved(metrics, lambda: metrics.ended(Ending.ENGINE_FAILED))
    assert ended == {"stt_sessions_active": -1, 'stt_sessions_total{outcome="engine_failed"}': 1}


def test_results_and_live_text_move_how_late_they_are(metrics: Metrics) -> None:
    assert moved(metrics, lambda: metrics.sent_result(0.25)) == {
        "stt_result_latency_seconds_count": 1,
        "stt_result_latency_seconds_sum": 0.25,
    }
    assert moved(metrics, lambda: metrics.sent_partial(0.5)) == {
        "stt_partials_total": 1,
        "stt_partial_age_seconds_count": 1,
        "stt_partial_age_seconds_sum": 0.5,
    }


def test_a_recognition_moves_what_the_real_time_factor_is_made_of(metrics: Metrics) -> None:
    assert moved(metrics, lambda: metrics.recognised(4.0, 0.5)) == {
        "stt_decode_seconds_count": 1,
        "stt_decode_seconds_sum": 0.5,
        "stt_decoded_audio_seconds_total": 4.0,
    }


@pytest.mark.parametrize(
    ("act", "name"),
    [
        (lambda metrics: metrics.refused("max_per_ip"), 'stt_refusals_total{reason="max_per_ip"}'),
        (lambda metrics: metrics.segment("suppressed"), 'stt_segments_total{result="suppressed"}'),
        (lambda metrics: metrics.restarted(Loss.HUNG), 'stt_engine_restarts_total{cause="hung"}'),
        (lambda metrics: metrics.heard(1.0), "stt_audio_seconds_total"),
    ],
)
def test_one_more_is_one_more(metrics: Metrics, act: Any, name: str) -> None:
    assert moved(metrics, lambda: act(metrics)) == {name: 1}


def test_engines_are_told_by_what_they_do_and_by_their_memory(metrics: Metrics) -> None:
    told = figures(metrics)
    assert [told[f'stt_engines{{state="{state}"}}'] for state in ("starting", "sleeping", "running")] == [0, 2, 1]
    rss, private = (told[f'stt_engine_memory_bytes{{engine="0",kind="{kind}"}}'] for kind in ("rss", "private"))
    assert 0 < private < rss
    assert not any('engine="2"' in name for name in told.values)


def test_what_runs_is_told_once_it_runs(metrics: Metrics) -> None:
    assert not any(name.startswith("stt_build_info") for name in figures(metrics).values)
    metrics.runs("1.0", "base", "int8", "cpu")
    told = 'stt_build_info{compute="int8",device="cpu",model="base",version="1.0"}'
    assert figures(metrics)[told] == 1


# --- memory


def test_memory_of_a_process_is_what_the_system_says() -> None:
    before = memory_of(os.getpid())
    # A mapping of its own: what the allocator gives may have been in memory before.
    with mmap.mmap(-1, 50_000_000) as held:
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        after = memory_of(os.getpid())
    for one, other in zip(before, after):
        assert 40_000_000 < other - one < 60_000_000


def test_a_process_that_is_gone_has_no_memory() -> None:
    with pytest.raises(OSError, match="No such file"):
        memory_of(NO_PROCESS)


# --- latencies of one session


def test_median_and_worst_of_latencies() -> None:
    latencies = Latencies()
    assert (latencies.median_s, latencies.worst_s) == (0.0, 0.0)
    for tenths in range(1, 100):
        latencies.add(tenths / 10)
    assert latencies.median_s == pytest.approx(5.0, rel=0.03)
    assert latencies.worst_s == 9.9


def test_the_median_of_one_latency_is_never_above_it() -> None:
    for seconds in (0.0, 0.0001, 0.02, 0.3, 7.0):
        latencies = Latencies()
        latencies.add(seconds)
        assert latencies.median_s <= latencies.worst_s == seconds
        assert latencies.median_s == pytest.approx(seconds, rel=0.03, abs=0.001)


def test_latencies_take_no_more_memory_the_more_there_are() -> None:
    latencies = Latencies()
    for number in range(100_000):
        latencies.add(0.001 * (number % 60_000 + 1))
    assert len(latencies._bins) <= math.log(60_000) / math.log(1.05) + 2
