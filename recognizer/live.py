"""What is being said, while it is being said: an open utterance → text that stays, and text that may change.

A look at the utterance (`tick`) goes on from the text that is stable: the decoder is forced through it, then writes
for as long as its attention is on sound that is there (Papi et al., "AlignAtt", 2023). stability.py says which of the
words stay. Where a word stays doubtful, the whole sound is looked at closely now and then.
"""

import logging
from dataclasses import dataclass
from typing import Any, Callable, List, NamedTuple, Optional

import torch
from whisper.decoding import DecodingOptions
from whisper.utils import compression_ratio

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.look import Look, Looker
from recognizer.hearing import GrowingSound
from recognizer.stability import *


class Partial(NamedTuple):
    """The text of an open utterance. `stable` is a beginning of every later one of the same utterance."""

    stable: str
    unstable: str


@dataclass
class Params:
    guard_s: float = 2.0
    margin_s: float = 1.0
    rules: StabilityRules = RULES
    show_logprob: float = -1.0
    stall_s: float = 1.0
    closely_s: float = 1.0
    settle_strip: bool = True


class LiveText:
    def __init__(self, recognizer: Any, params: Params = Params()) -> None:
        self._r = recognizer
        self._p = params
        self.n_close = 0
        self._cancelled: Callable[[], bool] = lambda: False

    def begin(self, language: str, task: str = "transcribe", prompt: str = "") -> None:
        options = DecodingOptions(
            task=task, language=language, prompt=prompt or None, without_timestamps=True, fp16=False
        )
        self._looker = Looker(self._r._model, self._r._decoder, options, 5, self._check)
        self._sound = GrowingSound(self._r._encoder, self._r._decoder, self._p.guard_s, self._p.margin_s)
        self._stable_tokens: List[int] = []
        self._stable = ""
        self._seen: List[Seen] = []
        self._rest: List[HeardWord] = []
        self._speech = False
        self._looked_closely_s = 0.0

    def _check(self) -> None:
        from recognizer.recognizer import Cancelled
        if self._cancelled():
            raise Cancelled

    @torch.inference_mode()
    def tick(self, samples: Samples, cancelled: Callable[[], bool] = lambda: False, until_s: Optional[float] = None) -> Partial:
        self._cancelled = cancelled
        sound_s = len(samples) / SAMPLE_RATE
        heard = torch.from_numpy(samples)
        if not self._speech:
            self._speech = self._r._speech_detector.hears_speech(heard)
            if not self._speech:
                return Partial("", "")
        latest_s = sound_s - self._p.rules.horizon_s
        if until_s is not None:
            latest_s = min(latest_s, until_s)
        closely = self._is_stalled(sound_s, latest_s)
        if closely:
            self._sound.forget()
            self._looked_closely_s = sound_s
            self.n_close += 1
        self._sound.extend(heard, self._check)
        if closely:
            look = self._looker.closely(self._sound, self._stable_tokens)
        else:
            look = self._looker.quickly(self._sound, self._stable_tokens, [token.token for word in self._rest for token in word.tokens])
        self.look = look
        if not self._stable and (look.avg_logprob < self._p.show_logprob or not look.words):
            self._rest, self._seen = list(look.words), []
            return Partial("", "")
        times = times_seen(look.words, self._seen)
        n = count_stable(look.words, times, latest_s, closely, self._p.rules)
        for word in look.words[:n]:
            self._stable_tokens += [token.token for token in word.tokens]
            self._stable = (self._stable + word.text) if self._stable else word.text.lstrip()
        self._rest = list(look.words[n:])
        self._seen = remembered(self._rest, times[n:])
        return self._partial()

    def _is_stalled(self, sound_s: float, latest_s: float) -> bool:
        if not self._rest or sound_s - self._looked_closely_s < self._p.closely_s:
            return False
        w = next((w for w in self._rest if spoken(w.text)), None)
        return w is not None and w.complete and w.end_s < min(latest_s, sound_s - self._p.stall_s)

    def _partial(self) -> Partial:
        words = self._rest
        while words and self._stable and not spoken(words[0].text):
            words = words[1:]
        return Partial(self._stable, "".join(word.text for word in words).strip())

    def settle(self, text: str) -> Partial:
        rest = continuation(self._stable, text)
        if rest is not None:
            if self._p.settle_strip:
                rest = without_end_marks(rest)
            if rest and not self._stable:
                rest = " " + rest
            self._stable_tokens += self._looker.tokenizer.encode(rest)
            self._stable = (self._stable + rest).strip()
            self._rest, self._seen = [], []
        return self._partial()
