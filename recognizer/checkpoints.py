"""The file formats that Whisper weights come in, each read into an openai-whisper checkpoint.

No reader runs code that a file carries: pickles are read with `weights_only=True`, the others hold no code.

    read_openai(path)        a `.pt` of openai-whisper
    read_hugging_face(path)  a folder with `config.json` and `model.safetensors` (also in shards)
    read_ctranslate2(path)   a float16 or float32 `model.bin` of CTranslate2
"""

import json
import mmap
import os
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple, Union, cast

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from protocol.packets import printable
from recognizer.memory import is_out_of_memory

CTRANSLATE2_FILE = "model.bin"
SAFETENSORS_PATTERN = "model*.safetensors"

StateDict = Dict[str, Tensor]


class CheckpointError(Exception):
    """A file of weights that cannot be used; the text says why in one line, without the path."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))  # names in a file may be anything


class Checkpoint(NamedTuple):
    """What `whisper.Whisper` is built from: its ModelDimensions by name, and its state dict."""

    dims: Dict[str, int]
    state_dict: StateDict


def read_checkpoint(path: Path) -> Checkpoint:
    """Read weights of any of the formats; raises CheckpointError."""
    readers: List[Tuple[bool, Callable[[Path], Checkpoint], Path]] = [
        (path.is_file(), read_openai, path),
        (path.is_dir() and (path / CTRANSLATE2_FILE).is_file(), read_ctranslate2, path / CTRANSLATE2_FILE),
        (path.is_dir() and any(path.glob(SAFETENSORS_PATTERN)), read_hugging_face, path),
    ]
    for applies, read, target in readers:
        if applies:
            return _explaining(read, target)
    raise CheckpointError(
        "it is neither a .pt file nor a folder with model.safetensors (Hugging Face) or model.bin (CTranslate2)"
    )


def _explaining(read: Callable[[Path], Checkpoint], path: Path) -> Checkpoint:
    """Whatever a damaged or hostile file makes a reader raise becomes one line."""
    try:
        return read(path)
    except CheckpointError:
        raise
    except MemoryError:
        raise CheckpointError("there is not enough memory to read it") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[:1] or [""]
        raise CheckpointError(f"it cannot be read as Whisper weights ({type(error).__name__}: {reason[0]})") from error


# --- openai-whisper --------------------------------------------------------------------------


def read_openai(path: Path) -> Checkpoint:
    """A `.pt` as openai-whisper publishes it: `{"dims": …, "model_state_dict": …}`."""
    try:
        # Only torch's older files, which are no zip archives, have to be read into memory.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except OSError:
        raise
    except Exception as error:  # whose text advises to load it with the code that it may carry
        if is_out_of_memory(error):
            raise MemoryError from error
        raise CheckpointError(
            "it is damaged, or no checkpoint of openai-whisper; copy or download it again, or name other weights"
        ) from error
    if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= content.keys():
        raise CheckpointError("it is no openai-whisper checkpoint: 'dims' and 'model_state_dict' are missing")
    return Checkpoint(content["dims"], content["model_state_dict"])


# --- Hugging Face ----------------------------------------------------------------------------

_HUGGING_FACE_NAMES = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.embed_tokens\.", ".token_embedding."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
)


def read_hugging_face(folder: Path) -> Checkpoint:
    """A folder written by `WhisperForConditionalGeneration.save_pretrained`, as fine-tuned models come."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    state_dict: StateDict = {}
    for shard in sorted(folder.glob(SAFETENSORS_PATTERN)):
        for name, tensor in load_file(shard).items():
            if name != "proj_out.weight":  # tied to the token embedding
                state_dict[openai_name(name)] = tensor
    dims = {
        "n_mels": config["num_mel_bins"],
        "n_vocab": config["vocab_size"],
        "n_audio_ctx": config["max_source_positions"],
        "n_audio_state": config["d_model"],
        "n_audio_head": config["encoder_attention_heads"],
        "n_audio_layer": config["encoder_layers"],
        "n_text_ctx": config["max_target_positions"],
        "n_text_state": config["d_model"],
        "n_text_head": config["decoder_attention_heads"],
        "n_text_layer": config["decoder_layers"],
    }
    return Checkpoint(dims, state_dict)


def openai_name(name: str) -> str:
    """openai-whisper's name of one of Hugging Face's tensors."""
    for pattern, replacement in _HUGGING_FACE_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


# --- CTranslate2 -----------------------------------------------------------------------------

_CT2_SUPPORTED_VERSIONS = (5, 6)
_CT2_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_CT2_BFLOAT16 = 5

_CT2_BLOCK_NAMES = {
    "self_attention/layer_norm": "attn_ln",
    "self_attention/linear_1": "attn.out",
    "attention/layer_norm": "cross_attn_ln",
    "attention/linear_0": "cross_attn.query",
    "attention/linear_2": "cross_attn.out",
    "ffn/layer_norm": "mlp_ln",
    "ffn/linear_0": "mlp.0",
    "ffn/linear_1": "mlp.2",
}
# Matrices that CTranslate2 stacks, and the parts in their order.
_CT2_STACKED = {
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
}
_CT2_LEAVES = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
_CT2_TOP_NAMES = {
    "encoder/conv1/weight": "encoder.conv1.weight",
    "encoder/conv1/bias": "encoder.conv1.bias",
    "encoder/conv2/weight": "encoder.conv2.weight",
    "encoder/conv2/bias": "encoder.conv2.bias",
    "encoder/layer_norm/gamma": "encoder.ln_post.weight",
    "encoder/layer_norm/beta": "encoder.ln_post.bias",
    "decoder/layer_norm/gamma": "decoder.ln.weight",
    "decoder/layer_norm/beta": "decoder.ln.bias",
    "decoder/embeddings/weight": "decoder.token_embedding.weight",
    "encoder/position_encodings/encodings": "encoder.positional_embedding",
    "decoder/position_encodings/encodings": "decoder.positional_embedding",
}
_CT2_BLOCK = re.compile(r"(encoder|decoder)/layer_(\d+)/(.+)/(gamma|beta|weight|bias)")


def read_ctranslate2(path: Path) -> Checkpoint:
    """A `model.bin` written by CTranslate2's Whisper converter in float16 or float32.

    Layout: CTranslate2, `python/ctranslate2/specs/model_spec.py`, `ModelSpec._serialize`.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return parse_ctranslate2(content)


def parse_ctranslate2(content: Union[bytes, mmap.mmap]) -> Checkpoint:
    """The same from memory; raises CheckpointError, or whatever damaged content leads to."""
    variables = _ct2_variables(content)
    state_dict: StateDict = {}
    for name, tensor in variables.items():
        state_dict.update(_ct2_rename(name, tensor))
    return Checkpoint(_ct2_dims(variables), state_dict)


def _ct2_variables(content: Union[bytes, mmap.mmap]) -> Dict[str, Tensor]:
    reader = _StructReader(content)
    version, spec = reader.number("I"), ""
    if version in _CT2_SUPPORTED_VERSIONS:
        spec = reader.text()
    if spec != "WhisperSpec":
        raise CheckpointError(f"it is no Whisper model of CTranslate2 (version {version}, specification {spec!r})")
    reader.number("I")  # revision of the specification
    variables: Dict[str, Tensor] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = tuple(reader.number("I") for _ in range(reader.number("B")))
        dtype_id, size_bytes = reader.number("B"), reader.number("I")
        variables[name] = _ct2_tensor(name, shape, dtype_id, reader.take(size_bytes))
    for _ in range(reader.number("I")):  # what was equal is stored once
        alias, name = reader.text(), reader.text()
        variables[alias] = variables[name]
    return variables


def _ct2_tensor(name: str, shape: Tuple[int, ...], dtype_id: int, data: bytes) -> Tensor:
    if dtype_id == _CT2_BFLOAT16:
        return torch.frombuffer(bytearray(data), dtype=torch.bfloat16).reshape(shape)
    if dtype_id not in _CT2_DTYPES:
        raise CheckpointError(f"its variable {name} has an unknown type ({dtype_id})")
    if dtype_id == 1 and len(shape) > 1:
        raise CheckpointError("its weights are int8, which loses accuracy; convert the model with float16 instead")
    return torch.from_numpy(np.frombuffer(bytearray(data), dtype=_CT2_DTYPES[dtype_id]).reshape(shape))


class _StructReader:
    """Reads little-endian values one after the other; raises CheckpointError where the content ends too soon."""

    def __init__(self, content: Union[bytes, mmap.mmap]) -> None:
        self._content = content
        self._offset = 0

    def take(self, size_bytes: int) -> bytes:
        data = self._content[self._offset : self._offset + size_bytes]
        if len(data) < size_bytes:
            raise CheckpointError(f"it is cut off after {len(self._content)} bytes")
        self._offset += size_bytes
        return data

    def number(self, code: str) -> int:
        return cast(int, struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        return self.take(self.number("H")).rstrip(b"\0").decode("utf-8")


def _ct2_rename(name: str, tensor: Tensor) -> StateDict:
    """One CTranslate2 variable → the entries of openai-whisper's state dict; settings give none."""
    if name in _CT2_TOP_NAMES:
        return {_CT2_TOP_NAMES[name]: tensor}
    match = _CT2_BLOCK.fullmatch(name)
    if match is None:
        return {}
    side, layer, part, leaf = match.groups()
    prefix = f"{side}.blocks.{layer}."
    suffix = "." + _CT2_LEAVES[leaf]
    if part in _CT2_STACKED:
        names = _CT2_STACKED[part]
        pieces = zip(names, tensor.chunk(len(names)))
        # Whisper's keys have no bias; CTranslate2 stores zeros for it.
        return {prefix + n + suffix: piece for n, piece in pieces if not (leaf == "bias" and n.endswith(".key"))}
    if part not in _CT2_BLOCK_NAMES:
        raise CheckpointError(f"its variable {name} belongs to no Whisper layer")
    return {prefix + _CT2_BLOCK_NAMES[part] + suffix: tensor}


def _ct2_dims(variables: Dict[str, Tensor]) -> Dict[str, int]:
    conv = variables["encoder/conv1/weight"]
    n_vocab, n_text_state = variables["decoder/embeddings/weight"].shape
    return {
        "n_mels": conv.shape[1],
        "n_vocab": n_vocab,
        "n_audio_ctx": variables["encoder/position_encodings/encodings"].shape[0],
        "n_audio_state": conv.shape[0],
        "n_audio_head": int(variables["encoder/num_heads"]),
        "n_audio_layer": _ct2_layers(variables, "encoder"),
        "n_text_ctx": variables["decoder/position_encodings/encodings"].shape[0],
        "n_text_state": n_text_state,
        "n_text_head": int(variables["decoder/num_heads"]),
        "n_text_layer": _ct2_layers(variables, "decoder"),
    }


def _ct2_layers(variables: Dict[str, Tensor], side: str) -> int:
    found = (re.match(rf"{side}/layer_(\d+)/", name) for name in variables)
    return 1 + max(int(match.group(1)) for match in found if match)


# --- writing ---------------------------------------------------------------------------------


def write_openai(checkpoint: Checkpoint, path: Path) -> None:
    """Write a `.pt` so that `path` is either whole or absent; only one process at a time. Raises OSError."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    content: Dict[str, Any] = {"dims": checkpoint.dims, "model_state_dict": checkpoint.state_dict}
    try:
        with open(unfinished, "wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except RuntimeError as error:  # torch's word for a disk that is full
        raise OSError(str(error)) from error
    finally:
        if unfinished.exists():
            unfinished.unlink()
