"""The straight line of `recognizer.voice`, fitted to signs of texts that were said and of texts that nobody said. Pure.

Logistic regression by Newton's method, both classes as heavy as each other, and an L2 penalty on the weights of what
Silero VAD remembers (Hastie et al., "The Elements of Statistical Learning", 2009, section 4.4).
"""

import textwrap
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from recognizer.doubt import Signs

Numbers = npt.NDArray[np.float64]

_PENALTY = 50.0  # of standardised numbers; 10 to 300 were tried (docs/benchmarks.md, "Silence")
_STEPS = 60
_PRECISE = 1e-6


class Line(NamedTuple):
    """As `recognizer.voice` has it."""

    heard: float
    offset: float
    voice: Tuple[float, ...]

    def said(self, signs: Signs) -> float:
        """As `recognizer.doubt.said`, but for sentences."""
        return self.offset + self.heard * signs.heard + float(np.dot(self.voice, signs.remembered))


def fit(said: Sequence[Signs], unsaid: Sequence[Signs], n_most: int) -> Line:
    """Of what nobody said so many are above 0.

    Raises:
        ValueError: there are no texts of one side.
    """
    if not said or not unsaid:
        raise ValueError(
            "a line is fitted between doubtful texts that were said and such that were not: one side has none"
        )
    line = _between(said, unsaid)
    highest = sorted(map(line.said, unsaid), reverse=True)
    return line._replace(offset=line.offset - highest[n_most]) if n_most < len(unsaid) else line


def _between(said: Sequence[Signs], unsaid: Sequence[Signs]) -> Line:
    numbers = np.array([[one.heard, *one.remembered] for one in (*said, *unsaid)])
    mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    inputs = np.column_stack(((numbers - mean) / deviation, np.ones(len(numbers))))
    is_said = np.repeat([1.0, 0.0], [len(said), len(unsaid)])
    heavy = np.where(is_said, 0.5 / is_said.mean(), 0.5 / (1 - is_said.mean()))
    penalty = np.full(inputs.shape[1], _PENALTY)
    penalty[[0, -1]] = 1.0, 0.0  # what is heard is one strong number; the offset is free
    weights = _newton(inputs, is_said, heavy, penalty)
    slopes = weights[:-1] / deviation
    return Line(float(slopes[0]), float(weights[-1] - slopes @ mean), tuple(slopes[1:].tolist()))


def _newton(inputs: Numbers, is_said: Numbers, heavy: Numbers, penalty: Numbers) -> Numbers:
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        likely = 1 / (1 + np.exp(-(inputs @ weights).clip(-30, 30)))
        slope = inputs.T @ (heavy * (likely - is_said)) + penalty * weights
        bend = (inputs * (heavy * likely * (1 - likely))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights -= step
        if np.abs(step).max() < _PRECISE:
            break
    return weights


def written(line: Line) -> str:
    """As `recognizer/voice.py` has it."""
    numbers: List[str] = [f"{weight:.2f}" for weight in line.voice]
    voice = textwrap.fill(" ".join(numbers), 112, initial_indent="    ", subsequent_indent="    ")
    return f'HEARD, OFFSET = {line.heard:.2f}, {line.offset:.2f}\n\n_VOICE = """\n{voice}\n"""\n'
