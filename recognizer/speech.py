"""A second look at a finished segment, for whether somebody spoke.

WebRTC VAD opens a segment for a cough, a door, a chord; Whisper writes text for them. Silero VAD (the `silero-vad`
package, which carries its weights) knows the difference.
"""

from typing import Any, Iterator, Optional

import torch
from silero_vad import load_silero_vad
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from recognizer.audio import SAMPLE_RATE
from recognizer.doubt import FRAME_SAMPLES

_SPEECH_PROBABILITY = 0.5  # Silero's own threshold
_SPEECH_SAMPLES = 0.1 * SAMPLE_RATE
_FRAMES_AT_ONCE = 64  # one by one they take ten times as long; nobody minds the few behind what was looked for


class SpeechDetector:
    """Silero VAD over whole segments; keeps nothing from one to the next."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        self._model = _ManyFrames()  # loading sets torch's threads to one for the whole process
        torch.set_num_threads(threads)

    @torch.inference_mode()
    def hears_speech(self, samples: Tensor) -> bool:
        """Whether a tenth of a second of 16 kHz `samples` sounds like speech; looks two seconds further at most."""
        speech_samples = 0
        for probability in self.probabilities(samples):
            if probability > _SPEECH_PROBABILITY:
                speech_samples += FRAME_SAMPLES
            if speech_samples >= _SPEECH_SAMPLES:
                return True
        return False

    @torch.inference_mode()
    def probabilities(self, samples: Tensor) -> Iterator[float]:
        """Of speech in each frame of 16 kHz `samples`; at least one."""
        for part in self._model.remembered(samples):
            yield from self._model.probabilities(part).tolist()

    @torch.inference_mode()
    def remembered(self, samples: Tensor) -> Tensor:
        """What the network remembers at each frame of 16 kHz `samples`: (n_frames, 128); at least one."""
        return torch.cat(list(self._model.remembered(samples)))


class _ManyFrames:
    """The network of silero-vad 6.2 for 16 kHz; only what remembers goes through frames one by one.

    Its package runs all of it for each frame. Both give the same, but for the last digits.
    """

    def __init__(self) -> None:
        network = load_silero_vad()._model
        self._context_samples = network.context_size_samples
        self._padding = network.stft.padding.padding
        # Real parts of a Fourier transform, then imaginary ones.
        self._spectrum = _Convolution(network.stft.forward_basis_buffer, None, network.stft.hop_length)
        self._features = [_Convolution.of(block.reparam_conv) for block in network.encoder.children()]
        cell = network.decoder.rnn
        self._memory = nn.LSTM(cell.weight_ih.shape[1], cell.weight_hh.shape[1])
        self._memory.load_state_dict({f"{name}_l0": weight for name, weight in cell.state_dict().items()})
        self._last = _Convolution.of(list(network.decoder.decoder.children())[2])

    def remembered(self, samples: Tensor) -> Iterator[Tensor]:
        """16 kHz samples → what is remembered at so many frames at once, (n, 128) each."""
        frame, context = FRAME_SAMPLES, self._context_samples
        rest = max(frame - len(samples), -len(samples) % frame)
        waves = pad(samples, (context, rest)).unfold(0, context + frame, frame)
        memory = None
        for part in torch.split(waves, _FRAMES_AT_ONCE):
            heard, memory = self._memory(self._heard(part), memory)
            yield heard[:, 0]

    def probabilities(self, remembered: Tensor) -> Tensor:
        """Of speech at frames of which this is remembered, (n, 128) → (n,)."""
        return self._last(remembered[:, None].relu()).sigmoid().flatten()

    def _heard(self, waves: Tensor) -> Tensor:
        """Of frames with their context, (n, samples): (n, 1, features)."""
        padded = pad(waves, self._padding, mode="reflect").unsqueeze(2)
        real, imaginary = self._spectrum(padded).chunk(2, dim=2)
        heard = (real**2 + imaginary**2).sqrt()
        for one in self._features:
            heard = one(heard).relu()
        return heard


class _Convolution:
    """(n, times, channels) → the same, by a product of matrices: another number of frames costs no preparation."""

    def __init__(self, weight: Tensor, bias: Optional[Tensor], stride: int, padding: int = 0) -> None:
        self._weight = weight.detach().flatten(1).clone()
        self._bias = None if bias is None else bias.detach()
        self._width, self._stride, self._padding = weight.shape[2], stride, padding

    @classmethod
    def of(cls, module: Any) -> "_Convolution":
        """The same as torch's."""
        return cls(module.weight, module.bias, module.stride[0], module.padding[0])

    def __call__(self, heard: Tensor) -> Tensor:
        windows = pad(heard, (0, 0, self._padding, self._padding)).unfold(1, self._width, self._stride)
        return linear(windows.flatten(2).contiguous(), self._weight, self._bias)
