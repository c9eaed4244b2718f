"""How text that was shown while somebody spoke is held against the final text. Knows no socket, clock or model.

Texts are compared as tokens, those of the error rates: words in lower case without punctuation, in Korean syllables,
as its spelling leaves blanks free. A shown text and the beginning of the final one are aligned with the fewest edits;
among equal ones, with the most equal tokens. So one early difference costs its own word and no later one.

A word of the final text *stands* in a shown text when all its tokens are there, one after the other. It stands as
stable text from the first packet whose stable text covers it, by the alignment of the last and longest stable text,
which knows best what an earlier one meant. It is shown from the first packet in which it stands, each packet by an
alignment of its own. No word counts as shown before its sound begins: what looks like it then is an earlier word that
is the same. A word that was guessed before its end counts, with a negative latency. With the final text all stand.
"""

from itertools import takewhile
from typing import List, NamedTuple, Optional, Sequence

from bench.speech import tokens

_EDIT = 1 << 16  # an edit outweighs any number of equal tokens


class Piece(NamedTuple):
    """A piece of text, where its sound begins and ends: in any clock."""

    text: str
    start_s: float
    end_s: float


class Shown(NamedTuple):
    """Live text and when it arrived."""

    arrival_s: float
    stable: str
    unstable: str


class Final(NamedTuple):
    """The text that replaces all live text of an utterance.

    Attributes:
        words: each with its sound, in the clock of the arrivals.
        arrival_s: of the text.
        following: the text of the next utterance, where this one was cut by its length and speech went on: what was
            shown of this one may have reached into it.
    """

    words: Sequence[Piece]
    arrival_s: float
    following: str = ""


class Latency(NamedTuple):
    """Of a word: from the end of its sound until it stood as stable text, and until it was first shown."""

    word: Piece
    stable_s: float
    shown_s: float


class Comparison(NamedTuple):
    """One utterance, or several.

    Attributes:
        latencies: of the words that have letters or digits.
        final_tokens: of the final texts.
        covered_tokens: of them, those that were stable before the final text came.
        stable_tokens: of the last stable texts.
        retracted_tokens: of them, those that the final texts do not have.
        shrinks: stable texts that were no beginning of the next.
    """

    latencies: List[Latency]
    final_tokens: int
    covered_tokens: int
    stable_tokens: int
    retracted_tokens: int
    shrinks: int

    @classmethod
    def joined(cls, parts: Sequence["Comparison"]) -> "Comparison":
        """All of them as one."""
        latencies = [latency for part in parts for latency in part.latencies]
        return cls(latencies, *(sum(counts) for counts in zip((0,) * 5, *(part[1:] for part in parts))))


def words_of(pieces: Sequence[Piece]) -> List[Piece]:
    """Words, as blanks separate them, from pieces that joined are the text: punctuation has no sound."""
    words: List[List[Piece]] = []
    for piece in pieces:
        if not words or piece.text[:1].isspace():
            words.append([])
        words[-1].append(piece)
    return [_joined(parts) for parts in words if any(part.text.strip() for part in parts)]


def _joined(parts: Sequence[Piece]) -> Piece:
    heard = [part for part in parts if any(char.isalnum() for char in part.text)] or parts
    return Piece("".join(part.text for part in parts).strip(), heard[0].start_s, heard[-1].end_s)


def align(shown: Sequence[str], final: Sequence[str]) -> List[Optional[int]]:
    """For each token of the final text, its place in the shown one; None where it is not there.

    The shown text is held against the beginning of the final one that fits it best: what is still to be said is no
    difference.
    """
    costs = [[_EDIT * column for column in range(len(final) + 1)]]
    for row, token in enumerate(shown, 1):
        above, costs_here = costs[-1], [_EDIT * row]
        for column, other in enumerate(final):
            change = -1 if token == other else _EDIT
            costs_here.append(min(above[column] + change, above[column + 1] + _EDIT, costs_here[column] + _EDIT))
        costs.append(costs_here)
    places: List[Optional[int]] = [None] * len(final)
    row, column = len(shown), min(range(len(final) + 1), key=costs[-1].__getitem__)
    while row and column:
        equal = shown[row - 1] == final[column - 1]
        if costs[row][column] == costs[row - 1][column - 1] + (-1 if equal else _EDIT):
            row, column = row - 1, column - 1
            if equal:
                places[column] = row
        elif costs[row][column] == costs[row][column - 1] + _EDIT:
            column -= 1
        else:
            row -= 1
    return places


def compare(shown: Sequence[Shown], final: Optional[Final], language: str) -> Comparison:
    """Hold the live text of an utterance (in order) against its final one; None: no text came of the utterance."""
    stable = [tokens(one.stable, language) for one in shown]
    last = stable[-1] if stable else []
    shrinks = sum(not later.stable.startswith(earlier.stable) for earlier, later in zip(shown, shown[1:]))
    if final is None:
        return Comparison([], 0, 0, len(last), len(last), shrinks)
    words = [tokens(word.text, language) for word in final.words]
    said = [token for word in words for token in word]
    expected = said + tokens(final.following, language)
    places = align(last, expected)
    covered = [_common(one, last) for one in stable]
    kept = sum(place is not None for place in places)
    ends = _ends(words, places)
    seen = [_ends(words, align(tokens(f"{one.stable} {one.unstable}", language), expected)) for one in shown]
    latencies: List[Latency] = []
    for number, word in enumerate(final.words):
        if words[number]:
            end = ends[number]
            stable_s = _since([end is not None and end < count for count in covered], word, shown, final)
            shown_s = _since([one[number] is not None for one in seen], word, shown, final)
            latencies.append(Latency(word, stable_s - word.end_s, min(stable_s, shown_s) - word.end_s))
    covered_tokens = sum(place is not None for place in places[: len(said)])
    return Comparison(latencies, len(said), covered_tokens, len(last), len(last) - kept, shrinks)


def _since(stands: Sequence[bool], word: Piece, shown: Sequence[Shown], final: Final) -> float:
    """When a word stood first, from what is known of each packet."""
    arrivals_s = (one.arrival_s for one, here in zip(shown, stands) if here and one.arrival_s >= word.start_s)
    return min(next(arrivals_s, final.arrival_s), final.arrival_s)


def _ends(words: Sequence[Sequence[str]], places: Sequence[Optional[int]]) -> List[Optional[int]]:
    """The place of the last token of each word; None where a part of it is missing, or something stands between."""
    ends: List[Optional[int]] = []
    offset = 0
    for word in words:
        found = places[offset : offset + len(word)]
        offset += len(word)
        first = found[0] if found else None
        whole = first is not None and list(found) == list(range(first, first + len(found)))
        ends.append(found[-1] if whole else None)
    return ends


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many tokens both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other)))


def share(part: int, whole: int) -> Optional[float]:
    """None of nothing."""
    return part / whole if whole else None


def mean(values: Sequence[float]) -> Optional[float]:
    """None of no values."""
    return sum(values) / len(values) if values else None
