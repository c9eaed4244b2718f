"""What comes of words that were said with about the same confidence."""

import math
from typing import List, NamedTuple, Optional, Sequence

from bench.confidence.right import Judged
from bench.report import Columns, number, percent

_LEVELS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)


class Row(NamedTuple):
    """Words with a confidence from `least` on, up to the next level."""

    speakers: str
    least: float
    words: int
    confidence: Optional[float]  # mean
    right: Optional[float]  # share


COLUMNS: Columns[Row] = {
    "speakers": lambda row: row.speakers,
    "confidence from": lambda row: number(row.least, 2),
    "words": lambda row: number(row.words),
    "mean confidence": lambda row: percent(row.confidence),
    "right": lambda row: percent(row.right),
}


def rows_of(speakers: str, words: Sequence[Judged]) -> List[Row]:
    """One row for each level."""
    bounds = zip(_LEVELS, (*_LEVELS[1:], math.inf))
    return [
        _row(speakers, least, [word for word in words if least <= word.confidence < below]) for least, below in bounds
    ]


def _row(speakers: str, least: float, words: Sequence[Judged]) -> Row:
    if not words:
        return Row(speakers, least, 0, None, None)
    confidence = sum(word.confidence for word in words) / len(words)
    return Row(speakers, least, len(words), confidence, sum(word.is_right for word in words) / len(words))


def best_odds(words: Sequence[Judged], odds: float) -> float:
    """What `recognizer.confidence.ODDS` fits these words best, most likely; they were judged with `odds`."""
    candidates = [hundredths / 100 for hundredths in range(50, 801, 5)]
    return max(candidates, key=lambda candidate: sum(_log_likelihood(word, candidate / odds) for word in words))


def _log_likelihood(word: Judged, factor: float) -> float:
    """Of what became of a word, with its odds times `factor`."""
    likely = min(max(word.confidence, 1e-6), 1 - 1e-6)
    likely = factor * likely / (1 + (factor - 1) * likely)
    return math.log(likely if word.is_right else 1 - likely)
