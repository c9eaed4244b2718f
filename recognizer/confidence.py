"""How likely a word is right, from what the decoder made of its tokens."""

import math
from typing import Sequence

# Fitted to half of the recordings and checked on the other half (`python -m bench.confidence`, docs/benchmarks.md):
# a word is right more often than its least likely token is likely.
ODDS = 2.9


def word_confidence(logprobs: Sequence[float]) -> float:
    """Of a word whose tokens have these log-probabilities, 0 to 1: the odds of the least likely, times ODDS."""
    least = math.exp(min(0.0, *logprobs))
    return ODDS * least / (1 + (ODDS - 1) * least)
