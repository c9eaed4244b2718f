"""How much sound the encoder sees of an utterance: as much as there is where that was measured, else what others take.

Whisper repeats sentences or writes on where its window ends soon after the speech. Two rules are known to hold:

- `PUBLISHED`, for any model: with 10 s at least and 2 s behind the speech nothing got worse (transcribe.cpp, pull
  request 149); with less, error rates rose from 3 to 80 % (futo-org/whisper-acft);
- `SHORT`, behind which the encoder hears learnt silence (encoder.py). It was measured by the texts of recordings
  (docs/benchmarks.md), with the models that `_MEASURED` names.

Texts of another model cannot be foretold without recordings and somebody who has written down what they say. What can
be asked of any weights is whether learnt silence does to the encoder what it is for (`try_silence`). Weights that
mean nothing pass that, too: so it lets nobody in, and turns away only weights of a measured model's sizes to which such
silence is plainly of no use.
"""

import logging
import math
from typing import NamedTuple

import torch
from torch import Tensor
from whisper import ModelDimensions
from whisper.audio import N_SAMPLES

from recognizer.alignment import published_name
from recognizer.audio import SAMPLE_RATE
from recognizer.encoder import FastEncoder
from recognizer.mel import log_mel

_log = logging.getLogger(__name__)

_STEP_SAMPLES = SAMPLE_RATE // 2  # every new length costs the convolutions a plan that is kept

_MEASURED = ("base",)
# Measured (docs/benchmarks.md): base has 0.24 at most, silence of a wrong level 0.43 and more.
_MOST_LEFT = 0.4

_PITCH_HZ = 120
_HARMONICS = 30
_SYLLABLES_PER_S = 4


class Windows(NamedTuple):
    """The encoder sees so many seconds at least, and so many behind the sound, in such steps, and 30 s at most."""

    floor_s: float
    margin_s: float
    step_samples: int = _STEP_SAMPLES

    def samples(self, n_samples: int) -> int:
        """How many samples it sees of so many."""
        least = max(int(self.floor_s * SAMPLE_RATE), n_samples + int(self.margin_s * SAMPLE_RATE))
        return min(int(N_SAMPLES), -(-least // self.step_samples) * self.step_samples)

    def __str__(self) -> str:
        return f"{self.floor_s:g} s at least, {self.margin_s:g} s behind the sound"


SHORT = Windows(floor_s=2.0, margin_s=1.0)
PUBLISHED = Windows(floor_s=10.0, margin_s=2.0)


def choose_windows(encoder: FastEncoder, dims: ModelDimensions) -> None:
    """Let the encoder learn silence if it may have short windows (`windows_of`), and log what it may have and why."""
    name = published_name(dims)
    if name not in _MEASURED:
        _log.info("windows of the encoder: %s, as less was not measured for a model of these sizes", PUBLISHED)
        return
    left = try_silence(encoder)
    if left > _MOST_LEFT:
        encoder.forget_silence()
        message = "windows of the encoder: %s; the sizes are those of %s, but learnt silence leaves %.2f of a cut"
        _log.warning(message, PUBLISHED, name, left)
        return
    _log.info("windows of the encoder: %s, as measured for %s; learnt silence leaves %.2f of a cut", SHORT, name, left)


def windows_of(encoder: FastEncoder) -> Windows:
    """What an encoder may have, after `choose_windows`."""
    return SHORT if encoder.knows_silence else PUBLISHED


def try_silence(encoder: FastEncoder) -> float:
    """Let the encoder learn it; returns what it leaves of the difference that a cut makes, 1 where it is of no use.

    A second of something like a voice is encoded three times: in `SHORT`'s window with nothing behind it, and, with
    learnt silence, in that and in `PUBLISHED`'s. How far the first two are from the third is compared.
    """
    sound = _voice(encoder.positions.device)
    cut = _heard(encoder, sound, SHORT)
    encoder.learn_silence()
    short, reference = (_heard(encoder, sound, windows) for windows in (SHORT, PUBLISHED))
    return float((short - reference).norm() / (cut - reference).norm())


@torch.inference_mode()
def _heard(encoder: FastEncoder, sound: Tensor, windows: Windows) -> Tensor:
    """What the encoder makes of the part of the window in which the sound is."""
    weight = encoder.conv1.weight
    padded = torch.zeros(windows.samples(len(sound)), device=sound.device)
    padded[: len(sound)] = sound
    features = encoder(log_mel(padded, weight.shape[1]).to(weight.dtype))
    part: Tensor = features[: len(features) * len(sound) // len(padded)].float()
    return part


def _voice(device: torch.device) -> Tensor:
    """A second of a buzz that rises and falls."""
    time_s = torch.arange(SAMPLE_RATE, device=device) / SAMPLE_RATE
    turns = 2 * math.pi * time_s
    harmonic = torch.arange(1, _HARMONICS + 1, device=device)[:, None]
    buzz = (torch.sin(_PITCH_HZ * harmonic * turns) / harmonic).sum(0)
    return 0.1 * buzz * (0.5 - 0.5 * torch.cos(_SYLLABLES_PER_S * turns))
