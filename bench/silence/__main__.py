"""`python -m bench.silence`: results from sounds in which nobody speaks, and short answers that are lost; two sides.

Recordings without a reference are sounds in which nobody speaks; they are cut as the server cuts them, as they are and
by telephone, and each text that it would send counts. Answers are single words, cut out of the spoken recordings where
openai-whisper's own alignment of the reference says (float32), and spoken recordings that are as short; each as it was
recorded, softer, and through a telephone line. One without any text is lost. The spoken recordings themselves count
too, in full.

What the rule of `recognizer.doubt` is sure of less than a threshold is not sent. The curve shows both sides as that
threshold moves, apart for the speakers that the rule was fitted to and for the others; -inf sends all that Whisper's
own signs do not forbid. Then: of the sounds whose text is not sent, how many show live text meanwhile.
"""

import argparse
import math
import platform
import random
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

from bench import command
from bench.confidence.right import is_fitted
from bench.live.compare import Piece
from bench.live.words import Aligner
from bench.recordings import Recording, read_recordings
from bench.report import Report, table
from bench.silence.clips import CONDITIONS, Condition, alone, answers, arrives
from bench.silence.fit import fit, written
from bench.silence.rows import ANSWERS, CURVE, FITTED, NOISES, OTHERS, Row, Trial, curve, kinds
from engine.cores import usable_cores
from engine.live import INTERVAL_S
from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.doubt import said
from recognizer.live import LiveText
from recognizer.recognizer import Recognizer
from recognizer.request import Recognition, Request
from recognizer.settings import RecognizerSettings

_ANSWER_S = 1.5  # a recording that is as short is one
_ALIGNED_S = 29.0  # what Whisper hears at once
_NOISE_LANGUAGE = "ko"
_OF_EACH = 4  # answers that are cut out of one recording
_MOST_IN_15_MIN = 2  # of at most 3: another recording of the same moves it by one
_LEVELS_DB = (0.0, -30.0)  # of whole recordings
_NOISE_CONDITIONS = [Condition(0.0, by_telephone=False), Condition(0.0, by_telephone=True)]


def main() -> None:
    """Measure, print the tables, draw the curve where one is wanted."""
    options = _parse()
    recordings = [one for folder in (options.speech, *options.more) for one in read_recordings(folder)]
    recognizer = Recognizer(RecognizerSettings(device="cpu"), usable_cores())
    noises = [one for one in recordings if not one.references][:: options.every]
    spoken = [one for one in recordings if one.references][:: options.every]
    heard = [
        (one, condition, _recognized(recognizer, _arriving(one, condition), options.noise_language))
        for one in noises
        for condition in _NOISE_CONDITIONS
    ]
    trials = [_trial(one, f"{_kind(one)}, {condition}", found, is_spoken=False) for one, condition, found in heard]
    trials += _spoken(recognizer, spoken, options)
    conditions = (
        f"Whisper base, {recognizer.compute}, {len(noises)} recordings without speech, {len(spoken)} spoken ones, "
        f"{_processor()}"
    )
    if options.fit:
        print(_fitted(trials))
        return
    rows = curve(trials)
    print(table(conditions, CURVE, rows), end="\n\n", flush=True)
    others = [one for one in trials if one.speakers == OTHERS]
    print(table("Speakers that were not fitted to, nobody speaks", NOISES, kinds(others, is_spoken=False)), end="\n\n")
    print(table("Speakers that were not fitted to", ANSWERS, kinds(others, is_spoken=True)), end="\n\n", flush=True)
    shown, silent = _shown(recognizer, [found for _, _, found in heard], options)
    print(f"Live text was shown of {shown} of {silent} sounds whose text was not sent.")
    command.keep(Report[Row]({"conditions": conditions}, rows), options, "bench.silence.rows")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.silence", description=__doc__.splitlines()[0])
    parser.add_argument("--more", type=Path, nargs="+", default=[], help="folders with manifest.tsv, beside the first")
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--words", type=int, default=150, help="answers that are cut out, at most, in each language")
    parser.add_argument("--live", type=int, default=150, help="sounds that live text is made of, at most")
    parser.add_argument("--fit", action="store_true", help="print the line that is fitted, in place of all else")
    parser.add_argument("--noise-language", default=_NOISE_LANGUAGE, help="in which noise is recognised")
    options = command.parse(parser)
    if options.every < 1 or min(options.words, options.live) < 0:
        parser.error("--every: at least 1; --words and --live: at least 0")
    return options


def _fitted(trials: Sequence[Trial]) -> str:
    """As recognizer/voice.py has it."""
    used = [one for one in trials if one.speakers == FITTED]
    spoken, noises = ([one for one in used if one.is_spoken is is_spoken] for is_spoken in (True, False))
    most = int(_MOST_IN_15_MIN * sum(one.duration_s for one in noises) / 900)
    always = sum(list(one.sent_below).count(math.inf) for one in noises)
    spoken_signs, noise_signs = ([signs for one in group for signs in one.signs] for group in (spoken, noises))
    try:
        return written(fit(spoken_signs, noise_signs, max(0, most - always)))
    except ValueError as error:
        raise SystemExit(f"--fit: {error}; take more recordings") from error


def _processor() -> str:
    """Its name, as Linux has it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return f"{usable_cores()} cores of {line.split(':', 1)[1].strip()}"
    return f"{usable_cores()} cores of {platform.machine()}"


def _kind(recording: Recording) -> str:
    """Of a sound: what its folder or the beginning of its name calls it."""
    path = Path(recording.name)
    return path.parent.name or path.stem.split("_")[0]


def _arriving(recording: Recording, condition: Condition) -> List[Samples]:
    return arrives(to_samples(recording.pcm, SAMPLE_RATE), condition)


def _recognized(recognizer: Recognizer, parts: Sequence[Samples], language: str) -> List[Tuple[Samples, Recognition]]:
    return [(samples, recognizer.recognize(samples, Request(language))) for samples in parts]


def _trial(recording: Recording, kind: str, found: Sequence[Tuple[Samples, Recognition]], is_spoken: bool) -> Trial:
    return Trial(
        kind,
        FITTED if is_fitted(recording.name) else OTHERS,
        is_spoken,
        len(recording.pcm) / 2 / SAMPLE_RATE,
        [_sent_below(recognition) for _, recognition in found],
        [recognition.signs for _, recognition in found if recognition.signs is not None],
    )


def _sent_below(recognition: Recognition) -> float:
    if recognition.signs is not None:
        return said(recognition.signs)
    return math.inf if recognition.text else -math.inf


# --- what is said ----------------------------------------------------------------------------


def _spoken(recognizer: Recognizer, recordings: Sequence[Recording], options: argparse.Namespace) -> Iterator[Trial]:
    short = [one for one in recordings if len(one.pcm) <= 2 * SAMPLE_RATE * _ANSWER_S]
    long = [one for one in recordings if one not in short]
    clips = [(one, alone(to_samples(one.pcm, SAMPLE_RATE), _all_of(one))) for one in short]
    clips += _cut_out(long, options.words)
    for recording, samples in clips:
        for condition in CONDITIONS:
            found = _recognized(recognizer, arrives(samples, condition), recording.language)
            yield _trial(recording, f"{recording.language}, {condition}", found, is_spoken=True)
    for recording in long:
        for level_db in _LEVELS_DB:
            parts = _arriving(recording, Condition(level_db, by_telephone=False))
            found = _recognized(recognizer, parts, recording.language)
            yield _trial(recording, f"whole recordings, {recording.language}, {level_db:g} dB", found, is_spoken=True)


def _all_of(recording: Recording) -> Piece:
    return Piece(recording.references[0], 0.0, len(recording.pcm) / 2 / SAMPLE_RATE)


def _cut_out(recordings: Sequence[Recording], most: int) -> List[Tuple[Recording, Samples]]:
    """So many words of each language at most, at random, few of each recording."""
    aligner, chance = Aligner(), random.Random(0)
    chosen: List[Tuple[Recording, Samples]] = []
    for language in sorted({one.language for one in recordings}):
        clips: List[Tuple[Recording, Samples]] = []
        short = [one for one in recordings if len(one.pcm) <= 2 * SAMPLE_RATE * _ALIGNED_S]
        alike = [one for one in short if one.language == language]
        for recording in chance.sample(alike, len(alike)):
            if len(clips) < most:
                samples = to_samples(recording.pcm, SAMPLE_RATE)
                words = answers(aligner.words_in(samples, recording.references[0], language))
                clips += [(recording, alone(samples, one)) for one in chance.sample(words, min(len(words), _OF_EACH))]
        chosen += clips[:most]
    return chosen


# --- live text -------------------------------------------------------------------------------


def _shown(
    recognizer: Recognizer,
    heard: Sequence[Sequence[Tuple[Samples, Recognition]]],
    options: argparse.Namespace,
) -> Tuple[int, int]:
    """Of how many sounds live text was shown, and how many there are: those whose text was taken for noise."""
    live = LiveText(recognizer)
    suppressed = [samples for found in heard for samples, recognition in found if recognition.is_suppressed]
    chosen = random.Random(0).sample(suppressed, min(options.live, len(suppressed)))
    return sum(_shows(live, samples, options.noise_language) for samples in chosen), len(chosen)


def _shows(live: LiveText, samples: Samples, language: str) -> bool:
    """Whether looks at a sound that comes as from a microphone show any text."""
    live.begin(Request(language))
    step = round(INTERVAL_S * SAMPLE_RATE)
    ends = range(step, len(samples) + 1, step)
    return any(any(live.tick(samples[:end])) for end in ends)


if __name__ == "__main__":
    main()
