"""Log-mel of sound, on the device where the sound is: nothing is fetched from the host, so that it can be captured.

The same numbers as `whisper.log_mel_spectrogram`, which brings its window from the host at each call.
"""

from functools import lru_cache

import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

RANGE = 8.0  # in powers of ten below the loudest: what is less counts as that
_LEAST = 1e-10


def log_power(samples: Tensor, n_mels: int) -> Tensor:
    """Power in each band, as a power of ten: 16 kHz samples (n,) → (n_mels, n / 160)."""
    stft = torch.stft(samples, N_FFT, HOP_LENGTH, window=_window(samples.device), return_complex=True)[..., :-1]
    filters: Tensor = mel_filters(samples.device, n_mels)
    return (filters @ stft.abs() ** 2).clamp(min=_LEAST).log10()


def log_mel(samples: Tensor, n_mels: int) -> Tensor:
    """What the encoder takes: 16 kHz samples (n,) → (n_mels, n / 160)."""
    power = log_power(samples, n_mels)
    return (torch.maximum(power, power.max() - RANGE) + 4.0) / 4.0


@lru_cache(maxsize=None)
def _window(device: torch.device) -> Tensor:
    return torch.hann_window(N_FFT, device=device)
