"""Compiled layers of the encoder: they are torch's; and threads, which change no bit."""

import copy
import multiprocessing
import os
import threading
from typing import Iterator, List, Optional

import pytest
import torch
import whisper
from torch import Tensor, nn
from torch.nn.functional import gelu

from recognizer.audio import SAMPLE_RATE
from recognizer.compiled.library import Library
from recognizer.compiled.sound import CompiledEntrance
from recognizer.decoder import FastDecoder
from recognizer.encoder import FastEncoder
from recognizer.hearing import GrowingSound
from recognizer.precision import apply_precision
from recognizer.windows import windows_of
from tests.harness.instructions import EACH_SET

SIZES = whisper.ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=192,
    n_audio_head=3,
    n_audio_layer=2,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=192,
    n_text_head=3,
    n_text_layer=2,
)
POSITIONS = (1, 5, 64, 97, 300, 1500)


@pytest.fixture(scope="module", params=EACH_SET)
def loaded(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


@pytest.fixture
def library(loaded: Library) -> Iterator[Library]:
    """With one thread before and after."""
    yield loaded
    loaded.threads = 1


def encoder_of(library: Optional[Library], knows_silence: bool = True) -> FastEncoder:
    """The same weights, compiled or by torch in int8."""
    torch.manual_seed(0)
    model = whisper.Whisper(SIZES)
    encoder = FastEncoder(model.encoder.eval().requires_grad_(False))
    if library is None:
        apply_precision(encoder, "int8")
    else:
        encoder.compile(library)
    if knows_silence:
        with torch.inference_mode():
            encoder.learn_silence()
    return encoder


def mel_of(positions: int) -> Tensor:
    return 0.5 * torch.randn(80, 2 * positions, generator=torch.Generator().manual_seed(positions))


def difference(found: Tensor, right: Tensor) -> float:
    return float((found - right).norm() / right.norm())


@torch.inference_mode()
@pytest.mark.parametrize("knows_silence", [True, False])
def test_what_is_heard_is_what_torch_hears(library: Library, knows_silence: bool) -> None:
    compiled, by_torch = (encoder_of(one, knows_silence) for one in (library, None))
    for positions in POSITIONS:
        mel = mel_of(positions)
        found, right = compiled(mel), by_torch(mel)
        assert found.shape == right.shape == (positions, SIZES.n_audio_state)
        assert difference(found, right) < 0.02, positions


@torch.inference_mode()
def test_silence_behind_the_sound_is_heard(library: Library) -> None:
    """Defends the test above: without silence it would be something else."""
    mel = mel_of(97)
    assert difference(encoder_of(library)(mel), encoder_of(library, knows_silence=False)(mel)) > 0.05


@torch.inference_mode()
def test_the_entrance_is_torchs(library: Library) -> None:
    compiled, by_torch = (encoder_of(one, knows_silence=False) for one in (library, None))
    off = 0.003 if library.has_tiles else 0.001  # of bfloat16 and of 16 bits
    for positions in POSITIONS:
        mel = mel_of(positions)
        torch.testing.assert_close(compiled._embed(mel), by_torch._embed(mel), rtol=off, atol=off)
    part = mel_of(97)[:, 10:50]  # rows that are longer than what is asked for
    torch.testing.assert_close(compiled._embed_at(part, 7), by_torch._embed_at(part, 7), rtol=off, atol=off)


@torch.inference_mode()
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_entrance_is_torchs_where_its_sums_are_as_large_as_can_be(library: Library, sign: float) -> None:
    """All numbers are the largest there are, all products of one sign."""
    by_torch = FastEncoder(whisper.Whisper(SIZES).encoder.eval().requires_grad_(False))
    for convolution in (by_torch.conv1, by_torch.conv2):
        convolution.weight.fill_(0.01 * sign)
        convolution.bias.zero_()
    compiled = copy.deepcopy(by_torch)
    compiled.compile(library)
    mel = torch.full((80, 14), 1.5 * sign)
    off = 0.02 if library.has_tiles else 0.002
    torch.testing.assert_close(compiled._embed(mel), by_torch._embed(mel), rtol=off, atol=0.001)


@torch.inference_mode()
def test_its_activation_is_torchs_from_the_least_number_to_the_largest(library: Library) -> None:
    """Convolutions of nothing leave their bias to it."""
    torch.manual_seed(0)
    encoder = FastEncoder(whisper.Whisper(SIZES).encoder.eval().requires_grad_(False))
    bias = encoder.conv2.bias
    assert isinstance(bias, Tensor)
    encoder.conv2.weight.zero_()
    for first, last in ((-6.0, 6.0), (-0.01, 0.01), (-1000.0, 1000.0)):
        bias.copy_(torch.linspace(first, last, SIZES.n_audio_state))
        entrance = CompiledEntrance(library, (encoder.conv1, encoder.conv2))
        found = entrance.embed(mel_of(3), torch.zeros(3, SIZES.n_audio_state))
        right = gelu(bias).expand(1, 3, -1)
        off = (found - right).abs() - 3e-7 * bias.abs()
        assert float(off.max()) < 4e-6


@torch.inference_mode()
def test_a_layer_works_where_its_sound_lies_and_the_encoder_leaves_what_it_is_given(library: Library) -> None:
    encoder = encoder_of(library)
    layer, x = next(encoder._blocks()), torch.randn(1, 50, SIZES.n_audio_state)
    assert layer(before := x.clone(), None) is before
    assert torch.equal(layer(x, None), before)
    mel = mel_of(50)
    given = mel.clone()
    once, again = encoder(mel), encoder(mel)
    assert torch.equal(mel, given)
    assert torch.equal(once, again)


@torch.inference_mode()
def test_no_bit_depends_on_how_many_threads_there_are(library: Library) -> None:
    encoder, decoder = encoder_of(library), decoder_of(library)
    for positions in POSITIONS:
        found: List[List[Tensor]] = []
        for threads in (1, 2, 3, 8):
            library.threads = threads
            found.append(everything(encoder, decoder, mel_of(positions)))
        for other in found[1:]:
            assert all(torch.equal(one, same) for one, same in zip(found[0], other)), positions


def decoder_of(library: Optional[Library]) -> FastDecoder:
    torch.manual_seed(1)
    decoder = FastDecoder(whisper.Whisper(SIZES).decoder.eval().requires_grad_(False), 5, ((0, 1),))
    for left_empty in (decoder.memory, decoder.positions):
        nn.init.normal_(left_empty)
    if library is None:
        return apply_precision(decoder, "int8")
    decoder.compile(library)
    return decoder


@torch.inference_mode()
def everything(encoder: FastEncoder, decoder: FastDecoder, mel: Tensor) -> List[Tensor]:
    """What each function makes of a sound."""
    heard = encoder(mel)
    decoder.listen(heard)
    first = decoder.prompt(torch.tensor([50258, 50264, 7]), (0, -1))
    second = decoder.step(torch.tensor([1, 2, 3, 4, 5]), 3)
    best = decoder.best(second, 6)
    decoder.rearrange([1, 1, 0, 4, 3], 0, 4)
    logits, scores = decoder.follow(torch.tensor([8, 9]), 4)
    return [heard, first, second, *best, decoder.memory.clone(), logits, scores]


@torch.inference_mode()
def test_a_sound_without_room_is_refused(library: Library) -> None:
    layer = next(encoder_of(library)._blocks())
    assert layer.compiled is not None
    x, kept = torch.randn(1, 10, SIZES.n_audio_state), torch.zeros(2, 3, 20, 64)
    for start, first, n_silent in ((11, 0, 0), (5, 6, 0), (-1, 0, 0), (5, -1, 0), (5, 0, 16), (5, 0, -1)):
        with pytest.raises(IndexError, match="no such tokens, rows or positions"):
            layer.compiled.hear(x, kept, start, first, n_silent)
    assert not kept.any()
    for other_x, other_kept in (
        (x.double(), kept),
        (x[:, :, :128], kept),
        (x.repeat(2, 1, 1), kept),
        (x, kept[:1]),
        (x, kept.transpose(0, 1)),
        (x, torch.zeros(2, 2, 20, 64)),
    ):
        with pytest.raises(TypeError, match=r"expected float32|one piece"):
            layer.compiled.hear(other_x, other_kept, 0, 0, 0)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(80, 3002), (80, 7), (79, 10), (128, 10)])
def test_log_mel_of_another_shape_is_refused(library: Library, shape: "tuple[int, int]") -> None:
    with pytest.raises(TypeError, match="expected float32"):
        encoder_of(library)(torch.zeros(shape))


@torch.inference_mode()
@pytest.mark.parametrize("knows_silence", [True, False])
def test_a_sound_that_grows_is_heard_as_by_torch(library: Library, knows_silence: bool) -> None:
    sound = 0.1 * torch.randn(30 * SAMPLE_RATE, generator=torch.Generator().manual_seed(3))
    growing = []
    for compiled in (library, None):
        encoder = encoder_of(compiled, knows_silence)
        growing.append(GrowingSound(encoder, decoder_of(compiled), 0.5, windows_of(encoder)))
    for seconds in (0.3, 0.7, 2.0, 2.02, 9.5, 27.0, 30.0):
        for one in growing:
            one.extend(sound[: int(seconds * SAMPLE_RATE)], lambda: None)
        for (keys, values), (right_keys, right_values) in zip(growing[0].heard, growing[1].heard):
            assert keys.shape == right_keys.shape
            assert difference(keys, right_keys) < 0.02, seconds
            assert difference(values, right_values) < 0.02, seconds


def test_callers_at_the_same_time_are_not_mixed_up(library: Library) -> None:
    """One of them has the team, the others work alone."""
    encoder, mel = encoder_of(library), mel_of(300)
    right = heard_by(encoder, mel)
    library.threads = 3
    found: List[Tensor] = []
    callers = [
        threading.Thread(target=lambda: found.extend(heard_by(encoder, mel) for _ in range(10))) for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 30
    assert all(torch.equal(one, right) for one in found)


@torch.inference_mode()
def heard_by(encoder: FastEncoder, mel: Tensor) -> Tensor:
    heard: Tensor = encoder(mel)
    return heard


def test_a_process_that_is_forked_has_a_team_of_its_own(library: Library) -> None:
    """Threads are not forked: work for them would be left to those that are not there."""
    torch.set_num_threads(1)  # as in an engine: torch's own would hang
    encoder, mel = encoder_of(library), mel_of(300)
    library.threads = 3
    right = heard_by(encoder, mel)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def compute() -> None:
        before = n_threads()
        answers.put((torch.equal(heard_by(encoder, mel), right), n_threads() - before))

    child = context.Process(target=compute)
    child.start()
    child.join(60)
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0
    assert answers.get() == (True, 2)


def n_threads() -> int:
    return len(os.listdir("/proc/self/task"))
