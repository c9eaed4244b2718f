"""`python -m bench.confidence`: of the words that are said with a confidence of 0.9, how many are right.

The recordings are cut as the server cuts them. Half of the speakers are those that `recognizer.confidence` was fitted
to; the other half shows what it is worth, beside the geometric mean of the probabilities of a word's tokens. A third
table holds starts and ends of the same words against openai-whisper's own alignment of the text, in float32 over 30 s.
"""

import argparse
from typing import Dict, List, NamedTuple, Sequence, Tuple

from bench import command
from bench.confidence.right import Judged, geometric_mean, is_fitted, right_words
from bench.confidence.rows import (
    CALIBRATIONS,
    COLUMNS,
    TIMES,
    Calibration,
    Times,
    best_odds,
    calibration,
    rows_of,
    times,
)
from bench.live.words import Aligner
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.speech import segments
from engine.cores import usable_cores
from recognizer.audio import Samples
from recognizer.confidence import ODDS
from recognizer.recognizer import Recognizer
from recognizer.request import Request, TimedWord
from recognizer.settings import RecognizerSettings


class _Heard(NamedTuple):
    """A segment and the words in it."""

    samples: Samples
    words: Sequence[TimedWord]


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser("python -m bench.confidence", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    options = command.parse(parser)
    recordings = [one for one in read_recordings(options.speech) if one.references][:: options.every]
    settings = RecognizerSettings(device="cpu")
    heard = _hear(Recognizer(settings, usable_cores()), recordings)
    words = _judged(heard)
    plain = _judged(_hear(Recognizer(settings, usable_cores(), geometric_mean), recordings))
    fitted, others = _halves(words)
    rows = rows_of("fitted to", fitted) + rows_of("others", others)
    for language in dict.fromkeys(word.language for word in others):
        rows += rows_of(f"others, {language}", [word for word in others if word.language == language])
    conditions = (
        f"{len(words)} words of {len(recordings)} recordings; odds of {ODDS}, "
        f"best for those fitted to {best_odds(fitted, ODDS)}, for the others {best_odds(others, ODDS)}"
    )
    print(table(conditions, COLUMNS, rows), end="\n\n", flush=True)
    print(table("All levels together", CALIBRATIONS, _calibrations(words, plain)), end="\n\n", flush=True)
    print(table("Times of words against openai-whisper, float32", TIMES, _times(heard)))
    if options.json:
        Report({"conditions": conditions}, rows).write(options.json)


def _hear(recognizer: Recognizer, recordings: Sequence[Recording]) -> List[Tuple[Recording, List[_Heard]]]:
    heard: List[Tuple[Recording, List[_Heard]]] = []
    for recording in recordings:
        request = Request(recording.language, words=True)
        parts = [_Heard(one, recognizer.recognize(one, request).words) for one in segments(recording.pcm)]
        heard.append((recording, parts))
    return heard


def _judged(heard: Sequence[Tuple[Recording, Sequence[_Heard]]]) -> List[Judged]:
    judged: List[Judged] = []
    for recording, parts in heard:
        words = [word for part in parts for word in part.words]
        if words:
            right = right_words(recording.references, [word.text for word in words], recording.language)
            half = is_fitted(recording.name)
            judged += [Judged(recording.language, half, word.confidence, one) for word, one in zip(words, right)]
    return judged


def _halves(words: Sequence[Judged]) -> Tuple[List[Judged], List[Judged]]:
    """Those of the speakers that were fitted to, and others."""
    return [word for word in words if word.is_fitted], [word for word in words if not word.is_fitted]


def _calibrations(words: Sequence[Judged], plain: Sequence[Judged]) -> List[Calibration]:
    (fitted, others), (plain_fitted, plain_others) = _halves(words), _halves(plain)
    rows = [calibration("fitted to", fitted, plain_fitted), calibration("others", others, plain_others)]
    for language in dict.fromkeys(word.language for word in others):
        chosen = ([word for word in several if word.language == language] for several in (others, plain_others))
        rows.append(calibration(f"others, {language}", *chosen))
    return rows


def _times(heard: Sequence[Tuple[Recording, Sequence[_Heard]]]) -> List[Times]:
    aligner = Aligner()
    differences_s: Dict[Tuple[str, str], List[float]] = {}
    for recording, parts in heard:
        for part in parts:
            text = " ".join(word.text for word in part.words)
            theirs = aligner.words_in(part.samples, text, recording.language) if text else []
            if len(theirs) != len(part.words):
                raise SystemExit(
                    f"{recording.name}: {len(part.words)} words of ours, {len(theirs)} of openai-whisper's"
                )
            for word, other in zip(part.words, theirs):
                differences_s.setdefault((recording.language, "starts"), []).append(word.start_s - other.start_s)
                differences_s.setdefault((recording.language, "ends"), []).append(word.end_s - other.end_s)
    return [times(*of_what, several) for of_what, several in differences_s.items()]


if __name__ == "__main__":
    main()
