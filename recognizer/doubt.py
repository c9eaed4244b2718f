"""Whether somebody said a text that Whisper is not sure of: four signs, and one straight line between them. Pure.

Whisper writes what it hears of a sigh, a sneeze or a yawn like an answer of one word, and is as sure of it. Speech

- has a text that is likelier of its sound than of silence: what Whisper writes of silence just as well was not heard
  (the pointwise mutual information of both, as Li et al., "A Diversity-Promoting Objective Function", 2016, rank by);
- sounds like speech to Silero VAD for as long as it is loud, not for a moment of it;
- has as many syllables as its time takes;
- moves: the mouth changes the spectrum from one moment to the next (spectral flux).

None of them knows how loud the sound is, or which words there are. By telephone speech and noise have less of all of
them, so the line lies elsewhere there.
"""

import functools
import math
import re
from typing import NamedTuple, Sequence

import numpy as np
import numpy.typing as npt
import whisper

from recognizer.audio import SAMPLE_RATE, Samples

FRAME_SAMPLES = 512  # of Silero VAD at 16 kHz

# Fitted by logistic regression to one half of the speakers, checked with the others (docs/benchmarks.md, "Silence").
_WEIGHTS = (0.5, 5.7, 0.5, 0.5)
_OFFSET = -8.0
_NARROW_OFFSET = -7.0  # by telephone everything sounds less like speech to Silero VAD, noise as well
_SURELY_HEARD = 25.0  # in all: a sentence. Of 36 minutes of sound in which nobody speaks, the most was 21.6

_SPEECH_LEVEL = 10 ** (-23 / 20)  # root mean square; about what recordings of speech have
_LOUD_DB = 20.0  # as far below its loudest frame a frame still belongs to the sound
_FLOOR = 1e-6  # of the loudest band's power: what lies below is not heard beside it
_LEAST_POWER = 1e-30  # where there is none
_WINDOW_SAMPLES, _HOP_SAMPLES = 400, 160  # of the spectrum, as Whisper's
_FRAMES_AT_ONCE = 64  # whose spectra are there: of a long utterance they would be tens of megabytes
_BANDS, _EACH_OF = 20, 4  # of Whisper's 80: coarser than what a voice's pitch moves
_HIGH_BANDS = 3  # the last ones, above 4.8 kHz
_NARROW = 1e-9  # of all power: less is there of what had 8 kHz (4e-11 and less), more of what has 16 (1e-7 and more)
_ROUNDED = 2**-30 / 12  # power of what rounding to 16 bits adds (Bennett, "Spectra of Quantized Signals", 1948)
_APART_FRAMES = 5  # 50 ms: a sound of speech
_LEAST_SYLLABLES_PER_S = 0.2
_SYLLABLE = re.compile(r"[\d\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # one sign each
_LETTERS_OF_A_SYLLABLE = 2.5  # in alphabets


class Signs(NamedTuple):
    """What tells whether a text was said.

    Attributes:
        heard: natural logarithm of how much likelier a token is of the sound than of silence, on average.
        heard_in_all: the same of all tokens together.
        speech_share: what Silero VAD takes for speech of what is loud, 0 to 1.
        syllables_per_s: of the text, in what is loud.
        movement: of the spectrum within 50 ms, natural logarithms of power.
        narrow: it has come by telephone: nothing is above 4 kHz.
    """

    heard: float
    heard_in_all: float
    speech_share: float
    syllables_per_s: float
    movement: float
    narrow: bool


def signs_of(
    text: str, logprobs: Sequence[float], of_silence: Sequence[float], samples: Samples, speech: Sequence[float]
) -> Signs:
    """The signs of a text and its 16 kHz `samples`.

    `logprobs`: of its tokens, at least one, and `of_silence` the same where nothing is heard; `speech`: what Silero VAD
    says of each frame at the level of speech.
    """
    loud = loud_frames(samples)
    loud_s = FRAME_SAMPLES / SAMPLE_RATE * int(loud.sum())
    heard = np.subtract(logprobs, of_silence)
    bands = loud_bands(samples)
    return Signs(
        float(heard.mean()),
        float(heard.sum()),
        float(np.asarray(speech)[loud].mean()),
        syllables(text) / loud_s,
        movement(bands),
        is_narrow(bands),
    )


def said(signs: Signs) -> float:
    """How much speaks for somebody having said it: natural logarithm of the odds; above 0 it counts as said."""
    rate = math.log(max(_LEAST_SYLLABLES_PER_S, signs.syllables_per_s))
    values = (signs.heard, signs.speech_share, rate, signs.movement)
    by_all = (_NARROW_OFFSET if signs.narrow else _OFFSET) + sum(
        weight * value for weight, value in zip(_WEIGHTS, values)
    )
    return max(by_all, signs.heard_in_all - _SURELY_HEARD)


def loud_frames(samples: Samples) -> npt.NDArray[np.bool_]:
    """Which frames of Silero VAD belong to the sound; at least one does."""
    return _near_the_loudest(_frame_power(samples))


def at_speech_level(samples: Samples) -> Samples:
    """16 kHz samples, their loud part as loud as speech mostly is: Silero VAD takes soft speech for none."""
    power = _frame_power(samples)
    level = float(np.sqrt(power[_near_the_loudest(power)].mean()))
    if level == 0:
        return samples
    return np.asarray((samples * (_SPEECH_LEVEL / level)).clip(-1, 1), np.float32)


def loud_bands(samples: Samples) -> npt.NDArray[np.float64]:
    """Power in each of 20 bands of 16 kHz samples (n_frames, 20), in frames of 25 ms that belong to the sound."""
    padded = np.pad(samples, (0, max(0, _WINDOW_SAMPLES - len(samples)))).astype(np.float64)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_SAMPLES)[::_HOP_SAMPLES]
    frames = frames[_near_the_loudest(np.einsum("ij,ij->i", frames, frames) / _WINDOW_SAMPLES)]
    window, filters = np.hanning(_WINDOW_SAMPLES), _filters().T
    parts = np.array_split(frames, -(-len(frames) // _FRAMES_AT_ONCE))
    return np.concatenate([np.abs(np.fft.rfft(part * window)) ** 2 @ filters for part in parts])


def movement(bands: npt.NDArray[np.float64]) -> float:
    """How much the shape of the spectrum changes within 50 ms, on average over what is loud; 0 for less than that."""
    logarithms = np.log(bands + bands.max() * _FLOOR + _LEAST_POWER)
    shape = logarithms - logarithms.mean(axis=1, keepdims=True)
    if len(shape) <= _APART_FRAMES:
        return 0.0
    return float(np.abs(shape[_APART_FRAMES:] - shape[:-_APART_FRAMES]).mean())


def is_narrow(bands: npt.NDArray[np.float64]) -> bool:
    """Whether the sound had 8 kHz once, even if it has been rounded to 16 bits since; digital silence had not."""
    high, rounded = bands[:, -_HIGH_BANDS:], _rounded_bands()[-_HIGH_BANDS:]
    return bool(bands.any() and high.sum() < _NARROW * bands.sum() + 2 * len(bands) * rounded.sum())


def syllables(text: str) -> float:
    """About how many there are: a letter of Korean, Chinese or Japanese or a digit is one, others share one."""
    whole = len(_SYLLABLE.findall(text))
    return whole + (sum(map(str.isalnum, text)) - whole) / _LETTERS_OF_A_SYLLABLE


def _frame_power(samples: Samples) -> npt.NDArray[np.float64]:
    n_frames = max(1, math.ceil(len(samples) / FRAME_SAMPLES))
    padded = np.pad(samples, (0, n_frames * FRAME_SAMPLES - len(samples)))
    return np.asarray((padded.reshape(n_frames, FRAME_SAMPLES).astype(np.float64) ** 2).mean(axis=1))


def _near_the_loudest(power: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.asarray(power >= power.max() * 10 ** (-_LOUD_DB / 10))


@functools.lru_cache(maxsize=None)
def _rounded_bands() -> npt.NDArray[np.float64]:
    """What rounding to 16 bits adds to each band of a frame."""
    return np.asarray(_ROUNDED * (np.hanning(_WINDOW_SAMPLES) ** 2).sum() * _filters().sum(axis=1))


@functools.lru_cache(maxsize=None)
def _filters() -> npt.NDArray[np.float64]:
    filters = whisper.audio.mel_filters("cpu", _BANDS * _EACH_OF).numpy().astype(np.float64)
    return np.asarray(filters.reshape(_BANDS, _EACH_OF, -1).sum(axis=1))
