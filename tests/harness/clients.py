"""The published clients: programs of tests/clients, in an environment of their own."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, List

import pytest

from tests.harness.markdown import CodeBlock
from tests.harness.server import PROJECT

PYTHON = PROJECT / ".venv-clients" / "bin" / "python"
FOLDER = PROJECT / "tests" / "clients"
DOCUMENTED_ADDRESS = "localhost:8000"
_LONGEST_S = 120.0
_SUFFIXES = {"sh": ".sh", "python": ".py", "javascript": ".mjs"}


def run_client(program: str, *arguments: str) -> List[Any]:
    """What `tests/clients/PROGRAM` prints, a JSON value a line; the test is skipped where no clients are installed.

    Raises:
        RuntimeError: it failed; the text is what it said.
    """
    return _lines(_ended([*_interpreter("python"), str(FOLDER / program), *arguments], FOLDER))


def run_node(program: str, *arguments: str) -> List[Any]:
    """The same of a program for Node.js."""
    return _lines(_ended([*_interpreter("javascript"), str(FOLDER / program), *arguments], FOLDER))


def run_documented(block: CodeBlock, folder: Path, port: int) -> str:
    """What a program of docs/clients.md prints, run in that folder as it stands, but with the gateway at that port.

    Skips and raises as `run_client`.
    """
    program = folder / f"documented{_SUFFIXES[block.language]}"
    program.write_text(block.code.replace(DOCUMENTED_ADDRESS, f"127.0.0.1:{port}"), encoding="utf-8")
    if block.language == "javascript" and not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    return _ended([*_interpreter(block.language), str(program)], folder)


def _interpreter(language: str) -> List[str]:
    if language == "sh":
        return ["sh", "-eu"]
    if language == "python":
        if not PYTHON.exists():
            pytest.skip("the clients are not installed; make clients installs them")
        return [str(PYTHON)]
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").exists():
        pytest.skip("the clients for Node.js are not installed; make clients installs them, where npm is")
    return [node]


def _ended(command: List[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=_LONGEST_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def _lines(output: str) -> List[Any]:
    return [json.loads(line) for line in output.splitlines() if line.startswith(("{", "[", '"'))]
