"""Which words of a text are right. Pure."""

import math
import re
import zlib
from pathlib import PurePath
from typing import List, NamedTuple, Sequence

import jiwer

from bench.speech import tokens


class Judged(NamedTuple):
    """A word with its confidence, and whether it was said."""

    language: str
    is_fitted: bool  # its speaker is one of those that the confidence was fitted to
    confidence: float
    is_right: bool


def geometric_mean(logprobs: Sequence[float]) -> float:
    """Of the probabilities of a word's tokens: what a confidence has to be better than."""
    return math.exp(sum(logprobs) / len(logprobs))


def is_fitted(name: str) -> bool:
    """Whether a recording's speaker, its name without the last number, is in the half that is fitted to."""
    return zlib.crc32(re.sub(r"\d+$", "", PurePath(name).stem).encode()) % 2 == 0


def right_words(references: Sequence[str], words: Sequence[str], language: str) -> List[bool]:
    """Of each word whether all of it stands in the reference that has the most of them, at its place.

    Its place is that of the alignment with the fewest errors, of characters (Korean) or words.
    """
    return max((_right(reference, words, language) for reference in references), key=sum)


def _right(reference: str, words: Sequence[str], language: str) -> List[bool]:
    owners = [index for index, word in enumerate(words) for _ in tokens(word, language)]
    said = [unit for word in words for unit in tokens(word, language)]
    is_right = [True] * len(words)
    (chunks,) = jiwer.process_words([" ".join(tokens(reference, language))], [" ".join(said)]).alignments
    for chunk in chunks:
        if chunk.type != "equal":
            for index in range(chunk.hyp_start_idx, chunk.hyp_end_idx):
                is_right[owners[index]] = False
    return is_right
