"""What benchmarks read and write: recordings with transcripts, tables and JSON."""

import subprocess
import sys
import wave
from pathlib import Path
from typing import Callable, List

import pytest

from bench import speech
from bench.load import rows as load
from bench.recognizers import rows as recognizers
from bench.recordings import read_recordings
from bench.report import Report, table

ROOT = Path(__file__).resolve().parents[2]
DRAWN = sorted(path.parent.name for path in ROOT.glob("bench/*/rows.py") if "chart.main" in path.read_text())
FASTER = "faster-whisper int8, beam 5"
SPEEDS = [
    recognizers.Row("ours, beam 5", "ko", 10.0, 0.131, 800.4),
    recognizers.Row(FASTER, "ko", 4.0, 0.14, 400.0),
    recognizers.Row("ours, beam 5", "en", 12.0, 0.1, 800.0),
]
LATENCIES = [
    load.Row("1", 1, 2, 2.4, 28.0, 28.0, {}, 0, 0, 0, 0.05, 0.1, 710.0, 324.0, 94.0, 0.01, 1.4, 0, None),
    load.Row(
        *("8 + one that pushes", 8, 0, None, None, None, {"disconnected": 2, "SERVER_TOO_BUSY": 1}, 1, 0, 3, None),
        *(None, None, None, None, None, 1.0, 7, 14.4),
    ),
]


def cells(text: str) -> List[List[str]]:
    """The rows of a table in Markdown, without its heading."""
    return [line.strip("| ").split(" | ") for line in text.splitlines()[4:]]


def test_a_report_is_the_same_after_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    Report({"conditions": "60 Korean recordings – 2 cores"}, LATENCIES).write(path)
    assert Report.read(path, load.Row) == Report({"conditions": "60 Korean recordings – 2 cores"}, LATENCIES)


def test_a_contender_is_held_against_the_references_of_its_own_language() -> None:
    faster, openvino = zip(*(row[-2:] for row in cells(table("", recognizers.columns(SPEEDS), SPEEDS))))
    assert faster == ("2.50 ×", "1.00 ×", "–")
    assert openvino == ("–", "–", "–")


def test_an_error_rate_says_what_it_counts() -> None:
    rows = cells(table("", recognizers.columns(SPEEDS), SPEEDS))
    assert [row[3] for row in rows] == ["13.1 % (CER)", "14.0 % (CER)", "10.0 % (WER)"]


def test_what_was_not_measured_is_a_dash() -> None:
    measured, unmeasured = cells(table("", load.COLUMNS, LATENCIES))
    assert "–" not in measured
    assert [place for place, cell in enumerate(unmeasured) if cell == "–"] == [2, 3, 4, 6, 7, 8, 9, 10, 12]


def test_failures_and_what_is_left_out_are_counted_by_kind() -> None:
    measured, failed = (dict(zip(load.COLUMNS, row)) for row in cells(table("", load.COLUMNS, LATENCIES)))
    assert (measured["failures"], measured["left out"]) == ("0", "0")
    assert failed["failures"] == "2 disconnected, 1 SERVER_TOO_BUSY"
    assert failed["left out"] == "1 without result, 3 unmatched"
    assert failed["clients"] == "8 + one that pushes (14.4 × real time)"


def write_wav(path: Path, sample_rate: int, pcm: bytes = bytes(640)) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one with two spellings and one without speech."""
    (tmp_path / "manifest.tsv").write_text(
        'path\tlanguage\tduration_s\treference\talt_reference\na.wav\tko\t0.02\t"3시\t세 시\nb.wav\tnone\t0.02\t\t\n',
        encoding="utf-8",
    )
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, 16000, name.encode() * 64)
    return tmp_path


def test_a_manifest_gives_every_recording_with_all_spellings(folder: Path) -> None:
    spoken, silent = read_recordings(folder)
    assert (spoken.name, spoken.language, spoken.references) == ("a.wav", "ko", ['"3시', "세 시"])
    assert spoken.pcm == b"a.wav" * 64
    assert silent.references == []


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "manifest.tsv").unlink(), "manifest.tsv: No such file or directory"),
        (lambda folder: (folder / "a.wav").unlink(), "a.wav: [Errno 2] No such file or directory"),
        (lambda folder: (folder / "a.wav").write_bytes(b"no sound"), "a.wav: file does not start with RIFF id"),
        (lambda folder: write_wav(folder / "a.wav", 8000), "a.wav: expected 16-bit mono at 16000 Hz"),
    ],
    ids=["no manifest", "no recording", "no wav", "another rate"],
)
def test_what_cannot_be_read_is_named_in_one_line(folder: Path, damage: Callable[[Path], object], told: str) -> None:
    damage(folder)
    with pytest.raises(SystemExit) as caught:
        read_recordings(folder)
    assert str(caught.value).startswith(f"{folder}/{told}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("language", "reference", "text"), [("ko", "오전 3시!", "오전3시"), ("en", "It's  Fine.", "its fine")]
)
def test_punctuation_and_case_are_no_errors(language: str, reference: str, text: str) -> None:
    assert speech.error_rate([[reference]], [text], language) == 0


def test_an_error_counts_against_the_nearest_spelling_only() -> None:
    assert speech.error_rate([["3시", "세 시 정각"]], ["세시정가"], "ko") == pytest.approx(1 / 4)


@pytest.mark.parametrize("package", DRAWN)
def test_who_draws_needs_none_of_a_recognisers_packages(package: str) -> None:
    """Charts are drawn in an environment of their own."""
    code = f"import sys, bench.{package}.rows; print(sorted({{'torch', 'soxr', 'whisper'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
