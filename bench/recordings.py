"""Recordings with transcripts: a folder with `manifest.tsv` (path, language, reference, alt_reference)."""

import csv
import wave
from pathlib import Path
from typing import List, NamedTuple

_MONO_16_BIT_16_KHZ = (1, 2, 16_000)


class Recording(NamedTuple):
    """What is said in a recording, in each of its spellings, and its sound: 16-bit mono PCM at 16 kHz."""

    name: str
    language: str
    references: List[str]
    pcm: bytes


def read_recordings(folder: Path) -> List[Recording]:
    """All that the manifest lists; raises SystemExit with what cannot be read."""
    path = folder / "manifest.tsv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise SystemExit(f"{path}: {error.strerror}") from error
    return [
        Recording(
            row["path"],
            row["language"],
            [text for text in (row["reference"], row["alt_reference"]) if text],
            _read_pcm(folder / row["path"]),
        )
        for row in rows
    ]


def read_spoken(folder: Path, language: str) -> List[Recording]:
    """Those in a language, with a reference; raises SystemExit also where there is none."""
    chosen = [one for one in read_recordings(folder) if one.language == language and one.references]
    if not chosen:
        raise SystemExit(f"{folder}: no recording in {language} with a reference")
    return chosen


def _read_pcm(path: Path) -> bytes:
    try:
        with wave.open(str(path), "rb") as file:
            pcm, shape = file.readframes(file.getnframes()), file.getparams()[:3]
    except (OSError, EOFError, wave.Error) as error:
        raise SystemExit(f"{path}: {error}") from error
    if shape != _MONO_16_BIT_16_KHZ:
        raise SystemExit(f"{path}: expected 16-bit mono at 16000 Hz")
    return pcm
