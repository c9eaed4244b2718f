"""What is compiled for the decoder: it is torch's."""

import dataclasses
from typing import List, Optional, Tuple

import numpy as np
import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import gelu
from whisper.tokenizer import get_tokenizer

from bench.recordings import Recording
from bench.speech import error_rate, segments
from recognizer import search
from recognizer.alignment import listening, warp
from recognizer.audio import Samples
from recognizer.compiled.library import Library
from recognizer.compiled.matrices import CompiledLinear, CompiledVocabulary
from recognizer.compiled.pages import large_pages
from recognizer.compiled.step import can_compile
from recognizer.decoder import FastDecoder
from recognizer.int8 import Int8Linear
from recognizer.precision import apply_precision
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings
from recognizer.weights import load_weights
from recognizer.words import align, starts_s
from tests.harness.instructions import EACH_SET

HEADS = ((0, 1), (1, 0), (2, 1))
ROWS = 5
BEAM_AND_ONE = 6
SIZES = whisper.ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=128,
    n_audio_head=2,
    n_audio_layer=1,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=128,
    n_text_head=2,
    n_text_layer=3,
)


@pytest.fixture(scope="module", params=EACH_SET)
def library(request: pytest.FixtureRequest) -> Library:
    return Library(request.param)


def decoder_of(seed: int) -> FastDecoder:
    torch.manual_seed(seed)
    model = whisper.Whisper(SIZES)
    nn.init.normal_(model.decoder.positional_embedding, std=0.3)
    return FastDecoder(model.decoder.eval().requires_grad_(False), ROWS, HEADS)


def both(library: Library, seed: int = 0) -> List[FastDecoder]:
    """The same decoder compiled, and by torch in int8; both have heard the same."""
    compiled, by_torch = decoder_of(seed), apply_precision(decoder_of(seed), "int8")
    compiled.compile(library)
    features = torch.randn(70, SIZES.n_text_state)
    by_torch.listen(features)
    compiled.hear(by_torch.heard)
    for decoder in (compiled, by_torch):
        decoder.memory.zero_()
    return [compiled, by_torch]


def are_near(found: Tensor, right: Tensor, within: float = 0.02) -> bool:
    """But for a rounding to the next of 256 here and there."""
    return bool((found - right).norm() <= within * right.norm())


def are_foretold(logits: Tensor, right: Tensor) -> bool:
    """The best are as exact as all else, and the others as four bits can be."""
    best = right.topk(BEAM_AND_ONE).indices
    return are_near(logits.gather(1, best), right.gather(1, best)) and are_near(logits, right, within=0.15)


# --- the same as torch -----------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 70), st.sampled_from([8, 64, 512, 2048]), st.integers(1, 200)),
    loudness=st.sampled_from([1e-4, 1.0, 300.0]),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_matrix_is_that_of_torch(
    library: Library, shape: "tuple[int, int, int]", loudness: float, has_bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    n_rows, n_in, n_out = shape
    linear = nn.Linear(n_in, n_out, bias=has_bias or n_in > n_out).requires_grad_(False)
    x = loudness * torch.randn(n_rows, n_in)
    found, right = CompiledLinear(library, linear)(x), Int8Linear(linear)(x)
    one_rounding = (x.amax() - x.amin()).clamp(min=1e-6) / 255 * linear.weight.abs().amax()
    assert found.shape == right.shape
    assert float((found - right).abs().amax()) <= 2 * float(one_rounding) + 1e-5 * float(right.abs().amax())


@pytest.mark.parametrize("sign", [1, -1])
def test_weights_that_are_all_as_large_as_can_be_are_multiplied_as_by_torch(library: Library, sign: int) -> None:
    """Where four products are added in 16 bits, these do not fit."""
    torch.manual_seed(0)
    linear = nn.Linear(64, 40).requires_grad_(False)
    linear.weight.copy_(sign * (1 - 2 * torch.eye(40, 64)))
    x = torch.cat((torch.ones(9, 64), torch.rand(9, 64)))
    torch.testing.assert_close(CompiledLinear(library, linear)(x), Int8Linear(linear)(x))


@pytest.mark.parametrize("shift", [-30.0, 0.0, 0.1, 7.0])
def test_what_a_matrix_multiplies_is_rounded_exactly_as_by_torch(library: Library, shift: float) -> None:
    """An identity shows it."""
    linear = nn.Linear(512, 512, bias=False).requires_grad_(False)
    linear.weight.copy_(torch.eye(512))
    torch.manual_seed(int(shift))
    x = 10 * torch.randn(700, 512) + shift
    step = (x.amax().clamp(min=0) - x.amin().clamp(max=0)) / 255
    found, right = CompiledLinear(library, linear)(x), Int8Linear(linear)(x)
    assert float((found - right).abs().amax()) < 0.01 * float(step)


def test_rows_that_are_scaled_are_rounded_as_by_torch_but_for_ties(library: Library) -> None:
    """An identity of the half of what comes in shows it; each row has a step of its own."""
    linear = nn.Linear(1024, 512).requires_grad_(False)
    linear.weight.copy_(torch.eye(512, 1024))
    linear.bias.zero_()
    torch.manual_seed(0)
    x = gelu(torch.randn(700, 1024)) * torch.logspace(-2, 2, 700)[:, None]
    steps = x.abs().amax(1, keepdim=True) / 255
    off = (CompiledLinear(library, linear)(x) - Int8Linear(linear)(x)).abs() / steps
    assert float((off > 0.01).float().mean()) < 1e-4
    assert float(off.amax()) < 1.5


def test_numbers_of_another_kind_are_refused(library: Library) -> None:
    linear = CompiledLinear(library, nn.Linear(512, 128).requires_grad_(False))
    for x in (torch.zeros(2, 512, dtype=torch.float16), torch.zeros(2, 256)):
        with pytest.raises(TypeError, match="expected float32"):
            linear(x)


def test_what_is_given_to_a_matrix_is_left_as_it_is(library: Library) -> None:
    linear = CompiledLinear(library, nn.Linear(512, 128).requires_grad_(False))
    x = torch.randn(2, 3, 512)
    before = x.clone()
    assert linear(x).shape == (2, 3, 128)
    assert linear(x.transpose(0, 1)).shape == (3, 2, 128)
    assert torch.equal(x, before)


@pytest.mark.parametrize("x", [torch.zeros(3, 64), torch.full((2, 64), 7.0), -torch.ones(1, 64)])
def test_silence_and_what_has_one_sign_are_multiplied_as_by_torch(library: Library, x: Tensor) -> None:
    linear = nn.Linear(64, 40).requires_grad_(False)
    torch.testing.assert_close(CompiledLinear(library, linear)(x), Int8Linear(linear)(x), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(
        st.integers(1, 14), st.sampled_from([64, 384, 512]), st.one_of(st.integers(6, 9000), st.just(20_001))
    ),
    shared=st.sampled_from([0.0, 3.0]),
    loudness=st.sampled_from([1e-4, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_the_best_of_a_vocabulary_are_those_of_float32(
    library: Library, shape: "tuple[int, int, int]", shared: float, loudness: float, seed: int
) -> None:
    torch.manual_seed(seed)
    n_rows, n_state, n_vocab = shape
    embedding = torch.randn(n_vocab, n_state) + shared * torch.randn(n_state)
    x = loudness * torch.randn(n_rows, n_state)
    found, right = CompiledVocabulary(library, embedding)(x), x @ embedding.T
    spread = loudness * n_state**0.5
    (values, tokens), expected = found.topk(BEAM_AND_ONE), right.topk(BEAM_AND_ONE).values
    assert float((values - expected).abs().amax()) < 0.05 * spread
    assert float((right.gather(1, tokens) - expected).abs().amax()) < 0.05 * spread
    assert float((found - right).abs().amax()) < 1.5 * spread


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_are_foretold_alike_alone_and_beside_others(library: Library, threads: int) -> None:
    """As loud as each other, or their steps are others."""
    torch.manual_seed(0)
    vocabulary = CompiledVocabulary(library, torch.randn(20_000, 64))
    x = torch.randn(1, 64).expand(7, 64)
    library.threads = threads
    found = vocabulary(x)
    library.threads = 1
    assert torch.equal(found, vocabulary(x[:1]).expand(7, 20_000))


@pytest.mark.parametrize("embedding", [torch.zeros(300, 64), torch.ones(300, 64), torch.eye(64).repeat(5, 1)])
def test_tokens_that_are_all_alike_are_foretold_as_they_are(library: Library, embedding: Tensor) -> None:
    x = torch.linspace(-1, 1, 64)[None]
    torch.testing.assert_close(CompiledVocabulary(library, embedding)(x), x @ embedding.T, rtol=0.02, atol=0.02)


@torch.inference_mode()
def test_a_token_comes_in_as_exactly_as_in_16_bits(library: Library) -> None:
    """Its layers add nothing here, and its other tokens are one number each: what is foretold is what came in."""
    decoder, n_state = decoder_of(0), SIZES.n_text_state
    each = torch.eye(n_state)[: n_state // 2]  # and its negative, so that all together are nothing
    said = 1e3 * torch.randn(50, n_state)
    decoder.embedding = nn.Parameter(torch.cat((each, -each, said, -said)), requires_grad=False)
    decoder.n_vocab = len(decoder.embedding)
    for layer in decoder._blocks():
        for last in (layer.attn_out, layer.cross_out, layer.feed_forward.fall):
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
    right = decoder.norm(said + decoder.positions[: len(said)])[:, : len(each)]
    decoder.compile(library)
    decoder.listen(torch.randn(70, n_state))
    decoder.memory.zero_()
    logits, _ = decoder.follow(torch.arange(2 * len(each), 2 * len(each) + len(said)))
    assert float((logits[:, : len(each)] - right).abs().amax()) < 2e-4


@torch.inference_mode()
def test_of_what_whisper_makes_of_speech_the_best_tokens_are_those_of_float32(
    library: Library, samples: Samples
) -> None:
    model = load_weights("base").eval()
    states: List[Tensor] = []
    model.decoder.ln.register_forward_hook(lambda _, __, state: states.append(state[0]))
    tokenizer = get_tokenizer(True, language="en", task="transcribe")
    prompt = tokenizer.sot_sequence_including_notimestamps
    text = [*prompt, *tokenizer.encode(" Ever tried. Ever failed. No matter.")]
    sound = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(samples)))
    logits = model.decoder(torch.tensor([text]), model.encoder(sound[None]))[0, len(prompt) - 1 :]
    found = CompiledVocabulary(library, model.decoder.token_embedding.weight.detach())(states[0][len(prompt) - 1 :])
    best = logits.topk(BEAM_AND_ONE)
    assert bool((logits.gather(1, found.argmax(1, keepdim=True)) > best.values[:, :1] - 0.3).all())
    assert float((found.gather(1, best.indices) - best.values).abs().amax()) < 0.5
    assert float((found.logsumexp(1) - logits.logsumexp(1)).abs().amax()) < 0.3


@settings(deadline=None, max_examples=30)
@given(n_rows=st.integers(1, 6), n=st.integers(8, 3000), k=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_the_best_tokens_are_those_of_torch(library: Library, n_rows: int, n: int, k: int, seed: int) -> None:
    torch.manual_seed(seed)
    logits = 5 * torch.randn(n_rows, n)
    logits[:, torch.randperm(n)[: (n - k) // 2]] = -torch.inf
    (found, tokens), (values, right) = library.best(logits, k), search.best(logits, k)
    torch.testing.assert_close(found, values, rtol=1e-5, atol=1e-5)
    assert torch.equal(tokens, right)


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(1, 8), st.integers(1, 40), st.integers(1, 300)),
    st.integers(0, 20),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([1e-9, 1e-3]),
)
def test_where_tokens_listen_is_what_torch_makes_of_it(
    library: Library, sizes: Tuple[int, int, int], beyond: int, before: float, least_deviation: float
) -> None:
    n_heads, n_tokens, n_positions = sizes
    torch.manual_seed(n_tokens)
    scores = 3 * torch.randn(n_heads, n_tokens, n_positions + beyond)
    asked = (scores, n_positions, int(before * n_tokens), least_deviation)
    torch.testing.assert_close(
        library.listening(*asked), listening(*asked), rtol=1e-4, atol=1e-4 if n_tokens > 1 else 1e-7
    )


def test_where_tokens_listen_is_asked_of_tokens_and_positions_that_are_there(library: Library) -> None:
    scores = torch.zeros(2, 3, 10)
    for n_positions, first in ((11, 0), (0, 0), (10, 3), (10, -1)):
        with pytest.raises(IndexError):
            library.listening(scores, n_positions, first, 1e-9)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_the_way_through_costs_is_that_of_numpy(
    library: Library, n_rows: int, n_columns: int, seed: int, has_ties: bool
) -> None:
    cost = np.random.default_rng(seed).normal(size=(n_rows, n_columns)).astype(np.float32)
    asked = torch.from_numpy(np.round(cost) if has_ties else cost)
    assert library.warp(asked) == warp(asked)


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(3))
def test_a_prompt_and_the_steps_behind_it_are_those_of_torch(library: Library, seed: int) -> None:
    compiled, by_torch = both(library, seed)
    prompt = torch.tensor([50258, 50264, 50359, 50363, 11, 12, 13])
    found, right = (decoder.prompt(prompt, (0, -1)) for decoder in (compiled, by_torch))
    assert found.shape == (2, SIZES.n_vocab)
    assert are_foretold(found, right)
    for offset in range(len(prompt), len(prompt) + 4):
        tokens = torch.randint(50000, (3, ROWS))[1]  # not side by side in memory
        by_torch.memory.copy_(compiled.memory)
        found, right = (decoder.step(tokens, offset) for decoder in (compiled, by_torch))
        assert are_foretold(found, right)
        assert are_near(compiled.memory, by_torch.memory)


@torch.inference_mode()
@pytest.mark.parametrize("logits_from", [0, 3, 9])
def test_what_follows_a_text_is_that_of_torch(library: Library, logits_from: int) -> None:
    compiled, by_torch = both(library)
    for offset in (0, 9):
        tokens = torch.randint(50000, (9,))
        by_torch.memory.copy_(compiled.memory)
        (found, scores), (right, expected) = (
            decoder.follow(tokens, offset, logits_from) for decoder in (compiled, by_torch)
        )
        assert found.shape == (9 - logits_from, SIZES.n_vocab)
        assert scores.shape == expected.shape == (len(HEADS), 9, 70)
        assert len(found) == 0 or are_foretold(found, right)
        assert are_near(scores, expected)


@torch.inference_mode()
@pytest.mark.parametrize(("n", "asked"), [(9, range(1, 9)), (9, range(3, 8)), (100, range(4, 99)), (2, range(1, 2))])
@pytest.mark.parametrize("n_among", [None, 50257])
def test_how_likely_the_tokens_of_a_text_are_is_that_of_torch(
    library: Library, n: int, asked: range, n_among: Optional[int]
) -> None:
    compiled, by_torch = both(library)
    tokens = torch.randint(50000, (2 * n,))[::2]
    (found, scores), (right, expected) = (decoder.read_back(tokens, asked, n_among) for decoder in (compiled, by_torch))
    assert found.shape == right.shape == (len(asked),)
    assert are_near(found, right)
    assert are_near(scores, expected)


@torch.inference_mode()
def test_a_part_of_longer_memory_is_listened_to(library: Library) -> None:
    compiled, by_torch = both(library)
    longer = [tuple(torch.cat((part, part), 2)[:, :, :70] for part in heard) for heard in by_torch.heard]
    tokens = torch.randint(50000, (ROWS,))
    alone = compiled.step(tokens, 0)
    compiled.hear([(keys, values) for keys, values in longer])
    assert torch.equal(compiled.step(tokens, 0), alone)


@torch.inference_mode()
@given(st.lists(st.integers(0, ROWS - 1), min_size=ROWS, max_size=ROWS), st.integers(0, 20), st.integers(1, 20))
@settings(deadline=None, max_examples=20)
def test_rows_move_as_by_torch(library: Library, sources: List[int], first: int, length: int) -> None:
    compiled, by_torch = MOVED.setdefault(library.name, both(library))
    with torch.inference_mode():
        compiled.memory.normal_()
        by_torch.memory.copy_(compiled.memory)
        for decoder in (compiled, by_torch):
            decoder.rearrange(sources, first, first + length)
        assert torch.equal(compiled.memory, by_torch.memory)


MOVED: "dict[str, List[FastDecoder]]" = {}


@torch.inference_mode()
def test_what_has_no_place_is_refused_and_nothing_is_written(library: Library) -> None:
    compiled, _ = both(library)
    before = compiled.memory.clone()
    one, rows = torch.tensor([7]), torch.tensor([7] * (ROWS + 1))
    for refused in (
        lambda: compiled.step(one, SIZES.n_text_ctx),
        lambda: compiled.step(one, -1),
        lambda: compiled.step(rows, 0),
        lambda: compiled.step(torch.tensor([SIZES.n_vocab]), 0),
        lambda: compiled.step(torch.tensor([-1]), 0),
        lambda: compiled.follow(one.repeat(9), SIZES.n_text_ctx - 8),
        lambda: compiled.read_back(one.repeat(9), range(9)),
        lambda: compiled.read_back(one.repeat(9), range(1, 10)),
        lambda: compiled.read_back(one.repeat(9), range(3, 3)),
        lambda: compiled.read_back(torch.tensor([1, 50300]), range(1, 2), 50257),
        lambda: compiled.rearrange([1, 0, 2, 3, ROWS], 0, 1),
        lambda: compiled.rearrange([1, 0, 2, 3, 4], 0, SIZES.n_text_ctx + 1),
    ):
        with pytest.raises(IndexError, match="no such tokens, rows or positions"):
            refused()
    assert torch.equal(compiled.memory, before)
    compiled.hear([])
    with pytest.raises(ValueError, match="listens to nothing"):
        compiled.step(one, 0)
    with pytest.raises(ValueError, match="in one piece"):
        compiled.hear([(torch.zeros(1, 2, 64, 70).transpose(2, 3),) * 2])
    for other in (torch.zeros(1, 2, 71, 64), torch.zeros(1, 3, 70, 64), torch.zeros(2, 2, 70, 64)):
        with pytest.raises(ValueError, match="all layers have to listen to"):
            compiled.hear([(torch.zeros(1, 2, 70, 64), other)] * 3)


@pytest.fixture(scope="module")
def recognizers() -> List[Recognizer]:
    """Compiled, and by torch."""
    return [Recognizer(RecognizerSettings(device="cpu", compiled=compiled), 1) for compiled in ("auto", "off")]


def test_a_recording_has_the_same_text_and_the_same_words(recognizers: List[Recognizer], samples: Samples) -> None:
    compiled, by_torch = (one.recognize(samples, Request("en", words=True)) for one in recognizers)
    assert compiled.text == by_torch.text
    assert [word.text for word in compiled.words] == [word.text for word in by_torch.words]
    for word, other in zip(compiled.words, by_torch.words):
        assert abs(word.start_s - other.start_s) <= 0.1
        assert abs(word.confidence - other.confidence) <= 0.1


@torch.inference_mode()
def test_times_alone_are_those_beside_log_probabilities(library: Library) -> None:
    tokenizer = get_tokenizer(True, num_languages=99, language="en", task="transcribe")
    tokens = tokenizer.encode(" one two three four")
    for decoder in both(library):
        for prefix in ((), tokenizer.encode(" zero")):
            asked = (decoder, tokenizer, prefix, tokens, 1.4)
            aligned = align(*asked)
            assert starts_s(*asked) == aligned.starts_s
            assert len(aligned.starts_s) == len(tokens) + 1
            assert len(aligned.logprobs) == len(tokens)


@pytest.mark.thorough
def test_recordings_have_as_few_errors(recognizers: List[Recognizer], recordings: List[Recording]) -> None:
    """Texts differ here and there by a letter, as a rounding may fall to the other side."""
    chosen = [one for one in recordings if one.references and one.language == "ko"][::5]
    rates = [
        error_rate(
            [one.references for one in chosen],
            [
                " ".join(recognizer.recognize(segment, Request("ko")).text for segment in segments(one.pcm))
                for one in chosen
            ],
            "ko",
        )
        for recognizer in recognizers
    ]
    assert rates[0] <= rates[1] + 0.03


@pytest.mark.parametrize("half", ["text", "audio"])
def test_a_model_of_other_heads_stays_with_torch(half: str) -> None:
    assert can_compile(SIZES)
    assert not can_compile(dataclasses.replace(SIZES, **{f"n_{half}_head": 4}))


def test_memory_in_large_pages_is_as_long_as_asked_for() -> None:
    memory = large_pages(3 * 1024 * 1024 + 5)
    assert memory.shape == (3 * 1024 * 1024 + 5,)
    assert memory.data_ptr() % (2 * 1024 * 1024) == 0
    memory.fill_(3)
    assert int(memory.sum(dtype=torch.long)) == 3 * len(memory)
