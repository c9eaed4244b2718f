"""Weights on their way to a device: what they are there, and how much memory that takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import whisper
from torch import nn

from recognizer import loading
from recognizer.decoder import FastDecoder
from recognizer.encoder import FastEncoder
from recognizer.loading import Loaded, borrow, load, prepare
from recognizer.precision import Precision
from recognizer.weights import map_weights
from tests.harness.footprint import Footprint

DIMS = whisper.ModelDimensions(80, 200, 128, 2, 6, 1000, 448, 128, 2, 8)
HALF = Precision("float16", "that is tested")
FULL = Precision("float32", "that is tested")
BYTES = Precision("int8", "that is tested")
META = torch.device("meta")  # stands for a card; where a module is being built, its sizes are there too
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> whisper.Whisper:
    torch.manual_seed(0)
    model = whisper.Whisper(DIMS)
    torch.nn.init.normal_(model.decoder.positional_embedding)
    return model


def saved(model: whisper.Whisper, path: Path, dtype: torch.dtype) -> str:
    state_dict = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    torch.save({"dims": asdict(model.dims), "model_state_dict": state_dict}, path)
    return str(path)


@pytest.fixture(scope="module", params=[torch.float16, torch.float32], ids=str)
def file(model: whisper.Whisper, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    return saved(model, tmp_path_factory.mktemp("weights") / "own.pt", request.param)


def size_bytes(module: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def heard(loaded: Loaded, mel: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        features = loaded.encoder(mel)
        loaded.decoder.listen(features)
        return loaded.decoder.prompt(torch.tensor([500, 501, 502]), range(3))


def test_what_is_lent_computes_as_what_is_loaded(file: str) -> None:
    mel = torch.randn(80, 300)
    expected = heard(load(file, FULL, 3), mel)
    assert torch.equal(heard(borrow(prepare(file, CPU, FULL), 3), mel), expected)


def test_two_who_borrow_have_their_own_memory_and_write_nothing_into_the_loan(file: str) -> None:
    loan = prepare(file, CPU, FULL)
    before = [packed.memory.clone() for packed in (*loan.encoder, *loan.decoder)]
    one, other = borrow(loan, 2), borrow(loan, 2)
    sounds = [torch.randn(80, 160), torch.randn(80, 300)]
    expected = [heard(borrow(prepare(file, CPU, FULL), 2), mel) for mel in sounds]
    found = [heard(each, mel) for each, mel in zip((one, other), sounds)]
    assert all(torch.equal(*pair) for pair in zip(found, expected))
    assert one.decoder.embedding.data_ptr() == other.decoder.embedding.data_ptr()
    assert one.decoder.memory.data_ptr() != other.decoder.memory.data_ptr()
    with torch.inference_mode():
        step = one.decoder.step(torch.tensor([7, 9]), 3)
        heard(other, sounds[1])
        assert torch.equal(one.decoder.step(torch.tensor([7, 9]), 3), step)
    after = [packed.memory for packed in (*loan.encoder, *loan.decoder)]
    assert all(torch.equal(*pair) for pair in zip(before, after))


def test_nothing_is_needed_of_the_file_once_it_is_loaded(model: whisper.Whisper, tmp_path: Path) -> None:
    path = saved(model, tmp_path / "own.pt", torch.float32)
    mel = torch.randn(80, 300)
    loaded, loan = load(path, FULL, 1), prepare(path, CPU, FULL)
    expected = heard(load(path, FULL, 1), mel)
    Path(path).write_bytes(b"\xff" * Path(path).stat().st_size)  # into its own pages: whoever maps it sees this
    assert torch.equal(heard(loaded, mel), expected)
    assert torch.equal(heard(borrow(loan, 1), mel), expected)


def test_a_loan_is_in_the_numbers_that_are_asked_for(file: str) -> None:
    loaded = borrow(prepare(file, META, HALF), 5)
    assert loaded.device == META
    assert {parameter.dtype for half in (loaded.encoder, loaded.decoder) for parameter in half.parameters()} == {
        torch.float16
    }


def test_what_a_loan_has_learnt_is_in_these_numbers_too() -> None:
    loaded = borrow(prepare("base", CPU, HALF), 5)
    assert {buffer.dtype for buffer in loaded.encoder.buffers()} == {torch.float16}


# --- how much memory


def whole(model: whisper.Whisper) -> int:
    """Bytes of the weights in half precision."""
    return size_bytes(model) // 2


def test_a_card_holds_the_weights_in_half_precision_and_what_they_make_of_silence_and_no_more(
    model: whisper.Whisper, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = map_weights(file)  # all sizes
    monkeypatch.setattr(loading, "map_weights", lambda _: mapped)
    with Footprint() as footprint:
        prepare(file, META, HALF)
    silence = 2 * 6 * 25 * 128 * 2
    assert footprint.most_bytes["meta"] < 1.01 * whole(model) + silence  # the pass over silence is over before the rest
    assert footprint.most_bytes["meta"] >= whole(model)
    assert footprint.largest_bytes["meta"] < size_bytes(model.decoder.blocks[0])


def test_the_host_holds_no_more_than_one_half_of_the_model_and_one_block(model: whisper.Whisper, file: str) -> None:
    with Footprint() as footprint:
        prepare(file, META, HALF)
    largest = max(size_bytes(half) for half in (model.encoder, model.decoder)) // 2
    block = size_bytes(model.decoder.blocks[0]) // 2
    memory = 8 * 2 * 448 * 128 * 2  # of one hypothesis: taken, and never touched
    assert footprint.most_bytes["cpu"] < 1.01 * largest + 2 * block + memory
    assert footprint.most_bytes["cpu"] < whole(model)


@pytest.mark.parametrize("precision", [FULL, BYTES], ids=str)
def test_the_processor_holds_no_more_than_the_model_in_float32_and_one_block_and_matrix(
    model: whisper.Whisper, file: str, precision: Precision
) -> None:
    with Footprint() as footprint:
        load(file, precision, 5)
    memory = 8 * 2 * 5 * 448 * 128 * 4
    activations = 10 * 200 * 4 * 128 * 4
    block, matrix = size_bytes(model.decoder.blocks[0]), size_bytes(model.decoder.token_embedding)
    assert footprint.most_bytes["cpu"] < 1.02 * size_bytes(model) + 2 * block + matrix + memory + activations


def test_the_parts_that_are_named_are_all_that_a_module_has(file: str) -> None:
    """What a decoder gets beside its weights one day is to be lent, or to be each engine's own, on purpose."""
    loan = prepare(file, META, HALF)
    lent = {name for packed in (*loan.encoder, *loan.decoder) for place in packed.places for name in place.names}
    for half in (FastEncoder(whisper.Whisper(DIMS).encoder), FastDecoder(whisper.Whisper(DIMS).decoder, 1)):
        names = {name for name, _ in half.named_parameters(remove_duplicate=False)}
        assert names - lent <= {"memory"}
