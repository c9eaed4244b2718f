"""Work of fixed shapes gives the tokens that openai-whisper and the loop with growing shapes give, also replayed."""

import os
from dataclasses import dataclass, replace
from typing import Any, Callable, List, Tuple

import pytest
import torch
import whisper
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.model import AudioEncoder, TextDecoder

from bench.recordings import Recording
from recognizer.audio import SAMPLE_RATE, to_samples
from recognizer.decoder import FastDecoder
from recognizer.encoder import POSITION_SAMPLES, FastEncoder
from recognizer.graphs import Runner, Uncaptured
from recognizer.mel import log_mel
from recognizer.network import FreeNetwork, StaticNetwork
from recognizer.static import LOOK_EVERY
from recognizer.weights import load_weights
from tests.harness.fake_graphs import FakeGraphs, Kernels
from tests.harness.random_models import random_model

BEAM_SIZE = 5
# Of the recordings in SPEECH_DIR every so many are decoded twice; PARITY_EVERY=1 takes the time for all of them.
EVERY = int(os.environ.get("PARITY_EVERY", "48"))
OPTIONS = DecodingOptions(language="en", without_timestamps=True, fp16=False)
SEARCHES = {"greedy": OPTIONS, "beam": replace(OPTIONS, beam_size=BEAM_SIZE)}


@dataclass(frozen=True)
class Shape:
    """What of a published size does not depend on its width."""

    n_mels: int
    n_vocab: int
    n_head: int
    n_audio_layer: int
    n_text_layer: int

    def dims(self, n_audio_ctx: int = 100, head_size: int = 4) -> whisper.ModelDimensions:
        n_state = self.n_head * head_size
        audio, text = (n_audio_ctx, n_state, self.n_head), (448, n_state, self.n_head)
        return whisper.ModelDimensions(self.n_mels, *audio, self.n_audio_layer, self.n_vocab, *text, self.n_text_layer)


SIZES = {
    "tiny.en": Shape(80, 51864, 6, 4, 4),
    "tiny": Shape(80, 51865, 6, 4, 4),
    "base": Shape(80, 51865, 8, 6, 6),
    "small": Shape(80, 51865, 12, 12, 12),
    "medium": Shape(80, 51865, 16, 24, 24),
    "large-v2": Shape(80, 51865, 20, 32, 32),
    "large-v3": Shape(128, 51866, 20, 32, 32),
    "turbo": Shape(128, 51866, 20, 32, 4),
}


@pytest.fixture(scope="module")
def base() -> whisper.Whisper:
    return load_weights("base").eval()


def halves(model: whisper.Whisper) -> Tuple[FastEncoder, FastDecoder]:
    encoder, decoder = FastEncoder(model.encoder), FastDecoder(model.decoder, BEAM_SIZE)
    encoder.learn_silence()
    return encoder, decoder


def static_network(model: whisper.Whisper, runner: Runner) -> StaticNetwork:
    return StaticNetwork(model, *halves(model), BEAM_SIZE, runner)


def noise(duration_s: float) -> Tensor:
    return torch.randn(int(duration_s * SAMPLE_RATE), generator=torch.Generator().manual_seed(3)) * 0.1


def whole_window(model: whisper.Whisper) -> int:
    return int(model.dims.n_audio_ctx * POSITION_SAMPLES)


def whispers(model: whisper.Whisper, samples: Tensor, options: DecodingOptions) -> DecodingResult:
    padded = whisper.pad_or_trim(samples, whole_window(model))
    result: DecodingResult = whisper.decode(
        model, whisper.log_mel_spectrogram(padded, n_mels=model.dims.n_mels), options
    )
    return result


def assert_same(theirs: DecodingResult, ours: DecodingResult) -> None:
    assert ours.tokens == theirs.tokens
    assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-3)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)


# --- the same tokens


@pytest.mark.thorough
@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES.keys())
@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES.keys())
@torch.inference_mode()
def test_a_model_of_each_size_writes_what_whisper_writes(shape: Shape, options: DecodingOptions) -> None:
    model, samples = random_model(shape.dims()), noise(1.5)
    options = replace(options, sample_len=14)
    theirs = whispers(model, samples, options)
    for runner in (Uncaptured(), FakeGraphs()):
        network = static_network(model, runner)
        for _ in range(2):  # also with what the first has left in the memory
            network.listen(samples, whole_window(model))
            assert_same(theirs, network.task(options, lambda: None).decode())


@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES.keys())
@torch.inference_mode()
def test_real_speech_gives_the_tokens_of_whisper(
    base: whisper.Whisper, speech: bytes, options: DecodingOptions
) -> None:
    samples = torch.from_numpy(to_samples(speech, SAMPLE_RATE))
    network = static_network(base, FakeGraphs())
    network.listen(samples, whole_window(base))
    ours = network.task(options, lambda: None).decode()
    assert_same(whispers(base, samples, options), ours)
    assert "fail better" in ours.text.lower()


@pytest.mark.thorough
@pytest.mark.parametrize("options", SEARCHES.values(), ids=SEARCHES.keys())
@torch.inference_mode()
def test_the_recordings_give_the_tokens_of_growing_shapes(
    base: whisper.Whisper, recordings: List[Recording], options: DecodingOptions
) -> None:
    static, free = static_network(base, FakeGraphs()), FreeNetwork(base, *halves(base))
    for recording in [recording for recording in recordings if recording.references][::EVERY]:
        samples = torch.from_numpy(to_samples(recording.pcm, SAMPLE_RATE))[: 30 * SAMPLE_RATE]
        window = static.window(len(samples))
        asked = replace(options, language=recording.language)
        found = []
        for network in (static, free):
            network.listen(samples, window)
            found.append(network.task(asked, lambda: None).decode())
        assert_same(found[1], found[0])


def both(base: whisper.Whisper, samples: Tensor, window: int, runner: Runner) -> Tuple[StaticNetwork, FreeNetwork]:
    """Both have listened."""
    static, free = static_network(base, runner), FreeNetwork(base, *halves(base))
    for network in (static, free):
        network.listen(samples, window)
    return static, free


@pytest.mark.thorough
@pytest.mark.parametrize("temperature", [0.4, 1.0])
@torch.inference_mode()
def test_what_is_drawn_at_a_temperature_is_the_same(base: whisper.Whisper, phrase: bytes, temperature: float) -> None:
    samples = torch.from_numpy(to_samples(phrase, SAMPLE_RATE))
    networks = both(base, samples, 6 * SAMPLE_RATE, FakeGraphs())
    for _ in range(2):
        found = []
        for network in networks:
            torch.manual_seed(1)
            found.append(network.task(replace(OPTIONS, temperature=temperature), lambda: None).decode())
        assert_same(found[1], found[0])


@pytest.mark.thorough
@pytest.mark.parametrize("n_prefix", [0, 5, 70, 200, 430])
@torch.inference_mode()
def test_a_prompt_and_a_prefix_of_every_length_are_gone_on_from(
    base: whisper.Whisper, phrase: bytes, n_prefix: int
) -> None:
    """Across the lengths that work is made for, up to the last token that the decoder takes."""
    networks = both(base, torch.from_numpy(to_samples(phrase, SAMPLE_RATE)), 6 * SAMPLE_RATE, FakeGraphs())
    options = replace(SEARCHES["beam"], prompt="Beckett" if n_prefix < 400 else None, sample_len=60)
    prefix = [1000 + index for index in range(n_prefix)]
    ours, theirs = (network.task(options, lambda: None, prefix).decode() for network in networks)
    assert_same(theirs, ours)


@pytest.mark.thorough
@torch.inference_mode()
def test_what_was_heard_elsewhere_is_decoded_whatever_its_length(base: whisper.Whisper, phrase: bytes) -> None:
    """As live text does; between two windows that work is made for."""
    samples = torch.from_numpy(to_samples(phrase, SAMPLE_RATE))
    static, free = both(base, samples, 6 * SAMPLE_RATE, FakeGraphs())
    for window_s in (4.5, 5.06, 2.0, 4.5):
        free.listen(samples, int(window_s * SAMPLE_RATE))
        static.decoder.hear(free.decoder.heard)
        ours, theirs = (network.task(SEARCHES["beam"], lambda: None).decode() for network in (static, free))
        assert_same(theirs, ours)
        assert static.decoder.heard is free.decoder.heard


@pytest.mark.thorough
@torch.inference_mode()
def test_an_utterance_that_is_broken_off_leaves_nothing_to_the_next(base: whisper.Whisper, speech: bytes) -> None:
    samples = torch.from_numpy(to_samples(speech, SAMPLE_RATE))
    network = static_network(base, FakeGraphs())
    network.listen(samples, 15 * SAMPLE_RATE)
    whole = network.task(SEARCHES["beam"], lambda: None).decode()
    calls = iter(range(9))

    def before_step() -> None:
        next(calls)

    with pytest.raises(StopIteration):
        network.task(SEARCHES["beam"], before_step).decode()
    assert_same(whole, network.task(SEARCHES["beam"], lambda: None).decode())


@torch.inference_mode()
def test_numbers_that_are_none_do_not_outlive_an_utterance(base: whisper.Whisper, phrase: bytes) -> None:
    samples = torch.from_numpy(to_samples(phrase, SAMPLE_RATE))
    network = static_network(base, Uncaptured())
    network.listen(samples, 6 * SAMPLE_RATE)
    before = network.task(SEARCHES["beam"], lambda: None).decode()
    network.listen(torch.full_like(samples, torch.nan), 6 * SAMPLE_RATE)
    network.task(replace(SEARCHES["beam"], sample_len=5), lambda: None).decode()
    network.listen(samples, 6 * SAMPLE_RATE)
    assert_same(before, network.task(SEARCHES["beam"], lambda: None).decode())


@pytest.mark.parametrize("n_mels", [80, 128])
def test_log_mel_is_that_of_whisper(phrase: bytes, n_mels: int) -> None:
    samples = torch.from_numpy(to_samples(phrase, SAMPLE_RATE))
    theirs = whisper.log_mel_spectrogram(samples, n_mels=n_mels)
    torch.testing.assert_close(log_mel(samples, n_mels), theirs, rtol=0, atol=1e-5)


# --- what a device is asked


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["base", "large-v3", "turbo"])
@torch.inference_mode()
def test_the_host_waits_for_the_device_once_in_a_few_tokens(name: str) -> None:
    model, runner = random_model(SIZES[name].dims(), eagerness=0.0), FakeGraphs()
    network = static_network(model, runner)
    network.listen(noise(1.0), whole_window(model))
    steps: List[int] = []
    network.task(replace(SEARCHES["beam"], sample_len=30), lambda: steps.append(1)).decode()
    assert len(steps) > 20
    assert runner.reads <= len(steps) / LOOK_EVERY + 1
    captures = runner.captures
    network.listen(noise(0.5), whole_window(model))
    network.task(replace(SEARCHES["beam"], sample_len=30), lambda: None).decode()
    assert runner.captures == captures  # not one more


class Counted(Uncaptured):
    """The kernels of each piece of work."""

    def __init__(self) -> None:
        self.kernels: List[Tuple[Any, int]] = []

    def run(self, key: Any, work: Callable[[], None], state: Any = ()) -> None:
        with Kernels() as counted:
            work()
        self.kernels.append((key, counted.count))


@pytest.mark.parametrize("name", ["base", "turbo", "large-v3"])
@torch.no_grad()
def test_a_step_is_few_kernels(name: str) -> None:
    """One attention, one product, one norm, one sum are one each; the search is the same for every size."""
    model, runner = random_model(SIZES[name].dims()), Counted()
    network = static_network(model, runner)
    network.listen(noise(1.0), whole_window(model))
    network.task(replace(SEARCHES["beam"], sample_len=4), lambda: None).decode()
    steps = {count for key, count in runner.kernels if "step" in str(key)}
    assert len(steps) == 1
    assert max(steps) <= 16 * SIZES[name].n_text_layer + 46


def meta_network(shape: Shape, head_size: int, runner: Runner) -> StaticNetwork:
    """In half precision and full width on a device that has no numbers to tell."""
    dims = shape.dims(1500, head_size)
    with torch.device("meta"):
        model = Sizes(dims, TextDecoder(dims.n_vocab, *text(dims)))
        encoder = FastEncoder(AudioEncoder(dims.n_mels, *audio(dims))).half()
        decoder = FastDecoder(model.decoder, 1).half()
    encoder.learn_silence()
    return StaticNetwork(model, encoder, decoder, BEAM_SIZE, runner)


class Sizes:
    """Of a model that is not there."""

    is_multilingual = True

    def __init__(self, dims: whisper.ModelDimensions, decoder: TextDecoder) -> None:
        self.dims, self.decoder = dims, decoder
        self.num_languages = dims.n_vocab - 51765 - 1


def audio(dims: whisper.ModelDimensions) -> Tuple[int, ...]:
    return dims.n_audio_ctx, dims.n_audio_state, dims.n_audio_head, dims.n_audio_layer


def text(dims: whisper.ModelDimensions) -> Tuple[int, ...]:
    return dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer


class Unread(Uncaptured):
    """Of a device that has no numbers: nothing is over, and zeros are found."""

    def read(self, tensor: Tensor) -> Tensor:
        return torch.zeros(tensor.shape, dtype=tensor.dtype)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["turbo", "large-v3"])
@torch.inference_mode()
def test_no_work_needs_a_number_of_the_device(name: str) -> None:
    """The meta device has none, and raises where one is asked for; nothing of the loop may lie elsewhere."""
    network = meta_network(SIZES[name], 64, Unread())
    for window in (network.prepared_windows[0], network.prepared_windows[-1]):
        network.listen(noise(1.0), window)
        for options in (*SEARCHES.values(), replace(OPTIONS, temperature=0.4)):
            network.task(replace(options, sample_len=3), lambda: None).decode()


@torch.inference_mode()
def test_a_step_that_is_not_replayed_is_not_traced_off_the_processor() -> None:
    """The fuser there compiles each length anew."""
    dims = SIZES["base"].dims()
    decoder = FastDecoder(TextDecoder(dims.n_vocab, *text(dims)), 1).to("meta")
    decoder.listen(torch.empty(100, dims.n_text_state, device="meta"))
    assert decoder.step(torch.zeros(1, dtype=torch.long, device="meta"), 5).shape == (1, dims.n_vocab)
    assert decoder._traced is None
