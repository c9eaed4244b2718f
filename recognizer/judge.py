"""Whether somebody said a text that Whisper is not sure of: what the rule of doubt.py needs from the models."""

import math
from typing import List, Sequence, cast

import torch
from whisper.tokenizer import Tokenizer

from recognizer.audio import Samples
from recognizer.doubt import at_speech_level, said, signs_of
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
    def said_log_odds(self, tokenizer: Tokenizer, tokens: Sequence[int], samples: Samples) -> float:
        """How much speaks for somebody having said it (`doubt.said`).

        `tokens` of the text, in the language of the tokenizer; the decoder listens to the 16 kHz `samples`.
        """
        tokens = [token for token in tokens if token < tokenizer.eot]
        if not tokens:
            return -math.inf
        logprobs = self._logprobs(tokenizer, tokens)
        heard = self._decoder.heard
        self._decoder.hear(self._silence)
        try:
            of_silence = self._logprobs(tokenizer, tokens)
        finally:
            self._decoder.hear(heard)
        speech = list(self._speech_detector.probabilities(torch.from_numpy(at_speech_level(samples))))
        return said(signs_of(tokenizer.decode(tokens), logprobs, of_silence, samples, speech))

    def _logprobs(self, tokenizer: Tokenizer, tokens: Sequence[int]) -> List[float]:
        begin = tokenizer.sot_sequence_including_notimestamps
        written = torch.tensor([*begin, *tokens], device=self._decoder.device)
        logprobs, _ = self._decoder.read_back(written, range(len(begin), len(written)))
        return cast(List[float], logprobs.tolist())
