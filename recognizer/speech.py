"""A second look at a finished segment, for whether somebody spoke.

WebRTC VAD opens a segment for a cough, a door, a chord; Whisper writes text for them. Silero VAD (the `silero-vad`
package, which carries its weights) knows the difference.
"""

import torch
from silero_vad import load_silero_vad
from torch import Tensor

from recognizer.audio import SAMPLE_RATE

_FRAME_S = 512 / SAMPLE_RATE  # of Silero VAD at 16 kHz
_SPEECH_PROBABILITY = 0.5  # Silero's own threshold
_SPEECH_S = 0.1


class SpeechDetector:
    """Silero VAD over whole segments; keeps nothing from one to the next."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        self._model = load_silero_vad()  # sets torch's threads to one for the whole process
        torch.set_num_threads(threads)

    def hears_speech(self, samples: Tensor) -> bool:
        """Whether a tenth of a second of 16 kHz `samples` sounds like speech."""
        probabilities = self._model.audio_forward(samples[None], SAMPLE_RATE)[0]
        return float((probabilities > _SPEECH_PROBABILITY).sum()) * _FRAME_S >= _SPEECH_S
