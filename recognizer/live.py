"""What is being said, while it is being said: an open utterance → text that stays, and text that may change.

A look at the utterance (`LiveText.tick`) goes on from the text that is stable: the decoder is forced through it, then
writes for as long as its attention is on sound that is there (Papi et al., "AlignAtt", 2023). stability.py says which
of the words stay. Where a word stays doubtful, all of the sound is looked at closely now and then.
"""

from dataclasses import dataclass
from typing import Callable, List, NamedTuple, Optional

import torch
from torch import Tensor
from whisper.audio import N_SAMPLES
from whisper.decoding import DecodingOptions
from whisper.tokenizer import get_tokenizer
from whisper.utils import compression_ratio

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.catalog import AUTO_LANGUAGE
from recognizer.decoder import text_tokens
from recognizer.doubt import is_said
from recognizer.encoder import POSITION_SAMPLES
from recognizer.hearing import GrowingSound
from recognizer.look import Looker, spoken_language
from recognizer.plausibility import (
    COMPRESSION_RATIO_LIMIT,
    HOPELESS_LOGPROB,
    NO_SPEECH_LIMIT,
    SOUND_LOGPROB,
    is_one_sound,
    is_sure,
)
from recognizer.recognizer import Cancelled, Recognizer
from recognizer.request import Request
from recognizer.stability import (
    RULES,
    HeardWord,
    Look,
    Seen,
    StabilityRules,
    continuation,
    count_stable,
    heard_since,
    remembered,
    spoken,
    without_end_marks,
)
from recognizer.windows import PUBLISHED, Windows


class Partial(NamedTuple):
    """The text of an open utterance; both parts are empty where it may be noise.

    Attributes:
        stable: a beginning of every later one of the same utterance.
        unstable: what comes behind it so far; may change.
    """

    stable: str
    unstable: str


@dataclass(frozen=True)
class LiveRules:
    """How an open utterance is looked at; measured (docs/benchmarks.md).

    Attributes:
        guard_s: of sound that is encoded again at each look.
        margin_s: of silence that the decoder hears behind the sound: without it, it writes on. A model that may not
        have short windows hears more (windows.py).
        stall_s: a word that is older and still doubtful makes the next look a close one, or one that is older than
        hasty_stall_s: where others wait for their turn,
        closely_share: unless one was taken so short a time before: a part of the sound, as all of it is encoded again.
        sure_language: the least probability of a spoken language that is found out, or
        language_s: so much sound.
        stability: when a word is stable.
    """

    guard_s: float = 2.0
    margin_s: float = 1.0
    stall_s: float = 0.3
    hasty_stall_s: float = 1.5
    closely_share: float = 0.05
    sure_language: float = 0.8
    language_s: float = 3.0
    stability: StabilityRules = RULES


class LiveText:
    """One open utterance after the other. Results are recognised without it.

    Args:
        recognizer: whose encoder and decoder it uses, between utterances that are recognised.
        rules: how to look.
    """

    def __init__(self, recognizer: Recognizer, rules: LiveRules = LiveRules()) -> None:
        self._parts = recognizer.parts
        self._network = self._parts.network
        self._rules = rules
        model = self._network.model
        self._tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
        self._cancelled: Callable[[], bool] = lambda: False
        self.begin(Request(language="en"))

    def begin(self, request: Request) -> None:
        """Another utterance; of what was said before, only sound whose words belong to this one is heard."""
        self._request = request
        self._held = torch.zeros(0)
        if request.context is not None and request.context.held_s > 0:
            n_held = min(int(request.context.held_s * SAMPLE_RATE), len(request.context.samples))
            self._held = torch.from_numpy(request.context.samples[len(request.context.samples) - n_held :])
        self._looker: Optional[Looker] = None
        self._sound: Optional[GrowingSound] = None
        self._hears_speech = False
        self._looked_closely_s = 0.0
        self._stable = ""
        self._stable_tokens: List[int] = []
        self._rest: List[HeardWord] = []  # what the last look heard behind it
        self._seen: List[Seen] = []

    def clear(self) -> None:
        """Let go of what was heard and said: tens of megabytes, of somebody who has left."""
        self.begin(Request(language="en"))
        self._network.decoder.hear([])

    @torch.inference_mode()
    def tick(
        self,
        samples: Samples,
        cancelled: Callable[[], bool] = lambda: False,
        stable_until_s: Optional[float] = None,
        in_haste: bool = False,
    ) -> Partial:
        """Look at all 16 kHz samples of the utterance so far; what is longer than the encoder hears is not looked at.

        `stable_until_s`: words that end later, in seconds of the samples, do not become stable. `in_haste`: others wait
        for their turn to look. `cancelled` is asked before each layer of the encoder and each token.

        Raises:
            Cancelled: as soon as `cancelled()` is true; the next tick goes on where this one began.
        """
        self._cancelled = cancelled
        heard = torch.cat((self._held, torch.from_numpy(samples)))
        sound_s = len(heard) / SAMPLE_RATE
        if sound_s > N_SAMPLES / SAMPLE_RATE - self._rules.margin_s:
            return self._partial()
        self._hears_speech = self._hears_speech or self._parts.speech_detector.hears_speech(heard)
        if not self._hears_speech:
            return Partial("", "")
        latest_s = sound_s if stable_until_s is None else stable_until_s + len(self._held) / SAMPLE_RATE
        stall_s = self._rules.hasty_stall_s if in_haste and self._stable else self._rules.stall_s
        look = self._look(heard, closely=self._is_stalled(sound_s, min(latest_s, sound_s - stall_s)))
        if look is None:
            return Partial("", "")
        if not self._is_plausible(look, heard):
            self._rest, self._seen = [], []
        else:
            self._follow(look, sound_s, latest_s)
        return self._partial()

    def settle(self, text: str, language: str = "") -> Partial:
        """The utterance so far has been recognised, in a pause, as this: it stays (ask `may_settle` before).

        Not its last punctuation: the sentence may go on. Nothing stays where it contradicts what does already.
        `language` is a Whisper code, of the text.
        """
        rest = continuation(self._stable, text)
        language = language or self._request.language
        if rest is None or (self._looker is None and language == AUTO_LANGUAGE):
            return self._partial()
        rest = without_end_marks(rest)
        if rest and not self._stable:
            rest = " " + rest
        self._looker = self._looker or self._looker_in(language)
        self._stable_tokens += text_tokens(self._tokenizer, rest)
        self._stable = (self._stable + rest).lstrip()
        self._rest, self._seen = [], []
        return self._partial()

    def _check(self) -> None:
        if self._cancelled():
            raise Cancelled

    def _look(self, heard: Tensor, closely: bool) -> Optional[Look]:
        """None as long as it is not known what language is spoken, and where the decoder takes no more."""
        if self._sound is None:
            encoder, decoder = self._network.encoder, self._network.decoder
            own = Windows(0.0, self._rules.margin_s, step_samples=POSITION_SAMPLES)
            windows = own if encoder.knows_silence else PUBLISHED
            self._sound = GrowingSound(encoder, decoder, self._rules.guard_s, windows)
        if closely:
            self._sound.forget()
        with self._parts.sharing():
            self._sound.extend(heard, self._check)
        self._looker = self._looker or self._looker_once_known(self._sound, len(heard) / SAMPLE_RATE)
        if self._looker is None or self._looker.room(self._stable_tokens) <= 0:
            return None
        if closely:
            look = self._looker.closely(self._sound, self._stable_tokens)
            self._looked_closely_s = len(heard) / SAMPLE_RATE
            return look
        expected = [token.token for word in self._rest for token in word.tokens]
        return self._looker.quickly(self._sound, self._stable_tokens, expected)

    def _looker_once_known(self, sound: GrowingSound, sound_s: float) -> Optional[Looker]:
        """Who looks in the language that is spoken, once that is known."""
        language = self._request.language
        if language == AUTO_LANGUAGE:
            language, probability = spoken_language(self._network, sound)
            if probability < self._rules.sure_language and sound_s < self._rules.language_s:
                return None
        return self._looker_in(language)

    def _looker_in(self, language: str) -> Looker:
        options = DecodingOptions(
            task=self._request.task,
            language=language,
            prompt=list(text_tokens(self._tokenizer, self._request.prompt)) or None,
            without_timestamps=True,
            fp16=False,
        )
        return Looker(self._network, options, self._parts.beam_size, self._check)

    def _is_stalled(self, sound_s: float, latest_s: float) -> bool:
        """Whether the first word that is not stable ends before `latest_s`, and it is time for a close look at it."""
        if sound_s - self._looked_closely_s < self._rules.closely_share * sound_s:
            return False
        first = next((word for word in self._rest if spoken(word.text)), None)
        return first is not None and first.complete and first.end_s < latest_s

    def _is_plausible(self, look: Look, heard: Tensor) -> bool:
        """Whether to show what was heard: nothing of what is likely to be noise, no runaway."""
        text = "".join(word.text for word in look.words)
        if compression_ratio(text) > COMPRESSION_RATIO_LIMIT:
            return False
        if self._stable:
            return True
        if look.avg_logprob < HOPELESS_LOGPROB or look.no_speech_prob > NO_SPEECH_LIMIT:
            return False
        if is_one_sound(text) and look.avg_logprob < SOUND_LOGPROB:
            return False
        return is_sure(look.avg_logprob, look.no_speech_prob) or self._seems_said(look, heard)

    def _seems_said(self, look: Look, heard: Tensor) -> bool:
        """As a result is judged."""
        if self._looker is None:
            return False
        self._check()
        tokens = [token.token for word in look.words for token in word.tokens]
        return is_said(self._parts.judge.signs(self._looker.tokenizer, tokens, heard.numpy()))

    def _follow(self, look: Look, sound_s: float, latest_s: float) -> None:
        since_s = heard_since(look.words, self._seen, sound_s)
        count = count_stable(look, since_s, sound_s, latest_s, self._rules.stability)
        for word in look.words[:count]:
            self._stable_tokens += [token.token for token in word.tokens]
            self._stable = (self._stable + word.text).lstrip()
        self._rest = look.words[count:]
        self._seen = remembered(self._rest, since_s[count:])

    def _partial(self) -> Partial:
        rest = self._rest
        while rest and self._stable and not spoken(rest[0].text):  # punctuation that hangs in the air
            rest = rest[1:]
        return Partial(self._stable, "".join(word.text for word in rest).strip())
