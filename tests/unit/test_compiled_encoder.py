"""Compiled layers of the encoder: they are torch's; and threads, which change no bit."""

import multiprocessing
import threading
from typing import List, Optional

import pytest
import torch
import whisper
from torch import Tensor, nn

from recognizer import processor
from recognizer.compiled.build import SETS
from recognizer.compiled.library import Library
from recognizer.decoder import FastDecoder
from recognizer.encoder import FastEncoder
from recognizer.precision import apply_precision

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
USABLE = [name for name, (_, needed) in SETS.items() if processor.flags().issuperset(needed)]
needs_instructions = pytest.mark.skipif(not USABLE, reason="this processor has none of the instructions")


@pytest.fixture(scope="module", params=[pytest.param(name, marks=needs_instructions) for name in USABLE or [""]])
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


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
    for positions in POSITIONS:
        mel = mel_of(positions)
        torch.testing.assert_close(compiled._embed(mel), by_torch._embed(mel), rtol=1e-5, atol=1e-5)
    part = mel_of(97)[:, 10:50]  # rows that are longer than what is asked for
    torch.testing.assert_close(compiled._embed_at(part, 7), by_torch._embed_at(part, 7), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_what_is_given_is_left_as_it_is(library: Library) -> None:
    layer = next(encoder_of(library)._blocks())
    x = torch.randn(1, 50, SIZES.n_audio_state)
    before = x.clone()
    once, again = layer(x, None), layer(x, None)
    assert torch.equal(x, before)
    assert torch.equal(once, again)


@torch.inference_mode()
def test_no_bit_depends_on_how_many_threads_there_are(library: Library) -> None:
    encoder, decoder = encoder_of(library), decoder_of(library)
    for positions in POSITIONS:
        found: List[List[Tensor]] = []
        for threads in (1, 2, 3, 8):
            library.threads = threads
            found.append(everything(encoder, decoder, mel_of(positions)))
        library.threads = 1
        for other in found[1:]:
            assert all(torch.equal(one, same) for one, same in zip(found[0], other)), positions


def decoder_of(library: Library) -> FastDecoder:
    torch.manual_seed(1)
    decoder = FastDecoder(whisper.Whisper(SIZES).decoder.eval().requires_grad_(False), 5, ((0, 1),))
    nn.init.normal_(decoder.memory)
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
    with pytest.raises(TypeError, match="expected float32"):
        layer.compiled.hear(x.double(), kept, 0, 0, 0)


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
    library.threads = 1
    assert len(found) == 30
    assert all(torch.equal(one, right) for one in found)


@torch.inference_mode()
def heard_by(encoder: FastEncoder, mel: Tensor) -> Tensor:
    heard: Tensor = encoder(mel)
    return heard


def test_a_process_that_is_forked_has_a_team_of_its_own(library: Library) -> None:
    """Threads are not forked: what waits for them would wait for ever."""
    torch.set_num_threads(1)
    encoder, mel = encoder_of(library), mel_of(300)
    library.threads = 3
    right = heard_by(encoder, mel)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(torch.equal(heard_by(encoder, mel), right)))
    child.start()
    child.join(60)
    library.threads = 1
    if child.is_alive():
        child.kill()
    assert child.exitcode == 0
    assert answers.get()
