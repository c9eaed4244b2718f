"""`python -m bench.telephone`: what of the errors behind a telephone line is the server's, and what is the model's.

The same recordings as they are; in the band of a telephone, still at 16 kHz; as a server hears 8 kHz µ-law; and that
sound brought to 16 kHz beforehand, so that the server resamples nothing and its VAD hears 16 kHz. Each is cut as the
server cuts it, and each segment given to every recogniser. What others lose in the band too, the model loses.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Callable, Dict, List, Sequence

import numpy as np

from bench import command
from bench.recognizers.contenders import CONTENDERS, CTRANSLATE2
from bench.recognizers.process import on_the_processor
from bench.recognizers.weights import write_ctranslate2
from bench.recordings import Recording, read_spoken
from bench.report import Report, line, table
from bench.speech import error_rate, segments, to_pcm
from bench.telephone import wire
from bench.telephone.rows import COLUMNS, Row
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE, Samples, to_samples

_RECOGNISERS = ["ours, beam 5", "ours, beam 5, float32, full window", "faster-whisper int8, beam 5"]


def main() -> None:
    """Measure, and print a row for each recogniser on each version."""
    options = _parse()
    recordings = read_spoken(options.speech, options.language)[:: options.every]
    conditions = f"Whisper base, {len(recordings)} recordings ({options.language}), {usable_cores()} cores"
    print(table(conditions, COLUMNS), flush=True)
    report = Report[Row]({"conditions": conditions}, [])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        write_ctranslate2(Path(folder) / CTRANSLATE2)
        for sound, cut in _SOUNDS.items():
            for row in _measure(sound, [cut(one) for one in recordings], recordings, options, Path(folder)):
                report.rows.append(row)
                print(line(COLUMNS, row), flush=True)
    if options.json:
        report.write(options.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.telephone", description=__doc__.splitlines()[0])
    parser.add_argument("--language", choices=["ko", "en"], default="ko")
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=_RECOGNISERS, help="of the recognisers")
    return command.parse(parser)


def _measure(
    sound: str,
    parts: Sequence[Sequence[Samples]],
    recordings: Sequence[Recording],
    options: argparse.Namespace,
    folder: Path,
) -> List[Row]:
    contenders = [on_the_processor(name, usable_cores(), options.bench_python, folder) for name in options.only]
    path = folder / "segment.npy"
    for several in parts:
        for contender in contenders:
            contender.texts.append([])
        for samples in several:
            np.save(path, samples)
            for contender in contenders:
                contender.recognise(options.language, path)
    rows = []
    for contender in contenders:
        contender.close()
        texts = [" ".join(several) for several in contender.texts]
        errors = error_rate([one.references for one in recordings], texts, options.language)
        empty = sum(not text for several in contender.texts for text in several)
        rows.append(Row(sound, contender.name, sum(map(len, parts)), empty, errors))
    return rows


# --- versions of a recording, cut ------------------------------------------------------------


def _telephone(recording: Recording) -> bytes:
    return wire.through(to_samples(recording.pcm, SAMPLE_RATE))


_SOUNDS: Dict[str, Callable[[Recording], List[Samples]]] = {
    "as recorded, 16 kHz": lambda one: segments(one.pcm),
    "300 to 3400 Hz, 16 kHz": lambda one: segments(to_pcm(wire.in_band(to_samples(one.pcm, SAMPLE_RATE)))),
    "telephone, 8 kHz µ-law": lambda one: segments(_telephone(one), wire.RATE, wire.ENCODING),
    "the same, brought to 16 kHz beforehand": lambda one: segments(to_pcm(wire.heard(_telephone(one)))),
}


if __name__ == "__main__":
    main()
