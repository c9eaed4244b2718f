"""Tokens and where their heads listened → words with times and confidences.

As `whisper.timing` does it: one pass over the whole text, the scores of the alignment heads, dynamic time warping.
"""

import codecs
import math
import re
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from whisper.audio import TOKENS_PER_SECOND
from whisper.tokenizer import Tokenizer

from recognizer.alignment import median_filter
from recognizer.decoder import TORN, FastDecoder
from recognizer.request import TimedWord

_FROM_ABOVE, _FROM_LEFT = 1, 2
_LEAST_DEVIATION = 1e-9  # where every token listens equally little


@dataclass(frozen=True)
class Spelt:
    """A word, and the tokens `first` to `last` that spell it; punctuation may follow the one with its last letter."""

    text: str
    first: int
    last: int
    last_letter: int


class Aligned(NamedTuple):
    """Of the text's tokens: when each begins, in seconds, and after them the end; log-probability of each."""

    starts_s: List[float]
    logprobs: List[float]


def align(
    decoder: FastDecoder, tokenizer: Tokenizer, prefix: Sequence[int], tokens: Sequence[int], duration_s: float
) -> Aligned:
    """Place the text `tokens` in the first `duration_s` of what the decoder listens to; `prefix` is said before them.

    Both without special tokens; `tokens` not empty.
    """
    begin = tokenizer.sot_sequence_including_notimestamps
    said = torch.tensor([*begin, *prefix, *tokens, tokenizer.eot], device=decoder.embedding.device)
    first = len(begin) + len(prefix) - 1  # what stands there foretells the first of `tokens`
    logits, scores = decoder.follow(said, logits_from=first)
    foretold = log_softmax(logits[: len(tokens), : tokenizer.eot], dim=-1)
    logprobs = foretold.gather(1, said[first + 1 : -1, None])[:, 0].tolist()
    starts_s = _starts_s(scores, len(begin) - 1, duration_s)[len(prefix) :]
    return Aligned(starts_s, logprobs)


def _starts_s(scores: Tensor, n_before: int, duration_s: float) -> List[float]:
    """When each token after the first `n_before` begins, and the last ends; `scores` (n_heads, length, n_positions)."""
    n_positions = max(1, min(scores.shape[-1], math.ceil(duration_s * TOKENS_PER_SECOND)))
    weights = scores[:, :, :n_positions].softmax(dim=-1)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    even = (weights - mean) / deviation.clamp(min=_LEAST_DEVIATION)
    smooth = median_filter(even).mean(dim=0)
    first_positions = warp(-smooth[n_before:-1].numpy())
    return [min(position / TOKENS_PER_SECOND, duration_s) for position in first_positions]


def warp(cost: npt.NDArray[np.float32]) -> List[int]:
    """Dynamic time warping, which in openai-whisper compiles itself for seconds: the first column of each row.

    The path through `cost` (n_rows, n_columns) from corner to corner that costs least. Cells with the same sum of row
    and column follow from the two such diagonals before, all at once.
    """
    n_rows, n_columns = cost.shape
    row, column = np.indices(cost.shape)
    slanted = np.full((n_rows + n_columns - 1, n_rows), np.inf, np.float32)
    slanted[row + column, row] = cost
    steps = np.zeros(slanted.shape, np.int8)
    before_last = np.full(n_rows + 1, np.inf, np.float32)  # one cell more in front: there is no row above the first
    last = before_last.copy()
    before_last[0] = 0.0
    for diagonal, costs in enumerate(slanted):
        ways = np.stack((before_last[:-1], last[:-1], last[1:]))  # from above left, from above, from the left
        steps[diagonal] = ways.argmin(axis=0)
        before_last, last = last, np.concatenate(([np.inf], costs + ways.min(axis=0))).astype(np.float32)
    firsts = [0] * n_rows
    row_index, column_index = n_rows - 1, n_columns - 1
    while row_index >= 0 and column_index >= 0:
        firsts[row_index] = column_index
        step = steps[row_index + column_index, row_index]
        row_index -= step != _FROM_LEFT
        column_index -= step != _FROM_ABOVE
    return firsts


def spell(tokenizer: Tokenizer, tokens: Sequence[int]) -> List[Spelt]:
    """The words that stand between blanks in what `tokens` say, in whole characters (`decoder.whole_text`)."""
    characters = list(_characters(tokenizer, tokens))
    text = "".join(character for character, _, _ in characters)
    torn = {index for match in TORN.finditer(text) for index in range(*match.span())}
    whole = [one for index, one in enumerate(characters) if index not in torn]
    text = "".join(character for character, _, _ in whole)
    return [_spelt(match, whole) for match in re.finditer(r"\S+", text)]


def _spelt(match: "re.Match[str]", whole: Sequence[Tuple[str, int, int]]) -> Spelt:
    """`whole`: each character of the text with the first and the last of its tokens."""
    first, last = whole[match.start()][1], whole[match.end() - 1][2]
    letters = [token for character, _, token in whole[match.start() : match.end()] if character.isalnum()]
    return Spelt(match.group(), first, last, letters[-1] if letters else last)


def _characters(tokenizer: Tokenizer, tokens: Sequence[int]) -> Iterator[Tuple[str, int, int]]:
    """Each character, with the first and the last of the tokens that hold it."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    began = 0  # token with the first byte of the character that is open
    for index, token in enumerate(tokens):
        if not decoder.getstate()[0]:
            began = index
        for character in decoder.decode(tokenizer.encoding.decode_single_token_bytes(token)):
            yield character, began, index
            began = index
    for character in decoder.decode(b"", final=True):
        yield character, began, len(tokens) - 1


def timed(
    spelt: Sequence[Spelt], aligned: Aligned, confidences: Sequence[float], end_s: float, offset_s: float
) -> Tuple[TimedWord, ...]:
    """Words with rising times up to `end_s`, counted from `offset_s`."""
    words: List[TimedWord] = []
    before_s = 0.0
    for word, confidence in zip(spelt, confidences):
        start_s = min(max(aligned.starts_s[word.first], before_s), end_s)
        before_s = min(max(aligned.starts_s[word.last_letter + 1], start_s), end_s)
        words.append(TimedWord(word.text, start_s - offset_s, before_s - offset_s, confidence))
    return tuple(words)
