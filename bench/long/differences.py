"""What the text of a long recording has that was not said, lacks, or has in its place. Knows no socket, clock or model.

Texts are compared as tokens, those of the error rates, by the alignment with the fewest edits; each recording of the
long one in that of its spellings which makes the fewest. Where a token lies in the sound is guessed from its place in
the text of its recording, within a second or so.
"""

from typing import List, NamedTuple, Sequence

import jiwer

from bench.long.joined import LongRecording, Part
from bench.speech import tokens

AT_CUT_S = 1.5  # as near to a cut counts as at it
_KINDS = {"substitute": "wrong", "delete": "lost", "insert": "added"}


class Difference(NamedTuple):
    """`kind`: wrong, lost or added; `at_s`: of its middle, from the beginning of the long recording."""

    kind: str
    at_s: float
    before: str
    said: Sequence[str]
    written: Sequence[str]

    @property
    def edits(self) -> int:
        """How many tokens of difference."""
        return max(len(self.said), len(self.written))


class Compared(NamedTuple):
    """Where the tokens of a long recording are, and what a text has else."""

    tokens_s: List[float]
    differences: List[Difference]

    def edits(self, kind: str) -> int:
        """Tokens of that kind of difference."""
        return sum(one.edits for one in self.differences if one.kind == kind)


class _Spelt(NamedTuple):
    """Tokens of a recording, and where it is."""

    tokens: List[str]
    part: Part

    def times_s(self) -> List[float]:
        """Of its tokens, as if all were as long."""
        each_s = (self.part.end_s - self.part.start_s) / max(1, len(self.tokens))
        return [self.part.start_s + (number + 0.5) * each_s for number in range(len(self.tokens))]


def compare(recording: LongRecording, text: str) -> Compared:
    """Hold a text against what is said in the recording."""
    written = tokens(text, recording.language)
    spelt = [_Spelt(tokens(part.recording.references[0], recording.language), part) for part in recording.parts]
    for place, part in enumerate(recording.parts):
        for other in part.recording.references[1:]:
            tried = [*spelt]
            tried[place] = _Spelt(tokens(other, recording.language), part)
            spelt = min(spelt, tried, key=lambda one: _edits(one, written))
    times_s = [time_s for one in spelt for time_s in one.times_s()]
    return Compared(times_s, _differences([token for one in spelt for token in one.tokens], times_s, written))


def near(times_s: Sequence[float], cuts_s: Sequence[float]) -> int:
    """How many of the times are at a cut."""
    return sum(any(abs(time_s - cut_s) <= AT_CUT_S for cut_s in cuts_s) for time_s in times_s)


def _edits(spelt: Sequence[_Spelt], written: Sequence[str]) -> int:
    found = _aligned([token for one in spelt for token in one.tokens], written)
    return int(found.substitutions + found.deletions + found.insertions)


def _aligned(said: Sequence[str], written: Sequence[str]) -> jiwer.WordOutput:
    return jiwer.process_words(" ".join(said), " ".join(written))


def _differences(said: Sequence[str], times_s: Sequence[float], written: Sequence[str]) -> List[Difference]:
    found: List[Difference] = []
    for chunk in _aligned(said, written).alignments[0]:
        if chunk.type in _KINDS:
            first, last = chunk.ref_start_idx, chunk.ref_end_idx
            around = times_s[first:last] or times_s[max(0, first - 1) : first + 1]
            before = " ".join(said[max(0, first - 4) : first])
            hypothesis = written[chunk.hyp_start_idx : chunk.hyp_end_idx]
            middle_s = sum(around) / len(around)
            found.append(Difference(_KINDS[chunk.type], middle_s, before, said[first:last], hypothesis))
    return found
