"""Samples of one utterance → text and its confidences.

openai-whisper's weights, tokenizer and decoding loop; log-mel, encoder and decoder are ours (mel.py, network.py).
An utterance is decoded over as much sound as there is. Where the result looks wrong, it is decoded again over the
whole 30 s, then at Whisper's temperatures.
"""

import contextlib
import functools
import logging
from dataclasses import replace
from typing import Callable, ContextManager, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from whisper.audio import N_SAMPLES
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.tokenizer import Tokenizer, get_tokenizer
from whisper.utils import compression_ratio

from recognizer import attention
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.catalog import AUTO_LANGUAGE
from recognizer.confidence import word_confidence
from recognizer.decoder import text_tokens, whole_text
from recognizer.doubt import Signs, is_said
from recognizer.graphs import Runner, runner_for
from recognizer.judge import Judge
from recognizer.loading import Loaded, load_for
from recognizer.network import Network, network_for
from recognizer.plausibility import (
    HOPELESS_LOGPROB,
    goes_on_well,
    is_end_of_before,
    is_loop,
    is_rest,
    is_said_twice,
    is_speech,
    looks_wrong,
    may_lead,
    most_tokens,
    says_more,
)
from recognizer.precision import is_shared
from recognizer.request import Context, Recognition, Request, TimedWord
from recognizer.settings import RecognizerSettings
from recognizer.speech import SpeechDetector
from recognizer.windows import windows_of
from recognizer.words import align, spell, starts_s, timed

_log = logging.getLogger(__name__)

# Every second one of `whisper.transcribe`: an engine must not be busy with one utterance for many times the usual.
TEMPERATURES = (0.0, 0.4, 0.8)

_CONTEXT_AND_OWN_S = 24.0  # measured (docs/benchmarks.md): more of what was said before adds nothing
_STRETCHED_S = 2.0  # that no word lasts: what was said in it beside the word was skipped
_MARGIN_S = 0.1  # of sound at each side of a part that is decoded for itself
_REST_S = 1.0  # of sound behind the last word, from which on there may be more words
_SPECIAL_TOKENS = 5  # before the text and behind it

_SAMPLING_SEED = 0  # the same utterance gives the same text, also where a temperature draws at random


class Cancelled(Exception):
    """Nobody wants the result any more."""


class _Sound(NamedTuple):
    """What is listened to: `offset_s` is where the utterance's own samples begin, behind what is heard again.

    Below zero where there are more of them than are heard.
    """

    samples: Samples
    offset_s: float


class _Tried(NamedTuple):
    """What an attempt at decoding gave; `prefix`: tokens that were known to be said first."""

    sound: _Sound
    window_samples: int
    prefix: Tuple[int, ...]
    result: DecodingResult
    words: Tuple[TimedWord, ...] = ()  # of the result, where they are known


class _Patch(NamedTuple):
    """What takes the place of the tokens from `first` up to `end`."""

    first: int
    end: int
    result: DecodingResult


class _Task(NamedTuple):
    """What is decoded: as asked, in the language that is spoken, up to so many tokens."""

    request: Request
    language: str
    token_limit: int


class Parts(NamedTuple):
    """Of a recogniser, for who listens to an utterance that has not ended.

    `sharing()` lets the encoder compute with all threads that are allowed.
    """

    network: Network
    speech_detector: SpeechDetector
    judge: Judge
    beam_size: int
    sharing: Callable[[], ContextManager[None]]


class Recognizer:
    """A Whisper model and how it is decoded; one utterance at a time.

    Args:
        settings: what to recognise with, and how.
        threads: processor threads to compute with, as far as they are of use.
        confidence: how likely a word is right whose tokens have these log-probabilities.
        loaded: what it computes with, if that is there; else it is loaded, on a machine with several cards to the first
            of those that the settings name.
        runner: of work of fixed shapes, on whatever device; None for what is fastest there.

    Attributes:
        card: which card it computes on; None for the processor.

    Raises:
        RecognizerError: no such device, or no weights.
    """

    def __init__(
        self,
        settings: RecognizerSettings,
        threads: int,
        confidence: Callable[[Sequence[float]], float] = word_confidence,
        loaded: Optional[Loaded] = None,
        runner: Optional[Runner] = None,
    ) -> None:
        torch.set_num_threads(1)
        self._confidence = confidence
        self._encoding = False
        self._settings = settings
        loaded = loaded or load_for(settings)
        self._device = loaded.device
        self.card = self._device.index or 0 if self._device.type == "cuda" else None
        self._model, encoder, self._decoder, self._precision = loaded
        # Threads of torch would be in the way of those of compiled code.
        shared = is_shared(self._precision.dtype, self._model.dims.n_audio_state)
        self._is_shared = shared and not encoder.is_compiled
        self._threads = self._of(threads)
        self._decoder.use_threads(threads)
        runner = runner or runner_for(self._device)
        self._network = network_for(self._model, encoder, self._decoder, settings.beam_size, runner)
        self._speech_detector = SpeechDetector()
        self._windows = windows_of(encoder)
        self._judge = Judge(self._network, self._windows.samples(0), self._speech_detector)
        self._tokenizer = get_tokenizer(self._model.is_multilingual, num_languages=self._model.num_languages)
        self._listened: Optional[Tuple[_Sound, int]] = None  # what the decoder listens to, and how much of it
        self._cancelled: Callable[[], bool] = lambda: False
        if runner is None:
            for layer in encoder.layers:
                layer.register_forward_pre_hook(self._check_cancelled)
        _log.info("%s on %s: %s", settings.size, self._device, self._precision)
        if self.card is None and not encoder.is_compiled:
            _log.info("attention of the encoder: %s", attention.chosen())

    @property
    def parts(self) -> Parts:
        """What it is made of."""
        return Parts(self._network, self._speech_detector, self._judge, self._settings.beam_size, self._sharing)

    @property
    def device(self) -> str:
        """Where it computes, as torch names it."""
        return str(self._device)

    @property
    def compute(self) -> str:
        """In which numbers."""
        return self._precision.dtype

    def use_threads(self, threads: int) -> None:
        """From now on, also in the middle of an utterance, compute with so many processor threads."""
        self._threads = self._of(threads)
        self._decoder.use_threads(threads)
        if self._encoding:
            torch.set_num_threads(self._threads)

    def give_back(self) -> None:
        """Let go of the last utterance and, on a card, of memory that torch keeps for the next one.

        Raises:
            RuntimeError: CUDA is of no use to this process any more (the card, or a kernel, has failed).
        """
        self._let_go()
        if self.card is not None:
            torch.cuda.empty_cache()
            torch.cuda.synchronize(self._device)

    def _let_go(self) -> None:
        """Of the utterance that was listened to."""
        self._listened = None
        self._decoder.hear([])

    def warm_up(self) -> None:
        """Do once what the first utterance would wait for: tables are read, code is compiled."""
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        self.recognize(noise, Request("en"))
        self._prepare_windows(_Sound(noise, 0.0))
        self._speech_detector.hears_speech(torch.from_numpy(noise))

    @torch.inference_mode()
    def _prepare_windows(self, sound: _Sound) -> None:
        for window_samples in self._network.prepared_windows:
            self._listen(sound, window_samples)
            self._decode(_Task(Request("en"), "en", token_limit=2), TEMPERATURES[0], ())

    @torch.inference_mode()
    def recognize(
        self, samples: Samples, request: Request, cancelled: Callable[[], bool] = lambda: False
    ) -> Recognition:
        """Recognise the last 30 s of 16 kHz samples: before a segment of that length, pre-roll is too much.

        `cancelled` is asked before each layer of the encoder and each token.

        Raises:
            Cancelled: as soon as `cancelled()` is true.
        """
        self._cancelled = cancelled
        try:
            return self._recognize(samples, request)
        finally:
            self._let_go()

    def _recognize(self, samples: Samples, request: Request) -> Recognition:
        own = _own_sound(samples, request.context)
        heard = torch.from_numpy(own.samples)
        sounds_like_speech = functools.lru_cache(maxsize=None)(lambda: self._speech_detector.hears_speech(heard))
        language = request.language
        if language == AUTO_LANGUAGE:
            self._listen(own, self._first_window(own))
            language = self._spoken_language()
        task = _Task(request, language, most_tokens(len(own.samples) / SAMPLE_RATE))
        best = self._go_on(task, samples) or self._begin_anew(task, own, sounds_like_speech)
        said, signs = self._judged(best, task.token_limit, sounds_like_speech)
        return replace(self._told(best, request.words and said, said), signs=signs)

    def _judged(
        self, tried: _Tried, token_limit: int, sounds_like_speech: Callable[[], bool]
    ) -> Tuple[bool, Optional[Signs]]:
        """Whether it was said; and its signs (doubt.py), where these were asked for."""
        if tried.prefix:  # Whisper's own estimate was of all the sound
            said = is_speech(tried.result, token_limit, lambda: tried.result.avg_logprob > HOPELESS_LOGPROB)
            return said and sounds_like_speech(), None
        signs: Optional[Signs] = None

        def seems_said() -> bool:
            nonlocal signs
            self._listen(tried.sound, tried.window_samples)
            signs = self._judge.signs(self._tokenizer, tried.result.tokens, tried.sound.samples)
            return is_said(signs)

        said = is_speech(tried.result, token_limit, seems_said)
        return said, signs

    def _go_on(self, task: _Task, samples: Samples) -> Optional[_Tried]:
        """Decode with what was said just before, where that helps."""
        context = task.request.context
        if context is None or context.language != task.language or not may_lead(context.text):
            return None
        sound = _Sound(np.concatenate((context.samples, samples)), len(context.samples) / SAMPLE_RATE)
        if len(sound.samples) > _CONTEXT_AND_OWN_S * SAMPLE_RATE:
            return None
        prefix = text_tokens(self._tokenizer, context.text)
        if not self._has_room(task, len(prefix)):
            return None
        window_samples = self._first_window(sound)
        self._listen(sound, window_samples)
        result = self._decode(task, TEMPERATURES[0], prefix)
        if not goes_on_well(context.text, result, task.token_limit):
            return None
        return self._complete(task, _Tried(sound, window_samples, prefix, result))

    def _complete(self, task: _Task, tried: _Tried) -> _Tried:
        """Whisper skips sentences where others follow, and ends with one: look for speech that has no words."""
        tried = tried._replace(words=self._words(tried, task.request.words))
        if not tried.words:
            return tried
        end_s = len(tried.sound.samples) / SAMPLE_RATE - tried.sound.offset_s
        rest_s = end_s - tried.words[-1].end_s
        n_tokens = len(tried.result.tokens)
        patches = self._stretched(task, tried)
        if rest_s >= _REST_S:
            rest = self._rest(task, tried, rest_s) or self._apart(task, tried, tried.words[-1].end_s, end_s, "")
            patches += [] if rest is None else [_Patch(n_tokens, n_tokens, rest)]
        return _patched(tried, patches, self._tokenizer, task.token_limit) if patches else tried

    def _rest(self, task: _Task, tried: _Tried, rest_s: float) -> Optional[DecodingResult]:
        """What is decoded behind the text, if it is likely and new."""
        before = tried.result
        if not self._has_room(task, len(tried.prefix) + len(before.tokens)):
            return None
        self._listen(tried.sound, tried.window_samples)
        rest = self._decode(task, TEMPERATURES[0], (*tried.prefix, *before.tokens))
        return rest if is_rest(before.text, rest, most_tokens(rest_s)) else None

    def _stretched(self, task: _Task, tried: _Tried) -> List[_Patch]:
        """Words that last so long that others must have been skipped, with what their sound says for itself."""
        tokens = [token for token in tried.result.tokens if token < self._tokenizer.eot]
        patches = []
        ends_s = [word.start_s for word in tried.words[1:]] + [tried.words[-1].end_s]  # with what follows a word
        for spelt, word, end_s in zip(spell(self._tokenizer, tokens), tried.words, ends_s):
            if end_s - word.start_s >= _STRETCHED_S:
                apart = self._apart(task, tried, word.start_s, end_s, word.text)
                patches += [] if apart is None else [_Patch(spelt.first, spelt.last + 1, apart)]
        return patches

    def _apart(self, task: _Task, tried: _Tried, start_s: float, end_s: float, known: str) -> Optional[DecodingResult]:
        """A part of the sound decoded for itself, if it says more than is known of it."""
        first, last = (round((time_s + tried.sound.offset_s) * SAMPLE_RATE) for time_s in (start_s, end_s))
        margin = round(_MARGIN_S * SAMPLE_RATE)
        part = _Sound(tried.sound.samples[max(0, first - margin) : last + margin], 0.0)
        if not self._speech_detector.hears_speech(torch.from_numpy(part.samples)):
            return None
        self._listen(part, self._first_window(part))
        limit = most_tokens(len(part.samples) / SAMPLE_RATE)
        result = self._decode(task._replace(token_limit=limit), TEMPERATURES[0], ())
        return result if says_more(result, known, tried.result.text, limit) else None

    def _begin_anew(self, task: _Task, own: _Sound, sounds_like_speech: Callable[[], bool]) -> _Tried:
        """Decode the utterance for itself, as often as it takes."""
        tried: List[_Tried] = []
        for window_samples, temperature in self._attempts(own):
            self._listen(own, window_samples)
            result = self._decode(task, temperature, ())
            tried.append(_Tried(own, window_samples, (), result))
            said_twice = window_samples < N_SAMPLES and is_said_twice(result.text)
            if not (said_twice or looks_wrong(result, task.token_limit)) or not sounds_like_speech():
                break
        if looks_wrong(tried[-1].result, task.token_limit):
            return max(tried, key=lambda one: (not is_loop(one.result, task.token_limit), one.result.avg_logprob))
        return self._complete(task, tried[-1]) if tried[-1].result.temperature == 0 else tried[-1]

    def _attempts(self, sound: _Sound) -> Iterator[Tuple[int, float]]:
        """Samples that the encoder sees, and the temperature."""
        window_samples = self._first_window(sound)
        if window_samples < N_SAMPLES:
            yield window_samples, TEMPERATURES[0]
        for temperature in TEMPERATURES:
            yield N_SAMPLES, temperature

    def _first_window(self, sound: _Sound) -> int:
        if self._settings.window != "auto":
            return int(N_SAMPLES)
        return self._network.window(self._windows.samples(len(sound.samples)))

    def _told(self, tried: _Tried, with_words: bool, said: bool) -> Recognition:
        result = tried.result
        words = tried.words if with_words else ()
        if with_words and not words:
            self._listen(tried.sound, tried.window_samples)
            words = self._words(tried, True)
        text = result.text.split() if said else []
        if tried.prefix and text and is_end_of_before(text[0]):
            text, words = text[1:], words[1:]
        return Recognition(
            text=" ".join(text),
            language=result.language,
            avg_logprob=result.avg_logprob,
            no_speech_prob=result.no_speech_prob,
            compression_ratio=result.compression_ratio,
            temperature=result.temperature,
            window_s=tried.window_samples / SAMPLE_RATE,
            words=words,
            is_suppressed=not said and bool(result.text.strip()),
        )

    def _words(self, tried: _Tried, with_confidences: bool) -> Tuple[TimedWord, ...]:
        """Where the words are in what the decoder listens to; without confidences these are 0."""
        tokens = [token for token in tried.result.tokens if token < self._tokenizer.eot]
        spelt = spell(self._tokenizer, tokens)
        if not spelt:
            return ()
        duration_s = len(tried.sound.samples) / SAMPLE_RATE
        asked = (self._decoder, self._tokenizer, tried.prefix, tokens, duration_s)
        if not with_confidences:
            return timed(spelt, starts_s(*asked), [0.0] * len(spelt), duration_s, tried.sound.offset_s)
        aligned = align(*asked)
        confidences = [self._confidence(aligned.logprobs[word.first : word.last + 1]) for word in spelt]
        return timed(spelt, aligned.starts_s, confidences, duration_s, tried.sound.offset_s)

    def _of(self, threads: int) -> int:
        """How many of the threads that are allowed are of use."""
        return threads if self._is_shared else 1

    @contextlib.contextmanager
    def _sharing(self) -> Iterator[None]:
        """Compute with all threads that are allowed."""
        self._encoding = True
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(1)
            self._encoding = False

    def _check_cancelled(self, *_: object) -> None:
        if self._cancelled():
            raise Cancelled

    def _listen(self, sound: _Sound, window_samples: int) -> None:
        """Let the decoder listen to so much of a sound, unless it does."""
        if self._listened is not None and self._listened[0] is sound and self._listened[1] == window_samples:
            return
        self._listened = None
        self._check_cancelled()
        with self._sharing():
            self._network.listen(torch.from_numpy(sound.samples), window_samples)
        self._listened = (sound, window_samples)

    def _decode(self, task: _Task, temperature: float, prefix: Tuple[int, ...]) -> DecodingResult:
        if temperature > 0:
            torch.manual_seed(_SAMPLING_SEED)
        beam_size = self._settings.beam_size
        options = DecodingOptions(
            task=task.request.task,
            language=task.language,
            prompt=self._prompt(task, prefix),
            temperature=temperature,
            beam_size=beam_size if temperature == 0 and beam_size > 1 else None,
            sample_len=task.token_limit,
            without_timestamps=True,
            fp16=False,
        )
        decoding = self._network.task(options, self._check_cancelled, prefix)
        self._tokenizer = decoding.tokenizer
        return decoding.decode()

    def _has_room(self, task: _Task, n_prefix: int) -> bool:
        """Whether the decoder takes so many tokens, and behind them as many as the text may have."""
        return n_prefix + task.token_limit + _SPECIAL_TOKENS <= int(self._model.dims.n_text_ctx)

    def _prompt(self, task: _Task, prefix: Tuple[int, ...]) -> Optional[List[int]]:
        """The end of the prompt, as far as there is room for it beside the prefix and the text."""
        room = self._model.dims.n_text_ctx - len(prefix) - task.token_limit - _SPECIAL_TOKENS
        tokens = text_tokens(self._tokenizer, task.request.prompt)
        return list(tokens[max(0, len(tokens) - room) :]) or None if room > 0 else None

    def _spoken_language(self) -> str:
        """Of what the decoder listens to (`whisper.detect_language`)."""
        if not self._model.is_multilingual:
            return "en"
        tokenizer = self._tokenizer
        logits = self._decoder.prompt(torch.tensor([tokenizer.sot], device=self._device), (0,))[0]
        best = int(logits[list(tokenizer.all_language_tokens)].argmax())
        return str(tokenizer.all_language_codes[best])


def _patched(tried: _Tried, patches: Sequence[_Patch], tokenizer: Tokenizer, token_limit: int) -> _Tried:
    """An attempt with what was found beside it; its words are to be looked for anew."""
    result = tried.result
    tokens, logprob, count = list(result.tokens), result.avg_logprob * (len(result.tokens) + 1), len(result.tokens) + 1
    for patch in reversed(patches):
        tokens[patch.first : patch.end] = patch.result.tokens
        logprob += patch.result.avg_logprob * (len(patch.result.tokens) + 1)
        count += len(patch.result.tokens) + 1
    tokens = tokens[: token_limit - 1]
    text = whole_text(tokenizer, tokens)
    changes = {"avg_logprob": logprob / count, "compression_ratio": compression_ratio(text)}
    return tried._replace(result=replace(result, tokens=tokens, text=text, **changes), words=())


def _own_sound(samples: Samples, context: Optional[Context]) -> _Sound:
    """The utterance's sound, behind that whose words it was left; no more than is heard at once."""
    n_held = 0 if context is None else min(int(context.held_s * SAMPLE_RATE), N_SAMPLES - len(samples))
    if context is None or n_held <= 0:
        return _Sound(samples[-N_SAMPLES:], min(0.0, (N_SAMPLES - len(samples)) / SAMPLE_RATE))
    return _Sound(np.concatenate((context.samples[-n_held:], samples)), n_held / SAMPLE_RATE)
