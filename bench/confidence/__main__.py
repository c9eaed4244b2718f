"""`python -m bench.confidence`: of the words that are said with a confidence of 0.9, how many are right.

The recordings are cut as the server cuts them. Half of the speakers are those that `recognizer.confidence` was fitted
to; the other half shows what it is worth.
"""

import argparse
from typing import Iterator

from bench import command
from bench.confidence.right import Judged, is_fitted, right_words
from bench.confidence.rows import COLUMNS, best_odds, rows_of
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.speech import segments
from engine.cores import usable_cores
from recognizer.confidence import ODDS
from recognizer.recognizer import Recognizer, RecognizerSettings
from recognizer.request import Request


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser("python -m bench.confidence", description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    options = command.parse(parser)
    recordings = [one for one in read_recordings(options.speech) if one.references][:: options.every]
    recognizer = Recognizer(RecognizerSettings(device="cpu"), usable_cores())
    words = [word for recording in recordings for word in _judged(recognizer, recording)]
    fitted = [word for word in words if word.is_fitted]
    others = [word for word in words if not word.is_fitted]
    rows = rows_of("fitted to", fitted) + rows_of("others", others)
    for language in dict.fromkeys(word.language for word in others):
        rows += rows_of(f"others, {language}", [word for word in others if word.language == language])
    conditions = (
        f"{len(words)} words of {len(recordings)} recordings; odds of {ODDS}, "
        f"best for those fitted to {best_odds(fitted, ODDS)}, for the others {best_odds(others, ODDS)}"
    )
    print(table(conditions, COLUMNS, rows))
    if options.json:
        Report({"conditions": conditions}, rows).write(options.json)


def _judged(recognizer: Recognizer, recording: Recording) -> Iterator[Judged]:
    request = Request(recording.language, words=True)
    words = [word for samples in segments(recording.pcm) for word in recognizer.recognize(samples, request).words]
    if words:
        right = right_words(recording.references, [word.text for word in words], recording.language)
        for word, is_right in zip(words, right):
            yield Judged(recording.language, is_fitted(recording.name), word.confidence, is_right)


if __name__ == "__main__":
    main()
