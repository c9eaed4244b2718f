"""Recordings with transcripts, cut into segments as the server cuts them, and how wrong a text is."""

import csv
import re
import unicodedata
import wave
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import jiwer

from boundary.settings import EngineSettings
from engine.segmenter import Segmenter
from recognizer.audio import SAMPLE_RATE, Samples, to_samples


class Recording(NamedTuple):
    """What is said in a recording, and its sound: 16-bit mono PCM at 16 kHz."""

    name: str
    language: str
    references: List[str]
    pcm: bytes

    @property
    def segments(self) -> List[Samples]:
        """What the server would cut it into."""
        segmenter = Segmenter(EngineSettings())
        utterances = (*segmenter.feed(self.pcm), *segmenter.finish())
        return [to_samples(utterance.pcm, SAMPLE_RATE) for utterance in utterances]


def read_recordings(folder: Path, every: int) -> List[Recording]:
    """One recording of `every` that `manifest.tsv` (path, language, reference, alt_reference) lists with a text."""
    try:
        with open(folder / "manifest.tsv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise SystemExit(f"{folder / 'manifest.tsv'}: {error.strerror}") from error
    spoken = [row for row in rows if row["reference"]]
    return [_read(folder, row) for row in spoken[::every]]


def _read(folder: Path, row: Dict[str, str]) -> Recording:
    path = folder / row["path"]
    try:
        with wave.open(str(path), "rb") as file:
            pcm, shape = file.readframes(file.getnframes()), file.getparams()[:3]
    except (OSError, EOFError, wave.Error) as error:
        raise SystemExit(f"{path}: {error}") from error
    if shape != (1, 2, SAMPLE_RATE):
        raise SystemExit(f"{path}: expected 16-bit mono at {SAMPLE_RATE} Hz")
    references = [text for text in (row["reference"], row["alt_reference"]) if text]
    return Recording(row["path"], row["language"], references, pcm)


def normal(text: str, language: str) -> str:
    """Letters and digits only; Korean without spaces, as its spelling leaves them free."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[^\w ]", "" if language == "ko" else " ", text.replace("'", ""))
    return "".join(text.split()) if language == "ko" else " ".join(text.split())


def error_rate(references: Sequence[Sequence[str]], texts: Sequence[str], language: str) -> float:
    """Character (Korean) or word error rate over all recordings, each against the nearest of its references."""
    metric = jiwer.cer if language == "ko" else jiwer.wer
    nearest, hypotheses = [], []
    for alternatives, text in zip(references, texts):
        hypothesis = normal(text, language)
        spellings = [normal(reference, language) for reference in alternatives]
        nearest.append(min(spellings, key=lambda spelling: float(metric([spelling], [hypothesis]))))
        hypotheses.append(hypothesis)
    return float(metric(nearest, hypotheses))
