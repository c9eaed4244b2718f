"""The three file formats of weights, written here by hand and read back."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import whisper
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from recognizer.checkpoints import (
    Checkpoint,
    CheckpointError,
    parse_ctranslate2,
    read_checkpoint,
    write_openai,
)

DIMS = whisper.ModelDimensions(
    n_mels=80,
    n_audio_ctx=30,
    n_audio_state=64,
    n_audio_head=2,
    n_audio_layer=2,
    n_vocab=500,
    n_text_ctx=24,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=2,
)

BROKEN_PT = "it is damaged, or no checkpoint of openai-whisper; copy or download it again, or name other weights"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """Random weights, every one of them different, that float16 and bfloat16 hold exactly."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in whisper.Whisper(DIMS).state_dict().items()}
    return {name: torch.randint(-128, 128, shape, generator=generator) / 64 for name, shape in shapes.items()}


def assert_same(checkpoint: Checkpoint, weights: dict[str, Tensor]) -> None:
    """The checkpoint builds a model, and that model has the weights."""
    assert checkpoint.dims == asdict(DIMS)
    model = whisper.Whisper(whisper.ModelDimensions(**checkpoint.dims))
    model.load_state_dict(checkpoint.state_dict)
    loaded = model.state_dict()
    assert loaded.keys() == weights.keys()
    assert [name for name in weights if not torch.equal(loaded[name], weights[name])] == []


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# --- writers

HF_MODULES = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "cross_attn.query": "encoder_attn.q_proj",
    "cross_attn.key": "encoder_attn.k_proj",
    "cross_attn.value": "encoder_attn.v_proj",
    "cross_attn.out": "encoder_attn.out_proj",
    "cross_attn_ln": "encoder_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
    "ln_post": "layer_norm",  # the encoder's
    "ln": "layer_norm",  # the decoder's
    "token_embedding": "embed_tokens",
    "conv1": "conv1",
    "conv2": "conv2",
}


def hugging_face_name(name: str) -> str:
    match = re.fullmatch(r"(encoder|decoder)\.(?:blocks\.(\d+)\.)?(?:(.+)\.)?(\w+)", name)
    assert match is not None
    side, layer, module, leaf = match.groups()
    if leaf == "positional_embedding":
        return f"{side}.embed_positions.weight"
    return ".".join([side, *(["layers", layer] if layer else []), HF_MODULES[module], leaf])


HF_CONFIG = {
    "model_type": "whisper",
    "num_mel_bins": DIMS.n_mels,
    "vocab_size": DIMS.n_vocab,
    "max_source_positions": DIMS.n_audio_ctx,
    "d_model": DIMS.n_audio_state,
    "encoder_attention_heads": DIMS.n_audio_head,
    "encoder_layers": DIMS.n_audio_layer,
    "max_target_positions": DIMS.n_text_ctx,
    "decoder_attention_heads": DIMS.n_text_head,
    "decoder_layers": DIMS.n_text_layer,
}


def write_hugging_face(
    folder: Path, weights: dict[str, Tensor], prefix: str = "model.", shards: int = 1, dtype: torch.dtype = torch.float
) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(HF_CONFIG))
    tensors = [(prefix + hugging_face_name(name), tensor.to(dtype)) for name, tensor in weights.items()]
    for shard in range(shards):
        name = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        save_file(dict(tensors[shard::shards]), folder / name)
    return folder


CT2_DTYPES = {torch.float32: 0, torch.int8: 1, torch.int16: 2, torch.int32: 3, torch.float16: 4, torch.bfloat16: 5}
CT2_MODULES = {
    "attn.out": "self_attention/linear_1",
    "attn_ln": "self_attention/layer_norm",
    "cross_attn.query": "attention/linear_0",
    "cross_attn.out": "attention/linear_2",
    "cross_attn_ln": "attention/layer_norm",
    "mlp.0": "ffn/linear_0",
    "mlp.2": "ffn/linear_1",
    "mlp_ln": "ffn/layer_norm",
}


def ct2_variables(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """What CTranslate2's converter makes of the weights: its names, matrices stacked, key biases of zero."""
    variables = {
        "encoder/conv1/weight": weights["encoder.conv1.weight"],
        "encoder/conv1/bias": weights["encoder.conv1.bias"],
        "encoder/conv2/weight": weights["encoder.conv2.weight"],
        "encoder/conv2/bias": weights["encoder.conv2.bias"],
        "encoder/position_encodings/encodings": weights["encoder.positional_embedding"],
        "encoder/layer_norm/gamma": weights["encoder.ln_post.weight"],
        "encoder/layer_norm/beta": weights["encoder.ln_post.bias"],
        "decoder/embeddings/weight": weights["decoder.token_embedding.weight"],
        "decoder/position_encodings/encodings": weights["decoder.positional_embedding"],
        "decoder/layer_norm/gamma": weights["decoder.ln.weight"],
        "decoder/layer_norm/beta": weights["decoder.ln.bias"],
    }
    for side, layers in (("encoder", DIMS.n_audio_layer), ("decoder", DIMS.n_text_layer)):
        for layer in range(layers):
            block, scope = f"{side}.blocks.{layer}.", f"{side}/layer_{layer}/"
            stacks = {"self_attention/linear_0": ["attn.query", "attn.key", "attn.value"]}
            if side == "decoder":
                stacks["attention/linear_1"] = ["cross_attn.key", "cross_attn.value"]
            for name, parts in stacks.items():
                variables[f"{scope}{name}/weight"] = torch.cat([weights[f"{block}{part}.weight"] for part in parts])
                biases = [weights.get(f"{block}{part}.bias", torch.zeros(DIMS.n_text_state)) for part in parts]
                variables[f"{scope}{name}/bias"] = torch.cat(biases)
            for module, name in CT2_MODULES.items():
                leaves = ("gamma", "beta") if module.endswith("_ln") else ("weight", "bias")
                if f"{block}{module}.weight" in weights:
                    variables[f"{scope}{name}/{leaves[0]}"] = weights[f"{block}{module}.weight"]
                    variables[f"{scope}{name}/{leaves[1]}"] = weights[f"{block}{module}.bias"]
    return {
        **{name: tensor.to(dtype) for name, tensor in variables.items()},
        "encoder/num_heads": torch.tensor(DIMS.n_audio_head, dtype=torch.int16),
        "decoder/num_heads": torch.tensor(DIMS.n_text_head, dtype=torch.int16),
        "decoder/pre_norm": torch.tensor(1, dtype=torch.int8),
        "decoder/alignment_layer": torch.tensor(-1, dtype=torch.int16),
    }


def ct2_string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


def ct2_variable(name: str, tensor: Tensor) -> bytes:
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    shape = struct.pack(f"<B{tensor.dim()}I", tensor.dim(), *tensor.shape)
    return ct2_string(name) + shape + struct.pack("<BI", CT2_DTYPES[tensor.dtype], len(data)) + data


def ct2_file(
    variables: dict[str, Tensor], version: int = 6, spec: str = "WhisperSpec", aliases: dict[str, str] | None = None
) -> bytes:
    head = struct.pack("<I", version) + ct2_string(spec) + struct.pack("<II", 3, len(variables))
    body = b"".join(ct2_variable(name, variables[name]) for name in sorted(variables))
    all_aliases = {"decoder/projection/weight": "decoder/embeddings/weight", **(aliases or {})}
    names = b"".join(ct2_string(alias) + ct2_string(name) for alias, name in all_aliases.items())
    return head + body + struct.pack("<I", len(all_aliases)) + names


def write_ctranslate2(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    return folder


# --- what is read


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_checkpoint_of_openai_whisper_is_read(tmp_path: Path, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    content = {"dims": asdict(DIMS), "model_state_dict": {name: tensor.to(dtype) for name, tensor in weights.items()}}
    torch.save(content, tmp_path / "model.pt")
    assert_same(read_checkpoint(tmp_path / "model.pt"), weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("prefix", ["model.", ""])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_folder_of_hugging_face_is_read(
    tmp_path: Path, weights: dict[str, Tensor], dtype: torch.dtype, prefix: str, shards: int
) -> None:
    folder = write_hugging_face(tmp_path / "hf", weights, prefix, shards, dtype)
    assert_same(read_checkpoint(folder), weights)


def test_the_names_of_hugging_face_are_those_of_transformers() -> None:
    assert hugging_face_name("encoder.positional_embedding") == "encoder.embed_positions.weight"
    assert hugging_face_name("encoder.conv1.bias") == "encoder.conv1.bias"
    assert hugging_face_name("encoder.ln_post.weight") == "encoder.layer_norm.weight"
    assert hugging_face_name("decoder.token_embedding.weight") == "decoder.embed_tokens.weight"
    assert hugging_face_name("decoder.blocks.1.cross_attn_ln.bias") == "decoder.layers.1.encoder_attn_layer_norm.bias"
    assert hugging_face_name("decoder.blocks.0.attn.key.weight") == "decoder.layers.0.self_attn.k_proj.weight"


def test_an_output_projection_of_hugging_face_is_the_token_embedding_again(
    tmp_path: Path, weights: dict[str, Tensor]
) -> None:
    folder = write_hugging_face(tmp_path / "hf", weights)
    save_file({"proj_out.weight": weights["decoder.token_embedding.weight"]}, folder / "model-2.safetensors")
    assert_same(read_checkpoint(folder), weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("version", [5, 6])
def test_a_file_of_ctranslate2_is_read(
    tmp_path: Path, weights: dict[str, Tensor], dtype: torch.dtype, version: int
) -> None:
    folder = write_ctranslate2(tmp_path / "ct2", ct2_file(ct2_variables(weights, dtype), version))
    assert_same(read_checkpoint(folder), weights)


def test_what_ctranslate2_found_twice_and_stored_once_is_read(weights: dict[str, Tensor]) -> None:
    first, second = (f"decoder/layer_{layer}/self_attention/layer_norm/beta" for layer in range(2))
    weights = {**weights, "decoder.blocks.1.attn_ln.bias": weights["decoder.blocks.0.attn_ln.bias"]}
    variables = ct2_variables(weights, torch.float16)
    del variables[second]
    assert_same(parse_ctranslate2(ct2_file(variables, aliases={second: first})), weights)


@pytest.mark.parametrize("write", ["openai", "hugging face", "ctranslate2"])
def test_what_was_read_is_written_as_openai_whisper_writes_it(
    tmp_path: Path, weights: dict[str, Tensor], write: str
) -> None:
    if write == "hugging face":
        checkpoint = read_checkpoint(write_hugging_face(tmp_path / "hf", weights))
    elif write == "ctranslate2":
        checkpoint = parse_ctranslate2(ct2_file(ct2_variables(weights, torch.float16)))
    else:
        checkpoint = Checkpoint(asdict(DIMS), weights)
    write_openai(checkpoint, tmp_path / "model.pt")
    model = whisper.load_model(str(tmp_path / "model.pt"), device="cpu")
    assert_same(Checkpoint(asdict(model.dims), model.state_dict()), weights)


# --- what is not

WRITERS: dict[str, Callable[[Path, dict[str, Tensor]], Path]] = {
    "model.pt": lambda folder, weights: write_pt(folder / "model.pt", weights),
    "model.safetensors": lambda folder, weights: write_hugging_face(folder / "hf", weights),
    "model.bin": lambda folder, weights: write_ctranslate2(
        folder / "ct2", ct2_file(ct2_variables(weights, torch.float16))
    ),
}


def write_pt(path: Path, weights: dict[str, Tensor]) -> Path:
    torch.save({"dims": asdict(DIMS), "model_state_dict": weights}, path)
    return path


@pytest.mark.parametrize("kept", [0.0, 1e-6, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_is_refused_in_one_line(
    tmp_path: Path, weights: dict[str, Tensor], name: str, kept: float
) -> None:
    path = WRITERS[name](tmp_path, weights)
    file = path if path.is_file() else path / name
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content)) + (kept > 0)])
    assert refusal(path).startswith("it ")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"hello", b"\x80\x04]\x94.", b"PK\x03\x04", bytes(10_000), b"\xff" * 10_000])
@pytest.mark.parametrize("name", WRITERS)
def test_a_file_of_something_else_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "config.json").write_text(json.dumps(HF_CONFIG))
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path / name if name == "model.pt" else tmp_path).startswith("it ")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04]\x94.", b"PK\x03\x04", bytes(10_000), b"\x80\x02}q\x00"])
def test_a_broken_pt_file_is_not_answered_with_torchs_advice_to_run_its_code(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert refusal(tmp_path / "model.pt") == BROKEN_PT


def test_no_memory_for_a_pt_file_does_not_make_it_a_broken_one(
    tmp_path: Path, weights: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(torch, "load", load)
    assert refusal(write_pt(tmp_path / "model.pt", weights)) == "there is not enough memory to read it"


@pytest.mark.parametrize("content", [[1, 2], {}, {"dims": {}}, {"model_state_dict": {}}, torch.zeros(3)], ids=str)
def test_a_pt_file_without_dims_or_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "model.pt")
    assert refusal(tmp_path / "model.pt").endswith("'dims' and 'model_state_dict' are missing")


def test_a_path_that_holds_no_weights_is_told_what_could_be_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / "missing.pt"):
        message = refusal(path)
        assert all(name in message for name in (".pt", "model.safetensors", "model.bin"))


@pytest.mark.parametrize("config", [None, "", "[]", "{}", "not json", json.dumps({"d_model": 64})])
def test_a_folder_without_a_usable_config_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], config: str | None
) -> None:
    folder = write_hugging_face(tmp_path / "hf", weights)
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    assert refusal(folder).startswith("it cannot be read as Whisper weights")


def test_a_translation_model_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    variables = ct2_variables(weights, torch.float16)
    message = refusal(write_ctranslate2(tmp_path / "ct2", ct2_file(variables, spec="TransformerSpec")))
    assert message == "it is no Whisper model of CTranslate2 (version 6, specification 'TransformerSpec')"


@pytest.mark.parametrize("version", [0, 4, 7, 2**32 - 1])
def test_an_unknown_version_of_ctranslate2_is_refused(tmp_path: Path, weights: dict[str, Tensor], version: int) -> None:
    content = ct2_file(ct2_variables(weights, torch.float16), version)
    assert f"version {version}" in refusal(write_ctranslate2(tmp_path / "ct2", content))


def test_int8_weights_are_refused_with_advice(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    variables = ct2_variables(weights, torch.float16)
    variables["decoder/embeddings/weight"] = variables["decoder/embeddings/weight"].to(torch.int8)
    message = refusal(write_ctranslate2(tmp_path / "ct2", ct2_file(variables)))
    assert "int8" in message
    assert "float16" in message


def test_an_unknown_type_and_an_unknown_layer_are_refused(weights: dict[str, Tensor]) -> None:
    variables = ct2_variables(weights, torch.float16)
    content = ct2_file(variables)
    marker = ct2_string("encoder/conv1/bias") + struct.pack("<BI", 1, 64)
    position = content.index(marker) + len(marker)
    with pytest.raises(CheckpointError, match=r"encoder/conv1/bias has an unknown type \(9\)"):
        parse_ctranslate2(content[:position] + b"\x09" + content[position + 1 :])
    with pytest.raises(CheckpointError, match="belongs to no Whisper layer"):
        parse_ctranslate2(ct2_file({**variables, "encoder/layer_0/rotary/weight": torch.zeros(2)}))


@pytest.mark.parametrize("part", ["\x1b[31m", "a\x0bb"])
def test_a_name_in_a_file_cannot_break_the_line_that_names_it(
    tmp_path: Path, weights: dict[str, Tensor], part: str
) -> None:
    variables = {**ct2_variables(weights, torch.float16), f"encoder/layer_0/{part}/weight": torch.zeros(2)}
    message = refusal(write_ctranslate2(tmp_path / "ct2", ct2_file(variables)))
    assert message.isprintable()
    assert "layer_0" in message


@pytest.fixture(scope="module")
def small_ct2(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The variables of a model with their first values only: every name and number of a file, little else."""
    variables = ct2_variables(weights, torch.float16)
    content = ct2_file({name: tensor[:2] if tensor.dim() else tensor for name, tensor in variables.items()})
    return write_ctranslate2(tmp_path_factory.mktemp("small"), content) / "model.bin"


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.integers(0), st.integers(0, 255), min_size=1, max_size=4))
def test_a_damaged_file_of_ctranslate2_is_read_or_refused(small_ct2: Path, damage: dict[int, int]) -> None:
    damaged = bytearray(small_ct2.read_bytes())
    for offset, value in damage.items():
        damaged[offset % len(damaged)] = value
    folder = write_ctranslate2(small_ct2.parent / "damaged", bytes(damaged))
    with suppress(CheckpointError):  # and no other error
        read_checkpoint(folder)


# --- code in files


class Hostile:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", ["torch", "torch before zip", "pickle"])
def test_a_pickle_that_carries_code_is_refused_and_the_code_never_runs(tmp_path: Path, save: str) -> None:
    path, trace = tmp_path / "model.pt", tmp_path / "the code ran"
    content = {"dims": asdict(DIMS), "model_state_dict": {"encoder.conv1.weight": Hostile(trace)}}
    if save == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=save == "torch")
    assert refusal(path) == BROKEN_PT
    assert not trace.exists()
    if save != "pickle":
        torch.load(path, weights_only=False)
        assert trace.exists()  # the file does carry code


# --- writing


def test_a_file_that_is_written_is_alone(tmp_path: Path) -> None:
    write_openai(Checkpoint({"n_mels": 80}, {"a": torch.ones(3)}), tmp_path / "model.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert read_checkpoint(tmp_path / "model.pt").dims == {"n_mels": 80}


def test_writing_that_fails_leaves_the_file_that_was_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"the one before")
    unpicklable = {"a": lambda: None}
    with pytest.raises((AttributeError, pickle.PicklingError)):
        write_openai(Checkpoint({}, unpicklable), tmp_path / "model.pt")  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    assert (tmp_path / "model.pt").read_bytes() == b"the one before"


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        write_openai(Checkpoint({}, {}), tmp_path / "file" / "model.pt")
