"""`python -m bench.paths`: error rates of the ways that different processors take, each tried on this one.

With which instructions is computed follows from the processor. What it has is switched off by torch's and oneDNN's own
variables. Three variants of each recording: as it is, at a third of its loudness, and 7 ms later at 0.8 of it. Nothing
is timed, so as many run at once as there are cores.
"""

import argparse
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from bench import command
from bench.paths.rows import COLUMNS, Row
from bench.recognizers.process import ContenderProcess
from bench.recognizers.rows import LANGUAGES
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.speech import error_rate, segments, to_pcm
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE, Samples, to_samples


class _Path(NamedTuple):
    """`model.compute`, `model.compiled`, and what is switched off."""

    compute: str
    compiled: str
    environment: Dict[str, str]


_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
_PATHS = {
    "as chosen here": _Path("auto", "auto", {}),
    "AVX-512 with VNNI, no AMX": _Path("auto", "auto", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}),
    "AVX2": _Path("auto", "auto", _AVX2),
    "by torch": _Path("auto", "off", {}),
    "by torch, AVX2": _Path("auto", "off", _AVX2),
    "float32": _Path("float32", "off", {}),
}
_SHIFT_SAMPLES = 7 * SAMPLE_RATE // 1000

_VARIANTS: Tuple[Callable[[Samples], Samples], ...] = (
    lambda samples: samples,
    lambda samples: np.divide(samples, 3, dtype=np.float32),
    lambda samples: np.multiply(np.pad(samples, (_SHIFT_SAMPLES, 0)), 0.8, dtype=np.float32),
)


def main() -> None:
    """Measure, and print a row for each path on each language."""
    options = _parse()
    recordings = [one for one in read_recordings(options.speech) if one.references][:: options.every]
    conditions = f"Whisper base, beam 5, {len(recordings)} recordings, each in {len(_VARIANTS)} variants"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        parts = [_write(recording, index, Path(folder)) for index, recording in enumerate(recordings)]
        with ThreadPoolExecutor(usable_cores()) as pool:
            texts = dict(zip(options.only, pool.map(lambda name: _texts(name, recordings, parts), options.only)))
    rows = [
        _row(name, language, recordings, texts[name], texts[options.only[0]])
        for language in LANGUAGES
        for name in options.only
    ]
    print(table(conditions, COLUMNS, rows), flush=True)
    if options.json:
        Report({"conditions": conditions}, rows).write(options.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.paths", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--only", nargs="+", choices=_PATHS, default=list(_PATHS), help="of the paths")
    return command.parse(parser, draws=False)


def _write(recording: Recording, index: int, folder: Path) -> List[List[Path]]:
    """The segments of each variant, as files."""
    samples = to_samples(recording.pcm, SAMPLE_RATE)
    variants: List[List[Path]] = []
    for number, change in enumerate(_VARIANTS):
        variants.append([])
        for place, segment in enumerate(segments(to_pcm(change(samples)))):
            path = folder / f"{index}-{number}-{place}.npy"
            np.save(path, segment)
            variants[-1].append(path)
    return variants


def _texts(name: str, recordings: Sequence[Recording], parts: Sequence[List[List[Path]]]) -> List[List[List[str]]]:
    """Of each recording, each variant, each segment."""
    path = _PATHS[name]
    words = [sys.executable, "-m", "bench.paths.recogniser", path.compute, path.compiled]
    recogniser = ContenderProcess(name, words, OMP_NUM_THREADS="1", **path.environment)
    texts = [
        [[recogniser.ask(recording.language, file)["text"] for file in files] for files in variants]
        for recording, variants in zip(recordings, parts)
    ]
    recogniser.close()
    return texts


def _row(
    name: str,
    language: str,
    recordings: Sequence[Recording],
    texts: Sequence[List[List[str]]],
    firsts: Sequence[List[List[str]]],
) -> Row:
    chosen = [index for index, recording in enumerate(recordings) if recording.language == language]
    references = [recordings[index].references for index in chosen]
    rates = [
        error_rate(references, [" ".join(texts[index][number]) for index in chosen], language)
        for number in range(len(_VARIANTS))
    ]
    pairs = [
        pair for index in chosen for ours, theirs in zip(texts[index], firsts[index]) for pair in zip(ours, theirs)
    ]
    return Row(name, language, tuple(rates), sum(ours != theirs for ours, theirs in pairs), len(pairs))


if __name__ == "__main__":
    main()
