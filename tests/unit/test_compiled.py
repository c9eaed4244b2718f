"""What is compiled for the decoder: it is torch's; and what happens where it cannot be had."""

import dataclasses
import logging
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional

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
from recognizer import processor, search
from recognizer.alignment import warp
from recognizer.audio import Samples
from recognizer.compiled import build as building
from recognizer.compiled import library as libraries
from recognizer.compiled.__main__ import main
from recognizer.compiled.build import SETS, BuildError, build
from recognizer.compiled.library import Library, choose_library, usable_sets
from recognizer.compiled.matrices import CompiledLinear
from recognizer.compiled.pages import large_pages
from recognizer.compiled.step import can_compile
from recognizer.decoder import FastDecoder
from recognizer.int8 import Int8Linear
from recognizer.precision import apply_precision
from recognizer.recognizer import Recognizer, RecognizerSettings
from recognizer.request import Request
from recognizer.words import align, starts_s
from tests.harness.instructions import EACH_SET, USABLE, needs_instructions

HEADS = ((0, 1), (1, 0), (2, 1))
ROWS = 5
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


def are_near(found: Tensor, right: Tensor) -> bool:
    """But for a rounding to the next of 256 here and there."""
    return bool((found - right).norm() <= 0.02 * right.norm())


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
    assert are_near(found, right)
    for offset in range(len(prompt), len(prompt) + 4):
        tokens = torch.randint(50000, (3, ROWS))[1]  # not side by side in memory
        by_torch.memory.copy_(compiled.memory)
        found, right = (decoder.step(tokens, offset) for decoder in (compiled, by_torch))
        assert are_near(found, right)
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
        assert are_near(found, right)
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
    if n_among is None:
        whole = compiled.follow(tokens)[0].log_softmax(-1)
        own = whole[asked.start - 1 : asked.stop - 1].gather(1, tokens[asked.start : asked.stop, None])[:, 0]
        assert are_near(found, own)


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


# --- where it cannot be had ------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where nothing has been compiled yet, and what is compiled is ready soon."""
    monkeypatch.setattr(building, "BUILT", tmp_path / "built")
    monkeypatch.setattr(building, "_FLAGS", ("-std=gnu11", "-O0", "-fPIC", "-shared", "-pthread"))
    return tmp_path / "built"


def compiler(folder: Path, does: str) -> str:
    """A program in place of the compiler."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@needs_instructions
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("exit 3", "fails: status 3"),
        ("echo >&2; echo '3 is no number' >&2; exit 1", "fails: 3 is no number"),
        (r"printf '\377\n' >&2; exit 1", "fails: \ufffd"),
        ("sleep 60 & sleep 60", "takes more than 0 s"),
    ],
)
def test_of_a_compiler_that_fails_the_first_line_is_told(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, does))
    monkeypatch.setattr(building, "_TIMEOUT_S", 0.3)
    library, reason = choose_library("auto")
    assert library is None
    assert reason.startswith(f"the C compiler {tmp_path}/compiler ")
    assert reason.endswith(said)
    assert not list(built.iterdir())


@needs_instructions
def test_without_a_compiler_torch_computes_and_the_log_says_why(
    built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O")
    with caplog.at_level(logging.INFO):
        recognizer = Recognizer(RecognizerSettings(device="cpu"), 1)
    expected = "matrices in int8: by torch, because there is no C compiler no-such-compiler "
    assert any(message.startswith(expected) for message in caplog.messages)
    assert not list(built.iterdir())
    assert isinstance(recognizer.parts.network.decoder.vocabulary, Int8Linear)


@needs_instructions
def test_a_folder_that_is_none_is_named(built: Path) -> None:
    built.write_text("a file")
    with pytest.raises(BuildError, match=r"built is of no use .*: run python -m recognizer.compiled"):
        build(USABLE[0])


@needs_instructions
def test_a_setting_that_is_no_command_is_told(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'")
    with pytest.raises(BuildError, match="No closing quotation"):
        build(USABLE[0])


@needs_instructions
def test_a_torn_library_is_made_anew(built: Path) -> None:
    path = build(USABLE[0])
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"garbage"):
        path.unlink()  # what is loaded stays as it is
        path.write_bytes(torn)
        assert Library(USABLE[0]).width
        assert path.read_bytes() == whole


@needs_instructions
def test_what_is_compiled_once_is_used_again_whatever_the_compiler_is_called(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(USABLE[0])
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build(USABLE[0]) == path
    assert list(built.iterdir()) == [path]


@needs_instructions
def test_another_source_is_compiled_anew_and_the_older_library_goes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build(USABLE[0])
    changed = tmp_path / "sources"
    shutil.copytree(building.SOURCES, changed)
    header = changed / "numbers.h"
    header.write_bytes(header.read_bytes() + b"\n")
    monkeypatch.setattr(building, "SOURCES", changed)
    after = build(USABLE[0])
    assert after != before
    assert list(built.iterdir()) == [after]


def test_another_kind_of_machine_has_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BuildError, match="written for x86-64, and this is aarch64"):
        build("avx2")


@pytest.mark.parametrize(
    ("capability", "limit", "flags", "usable"),
    [
        ("AVX512", "", SETS["amx"][1], ["amx", "avx512_vnni", "avx2"]),
        ("AVX512", "AVX512_CORE_BF16", SETS["amx"][1], ["avx512_vnni", "avx2"]),
        ("AVX512", "AVX512_CORE_AMX", SETS["amx"][1], ["amx", "avx512_vnni", "avx2"]),
        ("AVX512", "", SETS["avx512_vnni"][1], ["avx512_vnni", "avx2"]),
        ("AVX512", "", (*SETS["avx2"][1], "avx512f"), ["avx2"]),
        ("AVX2", "", SETS["amx"][1], ["avx2"]),
        ("DEFAULT", "", SETS["amx"][1], []),
        ("AVX2", "", ("sse4_2",), []),
    ],
)
def test_instructions_within_the_limits_are_taken_best_first(
    monkeypatch: pytest.MonkeyPatch, capability: str, limit: str, flags: "tuple[str, ...]", usable: "list[str]"
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(processor, "capability", lambda: capability)
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    assert usable_sets() == usable


def test_where_linux_refuses_amx_there_are_older_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, refusing = tmp_path / "refusing.c", tmp_path / "refusing.so"
    source.write_text("int ask_for_tiles(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(refusing)], check=True)
    monkeypatch.setattr(libraries, "usable_sets", lambda: ["amx", *USABLE[-1:]])
    monkeypatch.setattr(libraries, "build", lambda name: refusing if name == "amx" else build(name))
    library, reason = choose_library("auto")
    assert reason == "Linux does not let this process have AMX"
    assert (library.name if library else None) == (USABLE[-1] if USABLE else None)


def test_where_nothing_is_usable_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "capability", lambda: "DEFAULT")
    assert choose_library("auto") == (
        None,
        "this processor has none of the instructions that it is written for: torch finds DEFAULT",
    )


@needs_instructions
def test_instructions_that_a_compiler_does_not_know_make_way_for_older_ones(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler of before the best set: it is the reason, and not the end."""
    if len(USABLE) < 2:
        pytest.skip("this processor has the oldest set only")
    flags, needed = SETS[USABLE[0]]
    monkeypatch.setitem(SETS, USABLE[0], ((*flags, "-mno-such-instructions"), needed))
    library, reason = choose_library("auto")
    assert library is not None
    assert library.name == USABLE[1]
    assert "no-such-instructions" in reason


def test_who_switches_it_off_has_torch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Recognizer(RecognizerSettings(device="cpu", compiled="off"), 1)
    assert "matrices in int8: by torch, because model.compiled is off" in caplog.messages


@pytest.mark.parametrize("half", ["text", "audio"])
def test_a_model_of_other_heads_stays_with_torch(half: str) -> None:
    assert can_compile(SIZES)
    assert not can_compile(dataclasses.replace(SIZES, **{f"n_{half}_head": 4}))


def test_the_command_says_what_it_made_and_what_it_could_not(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    assert [Path(line.rpartition(": ")[2]).parent for line in capsys.readouterr().out.splitlines()] == [built] * len(
        SETS
    )
    for path in built.iterdir():
        path.unlink()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main() == 1
    assert capsys.readouterr().err.splitlines() == [
        f"matrices in int8 cannot be compiled for {name}: there is no C compiler no-such-compiler "
        "(No such file or directory; apt install gcc libc6-dev, or another)"
        for name in SETS
    ]


def test_memory_in_large_pages_is_as_long_as_asked_for() -> None:
    memory = large_pages(3 * 1024 * 1024 + 5)
    assert memory.shape == (3 * 1024 * 1024 + 5,)
    assert memory.data_ptr() % (2 * 1024 * 1024) == 0
    memory.fill_(3)
    assert int(memory.sum(dtype=torch.long)) == 3 * len(memory)
