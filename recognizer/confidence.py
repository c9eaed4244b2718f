"""How likely a word is right, from what the decoder made of its tokens."""

import math
from typing import Sequence


def word_confidence(logprobs: Sequence[float]) -> float:
    """Of a word whose tokens have these log-probabilities, 0 to 1."""
    return math.exp(sum(logprobs) / len(logprobs))
