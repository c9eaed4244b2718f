"""Weights → encoder and decoder on a device, without ever having all of them twice.

The file stays where it is, mapped (weights.py). A block of it at a time is brought to the numbers to compute in, and
stacked. For a card, that is done on the host; there, what a half of the model has lies side by side in one piece of
memory, which is filled tensor by tensor. Nothing else is ever there, and one handle lends all of it to a process that
computes with it (`Loan`).
"""

import logging
from dataclasses import asdict
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
import whisper
from torch import Tensor, nn

from recognizer.alignment import Heads, alignment_heads
from recognizer.compiled.library import Library, choose_library
from recognizer.compiled.step import can_compile
from recognizer.decoder import FastDecoder
from recognizer.devices import count_cards, find_devices
from recognizer.encoder import FastEncoder
from recognizer.precision import DTYPES, Precision, apply_precision, choose_precision
from recognizer.settings import RecognizerSettings
from recognizer.weights import Skeleton, map_weights
from recognizer.windows import choose_windows

_log = logging.getLogger(__name__)

_ALIGNMENT = 256  # bytes, as every allocation of CUDA's has (CUDA C++ Programming Guide, "Device Memory Accesses")
_OWN = ("memory",)  # of the decoder: what each process that computes writes to, and has for itself
_LEARNT = ("silent_keys", "silent_values")  # of the encoder's layers


class Loaded(NamedTuple):
    """What a recogniser computes with; `model` has sizes and no weights."""

    model: whisper.Whisper
    encoder: FastEncoder
    decoder: FastDecoder
    precision: Precision

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.device


def load_for(settings: RecognizerSettings) -> Loaded:
    """Load what these name, on the first card of several; raises RecognizerError, MemoryError."""
    device = find_devices(settings.device, count_cards)[0]
    precision = choose_precision(settings.compute, device)
    if device.type != "cpu":
        return borrow(prepare(settings.size, device, precision), settings.beam_size)
    library, reason = choose_library(settings.compiled) if precision.dtype == "int8" else (None, "")
    loaded = load(settings.size, precision, settings.beam_size, library)
    if loaded.decoder.instructions:
        _log.info("matrices in int8: compiled for %s%s", loaded.decoder.instructions, reason and f", because {reason}")
    elif precision.dtype == "int8":
        _log.info("matrices in int8: by torch, because %s", reason or "its heads are not of Whisper's size")
    return loaded


def load(size: str, precision: Precision, beam_size: int, library: Optional[Library] = None) -> Loaded:
    """Load `model.size` for the processor, and `beam_size` hypotheses at once; raises WeightsError, MemoryError.

    `library` is compiled code for what is in int8.
    """
    model = map_weights(size)
    heads = alignment_heads(model)
    compiled = library if precision.dtype == "int8" and can_compile(model.dims) else None
    encoder = FastEncoder(_in_numbers(model.encoder, torch.float32))
    if compiled is None:
        apply_precision(encoder, precision.dtype)
    else:
        encoder.compile(compiled)
    choose_windows(encoder, model.dims)
    decoder = FastDecoder(_in_numbers(model.decoder, torch.float32), beam_size, heads)
    _empty(model)
    if compiled is None:
        apply_precision(decoder, precision.dtype)
    else:
        decoder.compile(compiled)
    return Loaded(model, encoder, decoder, precision)


# --- in one piece of memory ------------------------------------------------------------------


class _Place(NamedTuple):
    """Where a tensor of a module lies; one that the module has in several places has several names."""

    names: Tuple[str, ...]
    dtype: torch.dtype
    shape: Tuple[int, ...]
    start: int  # bytes

    @property
    def end(self) -> int:
        """Its first byte that is not in it."""
        return self.start + self.shape_bytes

    @property
    def shape_bytes(self) -> int:
        """How many bytes it has."""
        return int(torch.Size(self.shape).numel()) * torch.empty(0, dtype=self.dtype).element_size()


class Packed(NamedTuple):
    """Tensors of a module, side by side in one piece of `memory` (bytes)."""

    memory: Tensor
    places: Tuple[_Place, ...]

    def tensor(self, place: _Place) -> Tensor:
        """One of them; no copy."""
        return self.memory[place.start : place.end].view(place.dtype).view(place.shape)

    def give_to(self, module: nn.Module) -> None:
        """Let a module of the same shape have them in place of its own."""
        for place in self.places:
            _put(module, place.names, self.tensor(place))

    def on(self, device: torch.device) -> "Packed":
        """The same there; not a copy where it is there."""
        return self._replace(memory=self.memory.to(device))


class Loan(NamedTuple):
    """What is needed to compute with weights that another process may own; pickled, it holds handles of the memory."""

    dims: Dict[str, int]
    heads: Heads
    precision: Precision
    encoder: Tuple[Packed, ...]
    decoder: Tuple[Packed, ...]

    @property
    def size_bytes(self) -> int:
        """Of memory on the device."""
        return sum(packed.memory.numel() for packed in (*self.encoder, *self.decoder))

    def shared(self) -> "Loan":
        """The same, in memory that other processes can map: a card's is so anyway."""
        for packed in (*self.encoder, *self.decoder):
            packed.memory.share_memory_()  # type: ignore[no-untyped-call]
        return self

    def on(self, device: torch.device) -> "Loan":
        """The same on another device."""
        encoder = tuple(packed.on(device) for packed in self.encoder)
        return self._replace(encoder=encoder, decoder=tuple(packed.on(device) for packed in self.decoder))


def prepare(size: str, device: torch.device, precision: Precision) -> Loan:
    """Load `model.size` to a device in numbers that have no scales (not int8); raises WeightsError, MemoryError."""
    model = map_weights(size)
    heads = alignment_heads(model)
    encoder = FastEncoder(_in_numbers(model.encoder, DTYPES[precision.dtype]))
    weights = _pack(encoder, device, lambda leaf: leaf not in _LEARNT)
    choose_windows(encoder, model.dims)
    learnt = (_pack(encoder, device, lambda leaf: leaf in _LEARNT),) if encoder.knows_silence else ()
    decoder = FastDecoder(_in_numbers(model.decoder, DTYPES[precision.dtype]), 1, heads)
    _empty(model)
    packed = _pack(decoder, device, lambda leaf: leaf not in _OWN)
    return Loan(asdict(model.dims), heads, precision, (weights, *learnt), (packed,))


def borrow(loan: Loan, beam_size: int) -> Loaded:
    """Compute with a loan, and memory of one's own for `beam_size` hypotheses at once."""
    model = Skeleton(whisper.ModelDimensions(**loan.dims))
    n_rows = beam_size if loan.encoder[0].memory.device.type == "cpu" else 1  # elsewhere the beam is StaticDecoder's
    encoder, decoder = FastEncoder(model.encoder), FastDecoder(model.decoder, n_rows, loan.heads)
    for packed in loan.encoder:
        packed.give_to(encoder)
    for packed in loan.decoder:
        packed.give_to(decoder)
    for name in _OWN:
        own = torch.zeros(getattr(decoder, name).shape, dtype=decoder.dtype, device=decoder.device)
        _put(decoder, (name,), own)
    return Loaded(model, encoder, decoder, loan.precision)


def _pack(module: nn.Module, device: torch.device, wanted: Callable[[str], bool]) -> Packed:
    """Move tensors of a module, told by the last part of their names, into one piece of memory, one by one."""
    places = _plan(module, wanted)
    end = places[-1].end if places else 0
    packed = Packed(torch.empty(end, dtype=torch.uint8, device=device), places)
    for place in places:
        tensor = packed.tensor(place)
        tensor.copy_(_tensors(module)[place.names[0]])
        _put(module, place.names, tensor)
    return packed


def _plan(module: nn.Module, wanted: Callable[[str], bool]) -> Tuple[_Place, ...]:
    names: Dict[int, List[str]] = {}
    tensors = _tensors(module)
    for name, tensor in tensors.items():
        if wanted(name.rpartition(".")[2]):
            names.setdefault(id(tensor), []).append(name)
    places: List[_Place] = []
    start = 0
    for of_one in names.values():
        tensor = tensors[of_one[0]]
        places.append(_Place(tuple(of_one), tensor.dtype, tuple(tensor.shape), start))
        start = -(-places[-1].end // _ALIGNMENT) * _ALIGNMENT
    return tuple(places)


def _tensors(module: nn.Module) -> Dict[str, Tensor]:
    """All that a module has, by name."""
    parameters: Dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(remove_duplicate=False))}


def _put(module: nn.Module, names: Tuple[str, ...], tensor: Tensor) -> None:
    parameter = nn.Parameter(tensor, requires_grad=False)
    for name in names:
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        setattr(owner, leaf, parameter if leaf in owner._parameters else tensor)


# --- from the file ---------------------------------------------------------------------------


class _Blocks(nn.ModuleList):
    """Whisper's blocks, each of which has weights in these numbers while it is looked at, and then none."""

    def __init__(self, blocks: nn.ModuleList, dtype: torch.dtype) -> None:
        super().__init__(blocks)
        self._dtype = dtype

    def __iter__(self) -> Iterator[Any]:
        for block in super().__iter__():
            _convert(block, self._dtype)
            yield block
            _forget(block)

    def emptied(self) -> nn.ModuleList:
        """The same as they are: openai-whisper looks at them whenever it decodes."""
        return nn.ModuleList(super().__iter__())


def _in_numbers(half: Any, dtype: torch.dtype) -> Any:
    """Whisper's encoder or decoder with copies of its weights in these numbers, of its blocks only as they come up."""
    blocks, half.blocks = half.blocks, nn.ModuleList()
    _convert(half, dtype)
    half.blocks = _Blocks(blocks, dtype)
    return half


def _empty(model: whisper.Whisper) -> None:
    """All has been copied: sizes are left."""
    for half in (model.encoder, model.decoder):
        half.blocks = half.blocks.emptied()
    _forget(model)


def _convert(module: nn.Module, dtype: torch.dtype) -> None:
    """A copy in any case: nothing of the file is to be needed later."""
    for name, tensor in _tensors(module).items():
        _put(module, (name,), tensor.detach().to(dtype, copy=True))


def _forget(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data.new_empty(0)
