"""Tokens and where their heads listened → words with times and confidences.

As `whisper.timing` does it: one pass over the whole text, the scores of the alignment heads, dynamic time warping.
"""

import codecs
import math
import re
from dataclasses import dataclass
from typing import Iterator, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor
from whisper.audio import TOKENS_PER_SECOND
from whisper.tokenizer import Tokenizer

from recognizer.decoder import TORN, FastDecoder
from recognizer.request import TimedWord

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
    said, n_before = _said(tokenizer, prefix, tokens)
    asked = range(n_before, n_before + len(tokens))
    logprobs, scores = decoder.read_back(said.to(decoder.device), asked, tokenizer.eot)
    return Aligned(_starts_s(decoder, scores, n_before - len(prefix), duration_s)[len(prefix) :], logprobs.tolist())


def starts_s(
    decoder: FastDecoder, tokenizer: Tokenizer, prefix: Sequence[int], tokens: Sequence[int], duration_s: float
) -> List[float]:
    """As `align`, the times alone: that takes half as long."""
    said, n_before = _said(tokenizer, prefix, tokens)
    _, scores = decoder.follow(said.to(decoder.device), logits_from=len(said))
    return _starts_s(decoder, scores, n_before - len(prefix), duration_s)[len(prefix) :]


def _said(tokenizer: Tokenizer, prefix: Sequence[int], tokens: Sequence[int]) -> Tuple[Tensor, int]:
    """All tokens, and how many are before those of the text."""
    before = (*tokenizer.sot_sequence_including_notimestamps, *prefix)
    return torch.tensor([*before, *tokens, tokenizer.eot]), len(before)


def _starts_s(decoder: FastDecoder, scores: Tensor, n_before: int, duration_s: float) -> List[float]:
    """When each token from place `n_before` on begins, and the last ends; `scores` (n_heads, length, n_positions)."""
    n_positions = max(1, min(scores.shape[-1], math.ceil(duration_s * TOKENS_PER_SECOND)))
    listening = decoder.listening(scores, n_positions, n_before - 1, _LEAST_DEVIATION)
    first_positions = decoder.warp(-listening[:-1])
    return [min(position / TOKENS_PER_SECOND, duration_s) for position in first_positions]


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
    spelt: Sequence[Spelt], starts_s: Sequence[float], confidences: Sequence[float], end_s: float, offset_s: float
) -> Tuple[TimedWord, ...]:
    """Words with rising times up to `end_s`, counted from `offset_s`; `starts_s` as of Aligned."""
    words: List[TimedWord] = []
    before_s = 0.0
    for word, confidence in zip(spelt, confidences):
        start_s = min(max(starts_s[word.first], before_s), end_s)
        before_s = min(max(starts_s[word.last_letter + 1], start_s), end_s)
        words.append(TimedWord(word.text, start_s - offset_s, before_s - offset_s, confidence))
    return tuple(words)
