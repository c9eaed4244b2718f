"""`python -m bench.long`: speech without pauses, through a server and by recognisers that get the whole file.

Recordings of one language are joined without the silence between them, so that the server has to cut in the middle of
speech. A recording goes to one way after the other, as fast as each takes it. The server runs twice: with what was said
before as context, and without.
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import numpy as np

from bench import command
from bench.long.joined import joined
from bench.long.rows import COLUMNS, Row
from bench.recognizers.contenders import CTRANSLATE2, WHOLE_FILES
from bench.recognizers.process import ContenderProcess
from bench.recognizers.rows import LANGUAGES
from bench.recognizers.weights import write_ctranslate2
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.speech import error_rate
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE, to_samples
from tcp_client import StreamingClient
from tests.harness.server import ServerProcess

Recognise = Callable[[Recording], str]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser("python -m bench.long", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=150, help="the least length of a recording (default: 150)")
    parser.add_argument("--only", nargs="*", choices=WHOLE_FILES, default=list(WHOLE_FILES))
    options = command.parse(parser)
    recordings = read_recordings(options.speech)
    rows: List[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder)
        write_ctranslate2(models / CTRANSLATE2)
        for language in LANGUAGES:
            chosen = list(joined(recordings, language, options.seconds))
            if chosen:
                rows += _measure(chosen, language, options, models)
    conditions = (
        f"Speech without pauses, at least {options.seconds:.0f} s each, in turns in one run, {usable_cores()} cores"
    )
    print(table(conditions, COLUMNS, rows))
    if options.json:
        Report({"conditions": conditions}, rows).write(options.json)


def _measure(recordings: Sequence[Recording], language: str, options: argparse.Namespace, models: Path) -> List[Row]:
    seconds: Dict[str, float] = {}
    texts: Dict[str, List[str]] = {}
    with ExitStack() as stack:
        ways: Dict[str, Recognise] = {}
        for name, context in {"a server": "auto", "a server, model.context off": "off"}.items():
            settings = {"model": {"language": language, "context": context}}
            ways[name] = _through(stack.enter_context(ServerProcess(settings)).port)
        for name in options.only:
            contender = ContenderProcess(name, usable_cores(), options.bench_python, models)
            stack.callback(contender.close)
            ways[name] = _by(contender, models / "recording.npy")
        for recording in recordings:
            for name, way in ways.items():
                began_s = time.perf_counter()
                texts.setdefault(name, []).append(way(recording))
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began_s
    audio_s = sum(len(one.pcm) for one in recordings) / (2 * SAMPLE_RATE)
    references = [one.references for one in recordings]
    return [
        Row(name, language, audio_s / seconds[name], error_rate(references, texts[name], language)) for name in ways
    ]


def _through(port: int) -> Recognise:
    def recognise(recording: Recording) -> str:
        with StreamingClient("127.0.0.1", port, "long") as client:
            client.send(recording.pcm)
            client.finish()
            return " ".join(result.text for result in client.results())

    return recognise


def _by(contender: ContenderProcess, path: Path) -> Recognise:
    def recognise(recording: Recording) -> str:
        np.save(path, to_samples(recording.pcm, SAMPLE_RATE))
        return str(contender.ask(recording.language, path)["text"])

    return recognise


if __name__ == "__main__":
    main()
