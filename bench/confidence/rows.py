"""What comes of words that were said with about the same confidence."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence

from bench.confidence.right import Judged
from bench.live.compare import mean
from bench.load.plan import percentile
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


class Calibration(NamedTuple):
    """Words of some speakers as a whole.

    Attributes:
        right: share.
        confidence, plain: means, of what the recogniser says and of the geometric mean of a word's tokens.
        error, plain_error: expected calibration error of both.
    """

    speakers: str
    words: int
    right: Optional[float]
    confidence: Optional[float]
    error: Optional[float]
    plain: Optional[float]
    plain_error: Optional[float]


CALIBRATIONS: Columns[Calibration] = {
    "speakers": lambda row: row.speakers,
    "words": lambda row: number(row.words),
    "right": lambda row: percent(row.right),
    "mean confidence": lambda row: percent(row.confidence),
    "expected calibration error": lambda row: percent(row.error),
    "geometric mean of the tokens": lambda row: percent(row.plain),
    "its error": lambda row: percent(row.plain_error),
}


def calibration(speakers: str, words: Sequence[Judged], plain: Sequence[Judged]) -> Calibration:
    """The same words with both confidences."""
    right = mean([word.is_right for word in words])
    means = [mean([word.confidence for word in several]) for several in (words, plain)]
    return Calibration(
        speakers, len(words), right, means[0], calibration_error(words), means[1], calibration_error(plain)
    )


def calibration_error(words: Sequence[Judged]) -> Optional[float]:
    """How far apart mean confidence and share of right words are, in tenths of confidence, weighted by their words."""
    bins: Dict[int, List[Judged]] = {}
    for word in words:
        bins.setdefault(min(9, int(10 * word.confidence)), []).append(word)
    apart = sum(abs(sum(word.confidence - word.is_right for word in several)) for several in bins.values())
    return apart / len(words) if words else None


class Times(NamedTuple):
    """Starts or ends of words against openai-whisper's float32 alignment of the same texts, in seconds.

    Attributes:
        words: that were compared.
        median, p95: of the differences' amounts.
        shift: median of the differences, ours later above zero.
    """

    language: str
    what: str
    words: int
    median: Optional[float]
    p95: Optional[float]
    shift: Optional[float]


TIMES: Columns[Times] = {
    "language": lambda row: row.language,
    "of words": lambda row: row.what,
    "words": lambda row: number(row.words),
    "off by: median, s": lambda row: number(row.median, 2),
    "95 %, s": lambda row: number(row.p95, 2),
    "ours later: median, s": lambda row: number(row.shift, 2),
}


def times(language: str, what: str, differences_s: Sequence[float]) -> Times:
    """Ours less theirs."""
    amounts = [abs(one) for one in differences_s]
    return Times(
        language, what, len(amounts), percentile(amounts, 50), percentile(amounts, 95), percentile(differences_s, 50)
    )


def best_odds(words: Sequence[Judged], odds: float) -> float:
    """What `recognizer.confidence.ODDS` fits these words best, most likely; they were judged with `odds`."""
    candidates = [hundredths / 100 for hundredths in range(50, 801, 5)]
    return max(candidates, key=lambda candidate: sum(_log_likelihood(word, candidate / odds) for word in words))


def _log_likelihood(word: Judged, factor: float) -> float:
    """Of what became of a word, with its odds times `factor`."""
    likely = min(max(word.confidence, 1e-6), 1 - 1e-6)
    likely = factor * likely / (1 + (factor - 1) * likely)
    return math.log(likely if word.is_right else 1 - likely)
