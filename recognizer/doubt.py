"""Whether somebody said a text that Whisper is not sure of: two signs, and one straight line between them. Pure.

Whisper writes what it hears of a sigh, a sneeze or a yawn like an answer of one word, and is as sure of it. Speech

- has a text that is likelier of its sound than of silence: what Whisper writes of silence just as well was not heard
  (the pointwise mutual information of both, as Li et al., "A Diversity-Promoting Objective Function", 2016, rank by);
- leaves other traces in what Silero VAD remembers than a sigh: it has learnt to tell where a voice is, and remembers
  far more of it than the one number that it says (a linear probe, as Alain and Bengio, "Understanding intermediate
  layers using linear classifier probes", 2016).

Neither knows how loud the sound is, or which words there are.
"""

import math
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from recognizer.audio import Samples
from recognizer.voice import HEARD, OFFSET, VOICE

FRAME_SAMPLES = 512  # of Silero VAD at 16 kHz

_SURELY_HEARD = 25.0  # in all: a sentence. Of 75 minutes of sound in which nobody speaks, the most was 20.9

_SPEECH_LEVEL = 10 ** (-23 / 20)  # root mean square; about what recordings of speech have
_ROOM_LEVEL = 10 ** (-50 / 20)  # of noise that is laid over it, so that digital silence around a sound tells nothing
_LOUD_DB = 20.0  # as far below its loudest frame a frame still belongs to the sound


class Signs(NamedTuple):
    """What tells whether a text was said.

    Attributes:
        heard: natural logarithm of how much likelier a token is of the sound than of silence, on average.
        heard_in_all: the same of all tokens together.
        remembered: what Silero VAD remembers, on average over what is loud; as many numbers as `voice.VOICE` has.
    """

    heard: float
    heard_in_all: float
    remembered: Tuple[float, ...]


def signs_of(
    logprobs: Sequence[float], of_silence: Sequence[float], samples: Samples, remembered: npt.NDArray[np.float32]
) -> Signs:
    """The signs of a text and its 16 kHz `samples`.

    `logprobs`: of its tokens, at least one, and `of_silence` the same where nothing is heard; `remembered` (n_frames,
    n): by Silero VAD at each frame of `at_speech_level`.
    """
    heard = np.subtract(logprobs, of_silence)
    loud = remembered[loud_frames(samples)].mean(axis=0)
    return Signs(float(heard.mean()), float(heard.sum()), tuple(loud.tolist()))


def said(signs: Signs) -> float:
    """How much speaks for somebody having said it: natural logarithm of the odds; above 0 it counts as said."""
    voice = math.fsum(weight * number for weight, number in zip(VOICE, signs.remembered))
    return max(OFFSET + HEARD * signs.heard + voice, signs.heard_in_all - _SURELY_HEARD)


def is_said(signs: Optional[Signs]) -> bool:
    """Whether a text counts as said; without signs there is none."""
    return signs is not None and said(signs) > 0


def loud_frames(samples: Samples) -> npt.NDArray[np.bool_]:
    """Which frames of Silero VAD belong to the sound; at least one does."""
    return _near_the_loudest(_frame_power(samples))


def at_speech_level(samples: Samples) -> Samples:
    """16 kHz samples, their loud part as loud as speech mostly is, in a room that is not quite quiet.

    Silero VAD takes soft speech for none.
    """
    power = _frame_power(samples)
    level = float(np.sqrt(power[_near_the_loudest(power)].mean()))
    scaled = samples * (_SPEECH_LEVEL / level) if level else samples
    room = np.random.default_rng(0).standard_normal(len(samples), np.float32)
    return np.asarray((scaled + _ROOM_LEVEL * room).clip(-1, 1), np.float32)


def _frame_power(samples: Samples) -> npt.NDArray[np.float64]:
    n_frames = max(1, math.ceil(len(samples) / FRAME_SAMPLES))
    padded = np.pad(samples, (0, n_frames * FRAME_SAMPLES - len(samples)))
    return np.asarray((padded.reshape(n_frames, FRAME_SAMPLES).astype(np.float64) ** 2).mean(axis=1))


def _near_the_loudest(power: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(power >= power.max() * 10 ** (-_LOUD_DB / 10))
