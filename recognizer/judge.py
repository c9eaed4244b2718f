"""Whether somebody said a text that Whisper is not sure of: what the rule of doubt.py needs from the models."""

from typing import List, Optional, Sequence, cast

import torch
from whisper.tokenizer import Tokenizer

from recognizer.audio import Samples
from recognizer.doubt import Signs, at_speech_level, signs_of
from recognizer.network import Network
from recognizer.speech import SpeechDetector


class Judge:
    """Asks what the decoder would write of silence, and Silero VAD.

    Args:
        network: what its decoder listens to stays as it is. It is asked with shapes as they come, also where decoding
            has fixed ones: once for a doubtful text, not once for each token.
        silence_samples: of digital silence that a text is compared with.
        speech_detector: looks at the sound.
    """

    @torch.inference_mode()
    def __init__(self, network: Network, silence_samples: int, speech_detector: SpeechDetector) -> None:
        self._decoder = network.decoder
        self._speech_detector = speech_detector
        before = self._decoder.heard
        network.listen_freely(torch.zeros(silence_samples), silence_samples)
        self._silence = self._decoder.heard
        self._decoder.hear(before)

    @torch.inference_mode()
    def signs(self, tokenizer: Tokenizer, tokens: Sequence[int], samples: Samples) -> Optional[Signs]:
        """Of `tokens`, a text in the language of the tokenizer; None where they are no text.

        The decoder listens to the 16 kHz `samples`.
        """
        tokens = [token for token in tokens if token < tokenizer.eot]
        if not tokens:
            return None
        logprobs = self._logprobs(tokenizer, tokens)
        heard = self._decoder.heard
        self._decoder.hear(self._silence)
        try:
            of_silence = self._logprobs(tokenizer, tokens)
        finally:
            self._decoder.hear(heard)
        remembered = self._speech_detector.remembered(torch.from_numpy(at_speech_level(samples)))
        return signs_of(logprobs, of_silence, samples, remembered.numpy())

    def _logprobs(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> List[float]:
        begin = tokenizer.sot_sequence_including_notimestamps
        written = torch.tensor([*begin, *tokens], device=self._decoder.device)
        logprobs, _ = self._decoder.read_back(written, range(len(begin), len(written)))
        return cast(List[float], logprobs.tolist())
