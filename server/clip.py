"""A sound that is built in: three vowels of a voice that nobody has, 16-bit mono PCM. Pure."""

import math
from array import array
from typing import List, Sequence

SAMPLE_RATE = 16000
_PERIOD = 128  # samples: a voice of 125 Hz
_VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240))  # formants of a, i, u (Peterson and Barney, 1952)
_VOWEL_PERIODS = 40
_GLIDE_PERIODS = 8
_BANDWIDTH_HZ = 90.0
_LOUDEST = 12000


def vowels() -> bytes:
    """About a second of voiced sound."""
    periods = [_period(formants_hz) for formants_hz in _VOWELS_HZ]
    sound = array("h")
    for number, period in enumerate(periods):
        after = periods[min(number + 1, len(periods) - 1)]
        for step in range(_VOWEL_PERIODS):
            share = max(0.0, (step + 1 - (_VOWEL_PERIODS - _GLIDE_PERIODS)) / _GLIDE_PERIODS)
            sound.extend(round(_LOUDEST * ((1 - share) * one + share * other)) for one, other in zip(period, after))
    return sound.tobytes()


def _period(formants_hz: Sequence[int]) -> List[float]:
    """One period of a vowel, from -1 to 1: the harmonics that its formants let through."""
    samples = [0.0] * _PERIOD
    for harmonic in range(1, _PERIOD // 4):
        hz = harmonic * SAMPLE_RATE / _PERIOD
        loudness = sum(1 / (1 + ((hz - formant) / _BANDWIDTH_HZ) ** 2) for formant in formants_hz) / math.sqrt(harmonic)
        for n in range(_PERIOD):
            samples[n] += loudness * math.sin(2 * math.pi * harmonic * n / _PERIOD)
    loudest = max(map(abs, samples))
    return [sample / loudest for sample in samples]
