"""The project's folder, and its modules in another environment."""

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def run_module(python: str, module: str, *arguments: str) -> None:
    """Run a module of the project with that Python; what it says is shown only when it fails."""
    done = subprocess.run(
        [python, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{module} ended with status {done.returncode}; its output is above")
