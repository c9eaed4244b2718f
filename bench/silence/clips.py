"""Short answers: single words cut out where they are said, soft, and as a telephone passes them on. Pure."""

from typing import Iterable, List, NamedTuple

import numpy as np

from bench.live.compare import Piece
from bench.speech import segments, to_pcm
from bench.telephone import wire
from recognizer.audio import SAMPLE_RATE, Samples

_MARGIN_S = 0.04  # of sound at each side of a word: its measured times are a few frames off
_FADE_S = 0.01
_BEFORE_S, _BEHIND_S = 0.4, 1.0  # of next to nothing: the end of an utterance is 480 ms of it
_FLOOR_DB = -75.0  # of that, under full scale
_SHORTEST_S, _LONGEST_S = 0.15, 0.8  # of a word that may be an answer


class Condition(NamedTuple):
    """How sound arrives: so much softer than it was recorded, maybe by telephone."""

    level_db: float
    by_telephone: bool

    def __str__(self) -> str:
        return f"{self.level_db:g} dB{', telephone' if self.by_telephone else ''}"


CONDITIONS = [
    *(Condition(level_db, by_telephone=False) for level_db in (0.0, -20.0, -30.0, -40.0)),
    *(Condition(level_db, by_telephone=True) for level_db in (0.0, -20.0, -30.0)),
]


def answers(words: Iterable[Piece]) -> List[Piece]:
    """Those that last as long as an answer of one word."""
    return [word for word in words if _SHORTEST_S <= word.end_s - word.start_s <= _LONGEST_S]


def alone(samples: Samples, word: Piece) -> Samples:
    """A word of 16 kHz `samples` with next to nothing around it."""
    first, last = round((word.start_s - _MARGIN_S) * SAMPLE_RATE), round((word.end_s + _MARGIN_S) * SAMPLE_RATE)
    cut = samples[max(0, first) : last]
    edge = min(len(cut) // 2, round(_FADE_S * SAMPLE_RATE))
    shape = np.ones(len(cut), np.float32)
    shape[:edge] = np.linspace(0, 1, edge)
    shape[len(cut) - edge :] = np.linspace(1, 0, edge)
    around = [np.zeros(round(time_s * SAMPLE_RATE), np.float32) for time_s in (_BEFORE_S, _BEHIND_S)]
    return np.concatenate((around[0], cut * shape, around[1]))


def arrives(samples: Samples, condition: Condition) -> List[Samples]:
    """What the server would cut 16 kHz `samples` into that arrive so."""
    scaled = samples * np.float32(10 ** (condition.level_db / 20))
    scaled = scaled + np.random.default_rng(0).normal(0, 10 ** (_FLOOR_DB / 20), len(scaled)).astype(np.float32)
    if condition.by_telephone:
        return segments(wire.through(scaled), wire.RATE, wire.ENCODING)
    return segments(to_pcm(scaled))
