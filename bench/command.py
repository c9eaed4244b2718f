"""What every benchmark's command has: its recordings, what it keeps, and modules in another environment."""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict

from bench.report import Report
from tests.harness.server import PROJECT


def parse(parser: argparse.ArgumentParser, draws: bool = True, needs_speech: bool = True) -> argparse.Namespace:
    """Read the options of the parser and those of every benchmark, or of every one that draws its rows.

    `needs_speech`: there is nothing to measure without a folder of recordings.
    """
    parser.add_argument("--speech", type=Path, default=os.environ.get("SPEECH_DIR"), help="folder with manifest.tsv")
    parser.add_argument("--json", type=Path, help="keep the rows of the table in this file too")
    if draws:
        parser.add_argument("--svg", type=Path, help="draw them into this file")
        parser.add_argument("--bench-python", default=sys.executable, help="Python with bench/requirements.txt")
    options = parser.parse_args()
    if options.speech is None and needs_speech:
        parser.error("--speech or SPEECH_DIR names the folder of recordings with manifest.tsv")
    return options


def keep(report: Report[Any], options: argparse.Namespace, rows_module: str) -> None:
    """Keep a report as JSON, and have the module that knows its rows draw it, each where it is wanted."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = options.json or Path(folder) / "rows.json"
        report.write(path)
        if options.svg:
            run_module(options.bench_python, rows_module, path, options.svg)


def environment(**more: str) -> Dict[str, str]:
    """In which any Python finds the project's modules."""
    return {**os.environ, "PYTHONPATH": str(PROJECT), **more}


def run_module(python: str, module: str, *paths: Path) -> None:
    """Run a module of the project with that Python; what it says is shown only when it fails."""
    done = subprocess.run(
        [python, "-m", module, *map(str, paths)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{module} ended with status {done.returncode}; its output is above")
