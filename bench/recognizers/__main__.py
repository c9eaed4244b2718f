"""`python -m bench.recognizers`: every contender in turns over the same segments, a table and a chart.

A segment is given to one contender after the other, so that a machine whose speed drifts drifts for all of them. The
first segment of each language is run once before it counts.
"""

import argparse
import tempfile
from pathlib import Path
from typing import List, Sequence

import numpy as np

from bench import command
from bench.recognizers.contenders import CONTENDERS, CTRANSLATE2, OPENVINO
from bench.recognizers.process import ContenderProcess, on_the_processor
from bench.recognizers.rows import LANGUAGES, Row, columns, conditions
from bench.recognizers.weights import write_ctranslate2
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.speech import error_rate, segments
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE


def main() -> None:
    """Measure, print the table, draw the chart where one is wanted."""
    options = _parse()
    recordings = [one for one in read_recordings(options.speech) if one.references][:: options.every]
    report = Report[Row]({"recordings": len(recordings), "threads": options.threads}, [])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder)
        write_ctranslate2(models / CTRANSLATE2)
        if any(name.startswith("OpenVINO") for name in options.only):
            paths = (models / CTRANSLATE2, models / OPENVINO)
            command.run_module(options.bench_python, "bench.recognizers.weights", *paths)
        for language in LANGUAGES:
            chosen = [recording for recording in recordings if recording.language == language]
            if chosen:
                report.rows += _measure(chosen, language, options, models)
    print(table(conditions(**report.facts), columns(report.rows), report.rows), flush=True)
    command.keep(report, options, "bench.recognizers.rows")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.recognizers", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=list(CONTENDERS))
    return command.parse(parser)


def _measure(recordings: Sequence[Recording], language: str, options: argparse.Namespace, models: Path) -> List[Row]:
    contenders = [on_the_processor(name, options.threads, options.bench_python, models) for name in options.only]
    path = models / "segment.npy"
    np.save(path, segments(recordings[0].pcm)[0])
    for contender in contenders:
        contender.ask(language, path)
    audio_s = 0.0
    for recording in recordings:
        for contender in contenders:
            contender.texts.append([])
        for segment in segments(recording.pcm):
            audio_s += len(segment) / SAMPLE_RATE
            np.save(path, segment)
            for contender in contenders:
                contender.recognise(language, path)
    for contender in contenders:
        contender.close()
    return [_row(contender, recordings, language, audio_s) for contender in contenders]


def _row(contender: ContenderProcess, recordings: Sequence[Recording], language: str, audio_s: float) -> Row:
    texts = [" ".join(parts) for parts in contender.texts]
    errors = error_rate([recording.references for recording in recordings], texts, language)
    return Row(contender.name, language, audio_s / contender.seconds, errors, contender.peak_mb)


if __name__ == "__main__":
    main()
