"""How long encoder, decoder and utterances take, by the device's own clock: CUDA events in its stream of work.

Between two events is also what the card waits for the host, so these are times that an utterance has to wait.
"""

import time
from dataclasses import replace
from typing import Any, Callable, List, NamedTuple, Tuple

import torch
import whisper
from whisper.decoding import DecodingOptions
from whisper.tokenizer import get_tokenizer

from bench.gpu.models import is_random, recordings, ten_seconds
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Timing
from bench.load.plan import percentile
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.graphs import Uncaptured
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings
from recognizer.windows import windows_of

BEAM_SIZE = 5
_TOKENS = 32  # about those of ten seconds of speech


def recognizer_of(settings: Settings, model: str) -> Recognizer:
    """As an engine has it on a card; on the processor with a card's work, which is what is tried there."""
    runner = None if settings.has_card else Uncaptured()
    asked = RecognizerSettings(beam_size=BEAM_SIZE, **settings.ours(model))
    recognizer = Recognizer(asked, usable_cores(), runner=runner)
    recognizer.warm_up()
    return recognizer


def never_ending(model: whisper.Whisper) -> str:
    """`DecodingOptions.suppress_tokens` that make each text as long as any other."""
    tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
    return f"-1,{tokenizer.eot}"


class Marks:
    """Moments in the work of a device, in order."""

    def __init__(self, has_card: bool) -> None:
        self._has_card = has_card
        self._marks: List[Any] = []

    def mark(self) -> None:
        """The moment that is now: of a card, when it has done what it was given so far."""
        if not self._has_card:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._marks.append(event)

    def between_ms(self) -> List[float]:
        """From each to the next; waits for the device."""
        pairs: List[Tuple[Any, Any]] = list(zip(self._marks, self._marks[1:]))
        if not self._has_card:
            return [1000 * (end - start) for start, end in pairs]
        torch.cuda.synchronize()
        return [float(start.elapsed_time(end)) for start, end in pairs]


def measure(settings: Settings, told: Teller) -> None:
    """Rows for each model."""
    several = recordings(settings.speech, settings.utterances)
    sound = _Sound(ten_seconds([one for one in several if one.language == several[0].language]), several[0].language)
    for model in settings.models:
        _Measured(settings, model, recognizer_of(settings, model), sound, told).tell()


class _Sound(NamedTuple):
    """What is heard, and the language in which it is spoken."""

    samples: Samples
    language: str


class _Measured:
    """One model, loaded."""

    def __init__(self, settings: Settings, model: str, recognizer: Recognizer, sound: _Sound, told: Teller) -> None:
        self._settings, self._model, self._told = settings, model, told
        self._recognizer, (self._samples, self._language) = recognizer, sound
        self._network = recognizer.parts.network
        self._window = self._network.window(windows_of(self._network.encoder).samples(len(sound.samples)))
        self._options = DecodingOptions(
            *("transcribe", sound.language),
            sample_len=_TOKENS,
            suppress_tokens=never_ending(self._network.model),
            without_timestamps=True,
            fp16=False,
        )

    @torch.inference_mode()
    def tell(self) -> None:
        """All rows."""
        for window in self._network.prepared_windows:
            name = f"encoder, window of {window / SAMPLE_RATE:g} s"
            self._tell(name, self._whole(lambda window=window: self._listen(window)))  # type: ignore[misc]
        self._listen(self._window)
        for name, beam_size in (("greedy", None), (f"beam {BEAM_SIZE}", BEAM_SIZE)):
            options = replace(self._options, beam_size=beam_size)
            prompts_ms, steps_ms = self._steps(options)
            self._tell(f"decoder, what is given, {name}", prompts_ms)
            self._tell(f"decoder, a token, {name}", steps_ms)
        whole = self._whole(lambda: self._utterance(replace(self._options, beam_size=BEAM_SIZE)))
        self._tell(f"10 s of sound, {_TOKENS} tokens, beam {BEAM_SIZE}", whole)
        if not is_random(self._model):
            request = Request(self._language)
            whole = self._whole(lambda: self._recognizer.recognize(self._samples, request))
            self._tell(f"10 s of speech as an engine recognises it, beam {BEAM_SIZE}", whole)

    def _tell(self, work: str, took_ms: List[float]) -> None:
        median_ms, p95_ms = percentile(took_ms, 50), percentile(took_ms, 95)
        self._told.row("timing", Timing(self._model, work, len(took_ms), median_ms, p95_ms))

    def _whole(self, work: Callable[[], object]) -> List[float]:
        """How long it takes each time, after the first."""
        work()
        marks = Marks(self._settings.has_card)
        for _ in range(self._settings.repeats):
            marks.mark()
            work()
        marks.mark()
        return marks.between_ms()

    def _steps(self, options: DecodingOptions) -> Tuple[List[float], List[float]]:
        """How long the given tokens take, with the first that is chosen, and each that follows."""
        prompts_ms: List[float] = []
        steps_ms: List[float] = []
        for repeat in range(1 + self._settings.repeats // 4):
            marks = Marks(self._settings.has_card)
            self._network.task(options, marks.mark).decode()
            if repeat:
                first_ms, *others_ms = marks.between_ms()
                prompts_ms.append(first_ms)
                steps_ms += others_ms
        return prompts_ms, steps_ms

    def _listen(self, window: int) -> None:
        with self._recognizer.parts.sharing():
            self._network.listen(torch.from_numpy(self._samples), window)

    def _utterance(self, options: DecodingOptions) -> None:
        self._listen(self._window)
        self._network.task(options, lambda: None).decode()
