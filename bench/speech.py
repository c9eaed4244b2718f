"""Recordings with transcripts, cut into segments as the server cuts them, and how wrong a text is."""

import csv
import re
import unicodedata
import wave
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import jiwer

from engine.config import ASRConfig
from engine.segmenter import Segmenter
from recognizer.audio import Samples, to_samples


class Recording(NamedTuple):
    """What is said in a recording, and its segments as 16 kHz samples."""

    name: str
    language: str
    references: List[str]
    segments: List[Samples]


def read_recordings(folder: Path, every: int) -> List[Recording]:
    """One recording of `every` that `manifest.tsv` (path, language, reference, alt_reference) lists with a text."""
    with open(folder / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    spoken = [row for row in rows if row["reference"]]
    return [_read(folder, row) for row in spoken[::every]]


def _read(folder: Path, row: Dict[str, str]) -> Recording:
    with wave.open(str(folder / row["path"]), "rb") as file:
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    segmenter = Segmenter(ASRConfig())
    segments = [to_samples(utterance.pcm, rate) for utterance in (*segmenter.feed(pcm), *segmenter.finish())]
    references = [text for text in (row["reference"], row["alt_reference"]) if text]
    return Recording(row["path"], row["language"], references, segments)


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
