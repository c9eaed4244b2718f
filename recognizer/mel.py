"""Log-mel of sound, on the device where the sound is: nothing is fetched from the host, so that it can be captured.

As `whisper.log_mel_spectrogram`, which takes several times the memory of the sound, and brings its window from the host
at each call.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

_PIECE = 256  # frames: what is made of them stays in a processor's cache, and takes no memory for all of a sound
RANGE = 8.0  # in powers of ten below the loudest: what is less counts as that
_LEAST = 1e-10


def log_power(samples: Tensor, n_mels: int) -> Tensor:
    """Power in each band, as a power of ten: 16 kHz samples (n,) → (n_mels, n / 160)."""
    window, filters = _window(samples.device), mel_filters(samples.device, n_mels)
    sound = pad(samples[None], (N_FFT // 2, N_FFT // 2), mode="reflect")[0]
    frames = sound.unfold(0, N_FFT, HOP_LENGTH)[: len(samples) // HOP_LENGTH]
    power = samples.new_empty(n_mels, len(frames))
    together = _PIECE if samples.device.type == "cpu" else max(1, len(frames))
    for first in range(0, len(frames), together):
        spectrum = torch.view_as_real(torch.fft.rfft(frames[first : first + together] * window))
        power[:, first : first + together] = (spectrum.square().sum(-1) @ filters.T).T
    return power.clamp(min=_LEAST).log10()


def log_mel(samples: Tensor, n_mels: int) -> Tensor:
    """What the encoder takes: 16 kHz samples (n,) → (n_mels, n / 160)."""
    power = log_power(samples, n_mels)
    return (torch.maximum(power, power.max() - RANGE) + 4.0) / 4.0


@lru_cache(maxsize=None)
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(N_FFT, device=device)
