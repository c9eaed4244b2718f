"""A card's measurement: parts that fail or take too long, and what its tables say."""

import json
from pathlib import Path
from typing import List, Optional

import numpy as np
import psutil
import pytest
import torch
from whisper.decoding import DecodingResult

from bench.gpu.models import pieces, ten_seconds
from bench.gpu.parity import compare
from bench.gpu.part import run_words
from bench.gpu.parts import LIMITS_S, PICTURE_S, TOTAL_S, Settings
from bench.gpu.rows import TYPES, Live, Memory, Row, Timing, an_engine_more_mb, of_part, tables
from bench.recordings import Recording
from bench.report import Report
from config.sections import ModelConfig
from recognizer.precision import choose_precision
from tests.harness.engines import wait_until
from tests.harness.markdown import Document
from tests.harness.server import PROJECT

ROW = {"row": {"part": "timing", "fields": {"model": "base", "work": "all", "times": 3, "median_ms": 1.5, "p95_ms": 2}}}
LONG_S = 60.0


def says(*lines: object) -> str:
    return "; ".join(["true", *(f"echo '{json.dumps(line)}'" for line in lines)])


def has_ended(pid_file: Path) -> bool:
    """The process whose id is in the file; also where nobody has taken notice yet."""
    try:
        return psutil.Process(int(pid_file.read_text(encoding="ascii"))).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("of the part before\n", encoding="utf-8")
    return path


def test_what_a_part_says_is_taken(log: Path) -> None:
    found = run_words(["sh", "-c", says(ROW, {"note": "a card"}, {"fault": "no room"})], LONG_S, log)
    assert of_part(found.rows, "timing") == [Timing("base", "all", 3, 1.5, 2)]
    assert (found.notes, found.faults) == (["a card"], ["no room"])


def test_a_part_that_fails_is_told_with_its_last_line_and_what_it_had_found(log: Path) -> None:
    found = run_words(["sh", "-c", f"{says(ROW)}; echo why >&2; echo >&2; exit 3"], LONG_S, log)
    assert (len(found.rows), found.faults) == (1, ["why"])
    assert log.read_text(encoding="utf-8") == "of the part before\nwhy\n\n"


def test_a_part_that_fails_without_a_word_is_told_with_its_status(log: Path) -> None:
    assert run_words(["sh", "-c", "exit 3"], LONG_S, log).faults == ["ended with status 3"]


def test_a_part_that_is_not_done_in_time_ends_with_all_that_it_started(log: Path, tmp_path: Path) -> None:
    """Also where it does not end when it is asked to, and what it started holds its output."""
    pid = tmp_path / "pid"
    hangs = f"trap : TERM; sleep 600 & echo $! > {pid}; while :; do wait; done"
    found = run_words(["sh", "-c", f"{says(ROW)}; {hangs}"], 3.0, log, grace_s=1.0)
    assert (len(found.rows), found.faults) == (1, ["was not done within 3 s; what it had found counts"])
    wait_until(lambda: has_ended(pid))


def test_a_part_that_leaves_something_running_leaves_nothing(log: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    found = run_words(["sh", "-c", f"sleep 600 >&- 2>&- & echo $! > {pid}"], LONG_S, log)
    assert found.faults == []
    wait_until(lambda: has_ended(pid))


def test_all_parts_and_the_picture_have_room_in_ten_minutes() -> None:
    assert sum(LIMITS_S.values()) + PICTURE_S <= TOTAL_S == 600


def test_the_parts_and_their_time_are_those_of_the_document() -> None:
    told = Document(PROJECT / "docs" / "gpu.md").table("part")[1:]
    assert [(row[0].strip("`"), row[1]) for row in told] == [(name, f"{LIMITS_S[name]} s") for name in TYPES]


@pytest.mark.parametrize(("device", "compute"), [("cuda:0", "float16"), ("cpu", "float32")])
def test_what_our_server_is_told_of_a_model_is_what_its_configuration_takes(device: str, compute: str) -> None:
    settings = Settings(device, compute, {"large": "turbo"}, "", [1], 1.0, 1, 4, "python")
    told = settings.ours("large")
    assert ModelConfig(**told).model_dump(include={"size", "device", "compute"}) == told  # type: ignore[arg-type]
    precision = choose_precision(told["compute"], torch.device(device))
    assert precision.dtype == compute


# --- the same texts


def decoded(tokens: List[int], avg_logprob: float) -> DecodingResult:
    return DecodingResult(torch.empty(0), "en", tokens=tokens, avg_logprob=avg_logprob)


def test_texts_are_the_same_by_their_tokens_and_differ_by_the_share_of_edits() -> None:
    right = [decoded([1, 2, 3], -0.5), decoded([], -1.0)]
    row = compare("base", "greedy", "both", [decoded([1, 4, 3], -0.25), decoded([], -1.0)], right)
    assert (row.same, row.utterances) == (1, 2)
    assert row.edits == pytest.approx(1 / 5)  # with both ends
    assert row.logprob_apart == 0.25


# --- what is heard


def test_sound_is_cut_in_pieces_that_end_within_it() -> None:
    recording = Recording("a.wav", "en", ["a"], np.arange(9 * 16_000, dtype=np.int16).tobytes())
    assert [len(samples) / 16_000 for samples in pieces([recording], 4)] == [3, 5, 8, 3]
    assert len(ten_seconds([recording])) == 160_000


def test_sound_that_is_too_short_is_heard_again() -> None:
    assert len(ten_seconds([Recording("a.wav", "en", ["a"], bytes(32_000))])) == 160_000


# --- tables


def memory(engines: int, device_mb: Optional[float], speaking: bool = True) -> Memory:
    return Memory("base", engines, speaking, device_mb, 1000.0, None, None)


def test_an_engine_more_takes_what_a_server_with_more_of_them_has_beside_that_with_the_fewest() -> None:
    rows = [memory(1, 900.0), memory(9, 4900.0), memory(1, 100.0, speaking=False)]
    assert [an_engine_more_mb(rows, row) for row in rows] == [None, 500.0, None]
    assert an_engine_more_mb([memory(1, None), memory(2, None)], memory(2, None)) is None


def test_tables_without_rows_are_left_out_and_what_was_not_measured_is_a_dash(tmp_path: Path) -> None:
    live = Live("base", 1, 4.0, 0, None, None, None, 1.5, {"no end": 1}, None, 0)
    path = tmp_path / "rows.json"
    Report({"conditions": "a card"}, [Row("live", live._asdict())]).write(path)
    kept = Report.read(path, Row)
    written = tables(kept.facts["conditions"], kept.rows)
    assert written.startswith("a card\n\n**Live sessions**\n\n| model | engines |")
    assert written.splitlines()[-1] == "| base | 1 | 4.0 | 0 | – | – | – | 1.50 | 1 no end | – | 0 |"
    assert "**Memory**" not in written
