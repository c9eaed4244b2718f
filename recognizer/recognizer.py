"""Samples of one utterance → text and its confidences, decoded by openai-whisper."""

import logging
from dataclasses import dataclass
from typing import Callable, Optional

import torch
import whisper
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult

from recognizer import RecognizerError
from recognizer.audio import Samples
from recognizer.catalog import AUTO_LANGUAGE
from recognizer.weights import load_weights

_log = logging.getLogger(__name__)

# Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", section 4.5; the defaults of
# `whisper.transcribe`.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
COMPRESSION_RATIO_LIMIT = 2.4
AVG_LOGPROB_LIMIT = -1.0
NO_SPEECH_LIMIT = 0.6

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
    """

    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float


class Recognizer:
    """A Whisper model and how it is decoded; one utterance at a time.

    Args:
        size: one of `recognizer.catalog.MODEL_NAMES`, or a path to weights.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        language: a Whisper code or `auto`.
        beam_size: hypotheses kept at temperature 0; 1 decodes greedily.
        threads: processor threads of one recognition.

    Raises:
        RecognizerError: no such device, or no weights.
    """

    def __init__(self, size: str, device: str, language: str, beam_size: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = resolve_device(device)
        self._language: Optional[str] = None if language == AUTO_LANGUAGE else language
        self._beam_size: Optional[int] = beam_size if beam_size > 1 else None
        self._model = load_weights(size).to(self._device).eval()
        self._cancelled: Callable[[], bool] = lambda: False
        for block in (*self._model.encoder.blocks, *self._model.decoder.blocks):
            block.register_forward_pre_hook(self._check_cancelled)
        _log.info("%s on %s, %d threads, beam %d, language %s", size, self._device, threads, beam_size, language)

    @torch.inference_mode()
    def recognize(self, samples: Samples, cancelled: Callable[[], bool] = lambda: False) -> Recognition:
        """Recognise up to 30 s of 16 kHz samples; `cancelled` is asked before each layer.

        Raises:
            Cancelled: as soon as `cancelled()` is true.
        """
        self._cancelled = cancelled
        features = self._encode(samples)
        result = self._decode(features, TEMPERATURES[0])
        for temperature in TEMPERATURES[1:]:
            if not _needs_another_try(result):
                break
            result = self._decode(features, temperature)
        return Recognition(
            text="" if _is_silence(result) else result.text.strip(),
            language=result.language,
            avg_logprob=result.avg_logprob,
            no_speech_prob=result.no_speech_prob,
            compression_ratio=result.compression_ratio,
            temperature=result.temperature,
        )

    def _check_cancelled(self, *_: object) -> None:
        if self._cancelled():
            raise Cancelled

    def _encode(self, samples: Samples) -> Tensor:
        padded = whisper.pad_or_trim(torch.from_numpy(samples))
        mel = whisper.log_mel_spectrogram(padded, n_mels=self._model.dims.n_mels)
        features: Tensor = self._model.embed_audio(mel.unsqueeze(0).to(self._device))
        return features[0]

    def _decode(self, features: Tensor, temperature: float) -> DecodingResult:
        torch.manual_seed(_SAMPLING_SEED)
        options = DecodingOptions(
            language=self._language,
            temperature=temperature,
            beam_size=self._beam_size if temperature == 0 else None,
            without_timestamps=True,
            fp16=False,
        )
        result: DecodingResult = whisper.decode(self._model, features, options)
        return result


def _is_silence(result: DecodingResult) -> bool:
    return bool(result.no_speech_prob > NO_SPEECH_LIMIT and result.avg_logprob < AVG_LOGPROB_LIMIT)


def _needs_another_try(result: DecodingResult) -> bool:
    unsure = result.avg_logprob < AVG_LOGPROB_LIMIT or result.compression_ratio > COMPRESSION_RATIO_LIMIT
    return bool(unsure and not _is_silence(result))


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
