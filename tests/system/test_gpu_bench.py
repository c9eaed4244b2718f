"""A card's measurement from end to end, on the processor and with a small model of random weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gpu.models import RANDOM
from bench.gpu.rows import TYPES, Parity, Row, of_part
from bench.report import Report
from tests.harness.server import PROJECT

pytestmark = pytest.mark.thorough

MODEL = f"{RANDOM}small test"
LITTLE = ("--engines", "2", "--seconds", "1", "--utterances", "1", "--repeats", "4")


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "bench.gpu", "--log", str(folder / "log"), *arguments]
    return subprocess.run(words, cwd=PROJECT, capture_output=True, encoding="utf-8", check=False)


def test_all_of_it_runs_and_is_kept(tmp_path: Path) -> None:
    kept = (tmp_path / "rows.json", tmp_path / "tables.md")
    paths = ("--json", str(kept[0]), "--markdown", str(kept[1]))
    done = run(tmp_path, "--device", "cpu", "--models", MODEL, *LITTLE, *paths)
    assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text(encoding="utf-8")
    report = Report.read(kept[0], Row)
    assert report.facts["conditions"].startswith("no card, the processor")
    assert {row.part for row in report.rows} == set(TYPES)
    texts = of_part(report.rows, "parity")
    assert texts == [Parity(MODEL, row.search, row.compared, 1, 1, 0.0, row.logprob_apart) for row in texts]
    assert [row.engines for row in of_part(report.rows, "live")] == [2]
    assert [(row.engines, row.speaking) for row in of_part(report.rows, "memory")] == [
        (2, True),
        (1, False),
        (2, False),
    ]
    assert json.loads(kept[0].read_text(encoding="utf-8"))["rows"]
    assert kept[1].read_text(encoding="utf-8").startswith(done.stdout.rstrip("\n"))


def test_what_fails_is_one_line_and_the_status_and_the_rest_goes_on(tmp_path: Path) -> None:
    options = ("--device", "cpu", "--models", MODEL, str(tmp_path / "none.pt"), "--parts", "timing", *LITTLE)
    done = run(tmp_path, *options)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "none.pt" in line]
    assert line.startswith("timing: ")
    assert f"| {MODEL} | decoder, a token, beam 5 |" in done.stdout


def test_a_machine_without_the_card_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--device", "cuda:99")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "there is no cuda:99 here" in done.stderr
