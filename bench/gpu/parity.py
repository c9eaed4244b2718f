"""Whether the texts are those of `whisper.decode`, over whole windows of 30 s, as openai-whisper hears everything.

Half precision rounds, and a model that is nearly undecided between two tokens goes either way. So openai-whisper's own
float16 is held against its float32 beside ours: how far those are apart is what rounding does.
"""

from dataclasses import replace
from typing import Callable, List, Sequence, Tuple

import jiwer
import torch
import whisper
from whisper.audio import N_SAMPLES
from whisper.decoding import DecodingOptions, DecodingResult

from bench.gpu.models import is_random, pieces, recordings, utterances
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Parity
from bench.gpu.timing import BEAM_SIZE, never_ending, recognizer_of
from bench.recordings import Recording
from recognizer.audio import Samples
from recognizer.weights import load_weights

_OPTIONS = DecodingOptions(without_timestamps=True)
_SEARCHES = {"greedy": _OPTIONS, f"beam {BEAM_SIZE}": replace(_OPTIONS, beam_size=BEAM_SIZE)}
_RANDOM_TOKENS = 14  # a text without meaning needs no more
_LEAST_SHARE = 0.5  # of the texts that rounding leaves as they are

Decode = Callable[[Samples, DecodingOptions], DecodingResult]


def measure(settings: Settings, told: Teller) -> None:
    """Rows for each model and search."""
    several = recordings(settings.speech, settings.utterances)
    for model in settings.models:
        sounds = _sounds(several, settings.utterances, is_random(model))
        ways = _Ways(settings, model)
        for search, options in _SEARCHES.items():
            if is_random(model):
                options = replace(options, sample_len=_RANDOM_TOKENS, suppress_tokens=ways.never_ending)  # noqa: PLW2901
            asked = [replace(options, language=language) for _, language in sounds]
            theirs = [ways.whispers(samples, one) for (samples, _), one in zip(sounds, asked)]
            ours = [ways.ours(samples, one) for (samples, _), one in zip(sounds, asked)]
            row = compare(model, search, f"ours with openai-whisper, both {settings.compute}", ours, theirs)
            told.row("parity", row)
            least = float(row.utterances)
            if settings.compute == "float16":
                exact = [ways.whispers(samples, replace(one, fp16=False)) for (samples, _), one in zip(sounds, asked)]
                rounded = compare(model, search, "openai-whisper, float16 with float32", theirs, exact)
                told.row("parity", rounded)
                least = _LEAST_SHARE * rounded.same
            if row.same < least:
                told.fault(f"{model}, {search}: {row.same} of {row.utterances} texts are openai-whisper's")


def _sounds(several: Sequence[Recording], count: int, any_sound: bool) -> List[Tuple[Samples, str]]:
    """So many, each with its language: what the server would cut, and where that is less, or any sound does, pieces."""
    found = [] if any_sound else [(samples, one.language) for one in several for samples in utterances(one)][:count]
    cut = pieces(several, count - len(found)) if len(found) < count else []
    return found + [(samples, several[0].language) for samples in cut]


class _Ways:
    """Both recognisers of one model."""

    def __init__(self, settings: Settings, model: str) -> None:
        self._network = recognizer_of(settings, model).parts.network
        self._model = load_weights(settings.models[model]).eval().to(settings.device)
        self._half = settings.compute == "float16"

    @property
    def never_ending(self) -> str:
        """For texts that all have the same length."""
        return never_ending(self._model)

    @torch.inference_mode()
    def ours(self, samples: Samples, options: DecodingOptions) -> DecodingResult:
        """By the work of fixed shapes."""
        self._network.listen(torch.from_numpy(samples), N_SAMPLES)
        return self._network.task(replace(options, fp16=False), lambda: None).decode()

    @torch.inference_mode()
    def whispers(self, samples: Samples, options: DecodingOptions) -> DecodingResult:
        """By openai-whisper, in half precision where the options and the device have it."""
        padded = whisper.pad_or_trim(torch.from_numpy(samples).to(self._model.device), N_SAMPLES)
        mel = whisper.log_mel_spectrogram(padded, n_mels=self._model.dims.n_mels)
        decoded: DecodingResult = whisper.decode(self._model, mel, replace(options, fp16=options.fp16 and self._half))
        return decoded


def compare(
    model: str, search: str, compared: str, tried: Sequence[DecodingResult], right: Sequence[DecodingResult]
) -> Parity:
    """A row of what was decoded of the same sounds; there must be one."""
    return Parity(
        *(model, search, compared, len(right)),
        same=sum(one.tokens == other.tokens for one, other in zip(tried, right)),
        edits=float(jiwer.wer(_written(right), _written(tried))),
        logprob_apart=max(abs(one.avg_logprob - other.avg_logprob) for one, other in zip(tried, right)),
    )


def _written(results: Sequence[DecodingResult]) -> List[str]:
    """Tokens as words, with one for the end, as a text may have none."""
    return [" ".join([*map(str, result.tokens), "end"]) for result in results]
