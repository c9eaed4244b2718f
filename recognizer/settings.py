"""What to recognise with, as the configuration names it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RecognizerSettings:
    """What to recognise with, and how.

    Attributes:
        size: one of `recognizer.catalog.MODEL_NAMES`, or a path to weights.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        beam_size: hypotheses kept at temperature 0; 1 decodes greedily.
        compute: `float32`, `bfloat16`, `int8`, or `auto` for what is fastest here (precision.py).
        window: `full` for always 30 s, or `auto` for as much as the speech needs (windows.py).
        compiled: `auto` for compiled matrices of int8 where they can be had (compiled/), or `off`.
    """

    size: str = "base"
    device: str = "auto"
    beam_size: int = 5
    compute: str = "auto"
    window: str = "auto"
    compiled: str = "auto"
