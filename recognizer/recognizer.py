"""Samples of one utterance → text and its confidences.

openai-whisper's weights, tokenizer, log-mel and decoding loop; encoder and decoder are ours (encoder.py, decoder.py).
An utterance is decoded over a window as long as itself. Where the result looks wrong, it is decoded again over the
whole 30 s, then at Whisper's temperatures.
"""

import contextlib
import functools
import logging
import math
from dataclasses import dataclass
from typing import Callable, ContextManager, Iterator, List, NamedTuple, Tuple

import numpy as np
import torch
import whisper
from torch import Tensor
from whisper.audio import N_SAMPLES
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.tokenizer import get_tokenizer

from recognizer import RecognizerError
from recognizer.alignment import alignment_heads
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.catalog import AUTO_LANGUAGE
from recognizer.decoder import FastDecoder, FastTask
from recognizer.encoder import FastEncoder
from recognizer.plausibility import is_loop, is_said_twice, is_speech, looks_wrong, most_tokens
from recognizer.precision import Precision, apply_precision, choose_precision
from recognizer.speech import SpeechDetector
from recognizer.weights import load_weights

_log = logging.getLogger(__name__)

# Every second one of `whisper.transcribe`: an engine must not be busy with one utterance for many times the usual.
TEMPERATURES = (0.0, 0.4, 0.8)

# Measured (docs/benchmarks.md): less silence behind the speech, and Whisper writes on. In steps, as every new length
# costs the convolutions a plan that is kept.
_WINDOW_MARGIN_S = 1.0
_WINDOW_FLOOR_S = 2.0
_WINDOW_STEP_S = 0.5

_SAMPLING_SEED = 0  # the same utterance gives the same text, also where a temperature draws at random


class Cancelled(Exception):
    """Nobody wants the result any more."""


@dataclass(frozen=True)
class Recognition:
    """What was recognised in one utterance.

    Attributes:
        text: what was said; empty when it is taken for silence.
        language: a Whisper code.
        avg_logprob: natural logarithm of the probability of a token, on average.
        no_speech_prob: Whisper's own estimate that nobody spoke.
        compression_ratio: of the text by zlib; high for loops.
        temperature: at which the text was decoded.
        window_s: of sound that the encoder saw.
    """

    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    window_s: float


class _Attempt(NamedTuple):
    """One way to decode an utterance."""

    window_samples: int
    temperature: float


@dataclass(frozen=True)
class RecognizerSettings:
    """What to recognise with, and how.

    Attributes:
        size: one of `recognizer.catalog.MODEL_NAMES`, or a path to weights.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        language: a Whisper code or `auto`.
        beam_size: hypotheses kept at temperature 0; 1 decodes greedily.
        compute: `float32`, `bfloat16`, `int8`, or `auto` for what is fastest here (precision.py).
        window: `full` for always 30 s, or `auto` for as much as the speech needs.
        prompt: names and jargon that are likely to be said.
        task: `transcribe`, or `translate` for English whatever is spoken.
    """

    size: str = "base"
    device: str = "auto"
    language: str = "ko"
    beam_size: int = 5
    compute: str = "auto"
    window: str = "auto"
    prompt: str = ""
    task: str = "transcribe"


class Parts(NamedTuple):
    """Of a recogniser, for who listens to an utterance that has not ended.

    `model` is for its sizes; `sharing()` lets the encoder compute with all threads that are allowed.
    """

    model: whisper.Whisper
    encoder: FastEncoder
    decoder: FastDecoder
    speech_detector: SpeechDetector
    beam_size: int
    sharing: Callable[[], ContextManager[None]]


class Recognizer:
    """A Whisper model and how it is decoded; one utterance at a time.

    Args:
        settings: what to recognise with, and how.
        threads: processor threads to encode with. The decoder takes one: its steps are too small to share.

    Raises:
        RecognizerError: no such device, or no weights.
    """

    def __init__(self, settings: RecognizerSettings, threads: int) -> None:
        torch.set_num_threads(1)
        self._threads = threads
        self._encoding = False
        self._settings = settings
        self._device = resolve_device(settings.device)
        self._model = load_weights(settings.size).to(self._device).eval()
        precision = choose_precision(settings.compute, self._device)
        self._encoder, self._decoder = _build(self._model, settings.beam_size, precision)
        self._speech_detector = SpeechDetector()
        self._cancelled: Callable[[], bool] = lambda: False
        for layer in self._encoder.layers:
            layer.register_forward_pre_hook(self._check_cancelled)
        _log.info("%s on %s: %s", settings.size, self._device, precision)

    @property
    def parts(self) -> Parts:
        """What it is made of."""
        beam_size = self._settings.beam_size
        return Parts(self._model, self._encoder, self._decoder, self._speech_detector, beam_size, self._sharing)

    def use_threads(self, threads: int) -> None:
        """From now on, also in the middle of an utterance, encode with so many processor threads."""
        self._threads = threads
        if self._encoding:
            torch.set_num_threads(threads)

    def warm_up(self) -> None:
        """Do once what the first utterance would wait for: tables are read, code is compiled."""
        noise = np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32)
        self.recognize(noise)
        self._speech_detector.hears_speech(torch.from_numpy(noise))

    @torch.inference_mode()
    def recognize(self, samples: Samples, cancelled: Callable[[], bool] = lambda: False) -> Recognition:
        """Recognise the last 30 s of 16 kHz samples: before a segment of that length, pre-roll is too much.

        `cancelled` is asked before each layer of the encoder and each token.

        Raises:
            Cancelled: as soon as `cancelled()` is true.
        """
        self._cancelled = cancelled
        samples = samples[-N_SAMPLES:]
        heard = torch.from_numpy(samples)
        sounds_like_speech = functools.lru_cache(maxsize=None)(lambda: self._speech_detector.hears_speech(heard))
        token_limit = most_tokens(len(samples) / SAMPLE_RATE)
        window_samples, features, language = 0, heard, ""
        results: List[DecodingResult] = []
        for attempt in self._attempts(len(samples)):
            if attempt.window_samples != window_samples:
                window_samples = attempt.window_samples
                with self._sharing():
                    features = self._encode(heard, window_samples)
                    self._decoder.listen(features)
            language = language or self._spoken_language()
            results.append(self._decode(features, language, attempt.temperature, token_limit))
            said_twice = window_samples < N_SAMPLES and is_said_twice(results[-1].text)
            if not (said_twice or looks_wrong(results[-1], token_limit)) or not sounds_like_speech():
                break
        result = results[-1]
        if looks_wrong(result, token_limit):
            result = max(results, key=lambda result: (not is_loop(result, token_limit), result.avg_logprob))
        return Recognition(
            text=result.text.strip() if is_speech(result, token_limit, sounds_like_speech) else "",
            language=result.language,
            avg_logprob=result.avg_logprob,
            no_speech_prob=result.no_speech_prob,
            compression_ratio=result.compression_ratio,
            temperature=result.temperature,
            window_s=window_samples / SAMPLE_RATE,
        )

    def _attempts(self, n_samples: int) -> Iterator[_Attempt]:
        window_samples = _window_samples(n_samples)
        if self._settings.window == "auto" and window_samples < N_SAMPLES:
            yield _Attempt(window_samples, TEMPERATURES[0])
        for temperature in TEMPERATURES:
            yield _Attempt(N_SAMPLES, temperature)

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

    def _encode(self, samples: Tensor, window_samples: int) -> Tensor:
        padded = whisper.pad_or_trim(samples, window_samples)
        mel = whisper.log_mel_spectrogram(padded, n_mels=self._model.dims.n_mels).to(self._device)
        features: Tensor = self._encoder(mel.to(self._encoder.conv1.weight.dtype))
        return features.to(self._decoder.embedding.dtype)

    def _decode(self, features: Tensor, language: str, temperature: float, token_limit: int) -> DecodingResult:
        torch.manual_seed(_SAMPLING_SEED)
        options = DecodingOptions(
            task=self._settings.task,
            language=language,
            prompt=self._settings.prompt or None,
            temperature=temperature,
            beam_size=self._settings.beam_size if temperature == 0 and self._settings.beam_size > 1 else None,
            sample_len=token_limit,
            without_timestamps=True,
            fp16=False,
        )
        return FastTask(self._model, options, self._decoder, self._check_cancelled).run(features[None])[0]

    def _spoken_language(self) -> str:
        """As configured, or that of the utterance which the decoder listens to (`whisper.detect_language`)."""
        if self._settings.language != AUTO_LANGUAGE:
            return self._settings.language
        if not self._model.is_multilingual:
            return "en"
        tokenizer = get_tokenizer(True, num_languages=self._model.num_languages)
        logits = self._decoder.prompt(torch.tensor([tokenizer.sot], device=self._device))[0]
        best = int(logits[list(tokenizer.all_language_tokens)].argmax())
        return str(tokenizer.all_language_codes[best])


def _build(model: whisper.Whisper, beam_size: int, precision: Precision) -> Tuple[FastEncoder, FastDecoder]:
    """Our encoder and decoder from a loaded model, which keeps its sizes and loses its weights."""
    encoder = apply_precision(FastEncoder(model.encoder), precision.encoder)
    encoder.learn_silence()
    decoder = apply_precision(FastDecoder(model.decoder, beam_size, alignment_heads(model)), precision.decoder)
    for parameter in model.parameters():
        parameter.data = parameter.data.new_empty(0)
    return encoder, decoder


def _window_samples(n_samples: int) -> int:
    """Samples that the encoder sees of an utterance: half seconds."""
    window_s = max(_WINDOW_FLOOR_S, n_samples / SAMPLE_RATE + _WINDOW_MARGIN_S)
    return min(int(N_SAMPLES), int(math.ceil(window_s / _WINDOW_STEP_S) * _WINDOW_STEP_S * SAMPLE_RATE))


def resolve_device(device: str) -> torch.device:
    """The torch device for `model.device`; raises RecognizerError when it is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    resolved = torch.device(device)
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (resolved.index or 0) >= count:
            raise RecognizerError(
                f"model.device: {device} was asked for, but torch {torch.__version__} finds {count} CUDA devices; "
                f"set it to cpu or auto, or install a CUDA build of torch"
            )
    return resolved
