"""A second look at a finished segment, for whether somebody spoke.

WebRTC VAD opens a segment for a cough, a door, a chord; Whisper writes text for them. Silero VAD (the `silero-vad`
package, which carries its weights) knows the difference.
"""

from typing import Iterator

import torch
from silero_vad import load_silero_vad
from torch import Tensor
from torch.nn.functional import pad

from recognizer.audio import SAMPLE_RATE
from recognizer.doubt import FRAME_SAMPLES

_SPEECH_PROBABILITY = 0.5  # Silero's own threshold
_SPEECH_SAMPLES = 0.1 * SAMPLE_RATE


class SpeechDetector:
    """Silero VAD over whole segments; keeps nothing from one to the next."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        self._model = load_silero_vad()  # sets torch's threads to one for the whole process
        torch.set_num_threads(threads)

    @torch.inference_mode()
    def hears_speech(self, samples: Tensor) -> bool:
        """Whether a tenth of a second of 16 kHz `samples` sounds like speech; looks no further than that."""
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
        self._model.reset_states()
        for frame in torch.split(samples, FRAME_SAMPLES):
            yield float(self._model(pad(frame, (0, FRAME_SAMPLES - len(frame))), SAMPLE_RATE))
