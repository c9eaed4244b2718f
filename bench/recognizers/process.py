"""A contender in a process of its own, seen from the benchmark."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Sequence

from bench import command
from bench.recognizers.contenders import ALL


class ContenderProcess:
    """A contender in a process of its own.

    Args:
        name: for who reads the table.
        words: the command that starts it.
        environment: variables that differ from this process's.

    Attributes:
        seconds, peak_mb: what it took for the segments that count.
        texts: of the segments of each recording.
    """

    def __init__(self, name: str, words: Sequence[str], **environment: str) -> None:
        self.name = name
        self.seconds = 0.0
        self.peak_mb = 0.0
        self.texts: List[List[str]] = []
        self._process = subprocess.Popen(
            words,
            env=command.environment(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, language: str, path: Path) -> Dict[str, Any]:
        """The answer for one segment."""
        assert self._process.stdout is not None
        print(language, path, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self._process.wait()}; its output is above")
        answer: Dict[str, Any] = json.loads(line)
        return answer

    def recognise(self, language: str, path: Path) -> None:
        """Take one segment of the last recording."""
        answer = self.ask(language, path)
        self.seconds += answer["seconds"]
        self.peak_mb = answer["peak_mb"]
        self.texts[-1].append(answer["text"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def on_the_processor(name: str, threads: int, bench_python: str, models: Path) -> ContenderProcess:
    """One of `bench.recognizers.contenders.ALL`."""
    python = {"server": sys.executable, "bench": bench_python}[ALL[name].environment]
    words = [python, "-m", "bench.recognizers.contenders", name, str(threads), str(models)]
    # numpy's own threads would wait for work on the cores that are measured; a server's engine has none either.
    return ContenderProcess(name, words, OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1")
