"""A part of the measurement in a process of its own, so that whatever happens to it, others go on.

Want of memory, an error that leaves CUDA of no use, a hang: all end with the process, or when its time is over. What
it has found by then counts. `python -m bench.gpu.part NAME SETTINGS` is that process: its lines of JSON are `Teller`'s.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Iterator, List, Sequence, TextIO

from bench import command
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Row

_GRACE_S = 15.0  # of the time: to end servers and others in good order


@dataclass
class Found:
    """What a part has found: rows, what a reader should know, and what is wrong."""

    rows: List[Row] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)
    faults: List[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """A line of `Teller`'s."""
        for kind, content in json.loads(line).items():
            if kind == "row":
                self.rows.append(Row(**content))
            else:
                {"note": self.notes, "fault": self.faults}[kind].append(content)


def run(name: str, settings: Settings, limit_s: float, log: Path) -> Found:
    """Run a part for no longer than that; what it says beside its lines is added to the log."""
    words = [sys.executable, "-m", "bench.gpu.part", name, json.dumps(settings._asdict())]
    return run_words(words, limit_s, log)


def run_words(words: Sequence[str], limit_s: float, log: Path, grace_s: float = _GRACE_S) -> Found:
    """The same of any command that says such lines; so long before its end it is asked to end by itself."""
    found, began = Found(), log.stat().st_size if log.exists() else 0
    with open(log, "ab") as added, _process(words, added) as process, _ended_after(
        process, limit_s, grace_s
    ) as is_late:
        assert process.stdout is not None
        for line in process.stdout:
            found.take(line)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its id stays its group's
    if is_late.is_set():
        found.faults.append(f"was not done within {limit_s:.0f} s; what it had found counts")
    elif process.returncode:
        found.faults.append(_last_line(log, began) or f"ended with status {process.returncode}")
    return found


@contextlib.contextmanager
def _process(words: Sequence[str], log: IO[bytes]) -> "Iterator[subprocess.Popen[str]]":
    """With whatever it starts in a group of its own, which ends with the context."""
    process = subprocess.Popen(
        words, env=command.environment(), stdout=subprocess.PIPE, stderr=log, encoding="utf-8", start_new_session=True
    )
    try:
        yield process
    finally:
        _signal_group(process, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextlib.contextmanager
def _ended_after(process: "subprocess.Popen[str]", limit_s: float, grace_s: float) -> Iterator[threading.Event]:
    """Ask the process to end in time, and then end it; the event says whether that was needed."""
    is_late = threading.Event()

    def ask() -> None:
        is_late.set()
        os.kill(process.pid, signal.SIGTERM)  # nobody has waited for it yet, so its id is its own

    timers = [
        threading.Timer(max(0.0, limit_s - grace_s), ask),
        threading.Timer(limit_s, _signal_group, (process, signal.SIGKILL)),
    ]
    for timer in timers:
        timer.start()
    try:
        yield is_late
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()


def _signal_group(process: "subprocess.Popen[str]", signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal_number)


def _last_line(log: Path, began: int) -> str:
    """Of what was said since the log had so many bytes."""
    lines = log.read_bytes()[began:].decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


# --- in that process -------------------------------------------------------------------------


def main() -> None:
    """Measure one part."""
    # So that servers end with us; a server that fails raises SystemExit, which is not this.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = Teller(_own_stdout())
    name, written = sys.argv[1:]
    settings = Settings(**json.loads(written))
    if settings.has_card:
        import torch  # noqa: PLC0415 - slow, and not for the parent

        torch.cuda.set_device(settings.device)
    part: Any = importlib.import_module(f"bench.gpu.{name}")
    part.measure(settings, told)


def _own_stdout() -> TextIO:
    """Standard output for nobody else: what libraries print goes to standard error."""
    kept = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return kept


if __name__ == "__main__":
    main()
