"""The same utterances by this project's recogniser and by others, in turns, each in a process of its own.

Times are those of a caller: from samples on the host to a text.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np

from bench.gpu.contenders import BEAM_SIZE, FASTER, OPENAI, OURS
from bench.gpu.models import recordings, utterances
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Other
from bench.load.plan import percentile
from bench.recognizers.contenders import CTRANSLATE2
from bench.recognizers.process import ContenderProcess
from bench.recognizers.weights import write_ctranslate2
from bench.recordings import Recording
from bench.speech import error_rate
from recognizer.audio import SAMPLE_RATE

_FASTER_MODEL = "base"  # whose weights a package carries as CTranslate2 wants them


def measure(settings: Settings, told: Teller) -> None:
    """A row for each recogniser and language, of the first model."""
    model = next(iter(settings.models))
    several = recordings(settings.speech, settings.utterances)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        turns = _Turns(settings, model, _names(model, settings, Path(folder), told), Path(folder), told)
        for language in dict.fromkeys(one.language for one in several):
            chosen = [one for one in several if one.language == language]
            chosen *= max(1, settings.utterances // len(several))
            for row in turns.over(chosen, model):
                told.row("others", row)
        turns.close()


def _names(model: str, settings: Settings, folder: Path, told: Teller) -> Dict[str, str]:
    """Which take part, and whose Python runs each."""
    names = {OURS: sys.executable, OPENAI: sys.executable}
    if model != _FASTER_MODEL:
        told.note(f"{FASTER} is left out: its weights are here for {_FASTER_MODEL} alone")
    elif subprocess.run([settings.bench_python, "-c", "import faster_whisper"], check=False).returncode:
        told.note(f"{FASTER} is left out: it is not installed (bench/gpu/requirements.txt brings it)")
    else:
        write_ctranslate2(folder / CTRANSLATE2)
        names[FASTER] = settings.bench_python
    return names


class _Turns:
    """The recognisers, each asked in turn; one that fails is told, and left out from then on."""

    def __init__(self, settings: Settings, model: str, names: Dict[str, str], folder: Path, told: Teller) -> None:
        self._told = told
        self._path = folder / "segment.npy"
        self._compute = settings.compute
        arguments = [json.dumps(settings._asdict()), model, str(folder)]
        self._asked = {
            name: ContenderProcess(name, [python, "-m", "bench.gpu.contenders", name, *arguments])
            for name, python in names.items()
        }
        self._took_s: Dict[str, List[float]] = {}
        self._texts: Dict[str, List[List[str]]] = {}

    def over(self, several: Sequence[Recording], model: str) -> List[Other]:
        """The rows of recordings in one language; the first utterance is asked for once before it counts."""
        self._took_s = {name: [] for name in self._asked}
        self._texts = {name: [] for name in self._asked}
        language, audio_s, counts = several[0].language, 0.0, False
        for recording in several:
            for texts in self._texts.values():
                texts.append([])
            for samples in utterances(recording):
                np.save(self._path, samples)
                if not counts:
                    self._ask_all(language, counts)
                counts = True
                self._ask_all(language, counts)
                audio_s += len(samples) / SAMPLE_RATE
        return [self._row(name, several, model, audio_s) for name in self._asked]

    def close(self) -> None:
        """End them."""
        for contender in self._asked.values():
            contender.close()

    def _ask_all(self, language: str, counts: bool) -> None:
        for name, contender in list(self._asked.items()):
            try:
                answer = contender.ask(language, self._path)
            except (SystemExit, OSError) as error:  # it has ended, before it was asked or since
                self._told.fault(f"{name} is left out: {error}")
                self._asked.pop(name).close()
                continue
            if counts:
                self._took_s[name].append(answer["seconds"])
                self._texts[name][-1].append(answer["text"])

    def _row(self, name: str, several: Sequence[Recording], model: str, audio_s: float) -> Other:
        took_ms = [1000 * one_s for one_s in self._took_s[name]]
        texts = [" ".join(parts) for parts in self._texts[name]]
        language = several[0].language
        return Other(
            f"{name} {self._compute}, beam {BEAM_SIZE}",
            *(model, language, len(took_ms)),
            *(percentile(took_ms, 50), percentile(took_ms, 95), 1000 * audio_s / sum(took_ms)),
            error_rate([one.references for one in several], texts, language),
        )
