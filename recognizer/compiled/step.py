"""A step of a FastDecoder by compiled code."""

import ctypes
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from whisper.model import ModelDimensions

from recognizer.compiled.library import Decoder, Heard, Layer, Library, Matrix, Task, array_of
from recognizer.compiled.matrices import CompiledLinear, CompiledVocabulary, lay_in_order, norm_of
from recognizer.int8 import quantize
from recognizer.layers import Norm as NormLayer

Sounds = List[Tuple[Tensor, Tensor]]  # each layer's keys and values of what it listens to, or all of them Packed


class Packed(NamedTuple):
    """What one layer listens to, in bfloat16: `Library.pack` of its keys, and its values (1, n_head, n, HEAD)."""

    packs: Tensor
    values: Tensor


HEAD = 64  # numbers of a head, as every Whisper model has


class CompiledSteps:
    """What one FastDecoder computes for its tokens.

    Args:
        library: what computes it.
        decoder: in float32 on the processor. Its matrices become compiled ones, and its embeddings a vocabulary.
    """

    def __init__(self, library: Library, decoder: Any) -> None:
        self._library, self._of = library, decoder
        quantize(decoder.layers, lambda linear: CompiledLinear(library, linear))
        norms = [norm for layer in decoder.layers for norm in _norms(layer)] + [decoder.norm]
        weights = [weight for norm in norms for weight in (norm.weight, norm.bias)]
        self._kept = [tensor.detach() for tensor in (decoder.positions, *weights)]
        decoder.vocabulary = CompiledVocabulary(library, decoder.embedding.detach())
        lay_in_order([*(linear for layer in decoder.layers for linear in _linears(layer)), decoder.vocabulary])
        self._hearing = array_of(Matrix, [layer.cross_kv.matrix for layer in decoder.layers])
        self._layers = array_of(Layer, [_layer(layer) for layer in decoder.layers])
        self._alignment = array_of(ctypes.c_int64, [number for head in decoder.alignment_heads for number in head])
        n_layer, _, n_rows, n_head, n_ctx, _ = decoder.memory.shape
        n_state = decoder.positions.shape[1]
        self._decoder = Decoder(
            *(decoder.positions.data_ptr(), ctypes.addressof(self._layers)),
            *(norm_of(decoder.norm), decoder.vocabulary.vocabulary),
            *(ctypes.addressof(self._alignment), len(decoder.alignment_heads)),
            *(n_layer, n_state, n_head, n_ctx, n_rows),
        )
        self._heard: List[Packed] = []  # what `_sounds` points to
        self._sounds = array_of(Heard, [])

    @property
    def name(self) -> str:
        """Of the instructions that are used."""
        return self._library.name

    def use_threads(self, threads: int) -> None:
        """From now on."""
        self._library.threads = threads

    def listen(self, features: Tensor) -> Sounds:
        """(n_audio_ctx, n_state) from the encoder → what each layer hears, in bfloat16; raises MemoryError."""
        keys, values = self._library.listen(self._hearing, features, self._decoder.n_head, packed=False)
        return list(zip(keys[:, None], values[:, None]))

    def listen_to(self, features: Tensor) -> Sounds:
        """The same, and hear it; what is returned is packed. Raises MemoryError."""
        packs, values = self._library.listen(self._hearing, features, self._decoder.n_head, packed=True)
        heard: Sounds = [Packed(*of_layer) for of_layer in zip(packs, values[:, None])]
        self.hear(heard)
        return heard

    def hear(self, heard: Sounds) -> None:
        """Listen to these keys and values of each layer from now on; what is changed in them is to be heard anew."""
        packed = [one for one in heard if isinstance(one, Packed)]
        if len(packed) < len(heard):
            heard = [(keys.to(torch.bfloat16), values.to(torch.bfloat16)) for keys, values in heard]
            self._check_order(heard)
            packed = [Packed(self._library.pack(keys[0]), values) for keys, values in heard]
        self._heard = packed
        self._sounds = array_of(Heard, [_sound(*one) for one in self._heard])

    def step(self, tokens: Tensor, offset: int) -> Tensor:
        """As FastDecoder's."""
        return self._run(tokens, offset, False, range(len(tokens)))

    def read(self, tokens: Tensor, offset: int, places: Sequence[int]) -> Tensor:
        """Compute for a text (length,) from position `offset` on → logits (len(places), n_vocab) of those tokens."""
        return self._run(tokens, offset, True, [place % len(tokens) for place in places])

    def follow(self, tokens: Tensor, offset: int, logits_from: int) -> Tuple[Tensor, Tensor]:
        """As FastDecoder's."""
        scores = self._scores(len(tokens))
        return self._run(tokens, offset, True, range(logits_from, len(tokens)), scores), scores

    def read_back(self, tokens: Tensor, asked: range, n_among: int) -> Tuple[Tensor, Tensor]:
        """As FastDecoder's."""
        tokens, scores = tokens.contiguous(), self._scores(len(tokens))
        task = self._task(tokens, 0, True)
        return self._library.read_back(self._decoder, task, asked, n_among, scores), scores

    def _scores(self, n_tokens: int) -> Tensor:
        n_audio_ctx = self._sounds[0].n if len(self._sounds) else 0
        return torch.empty(self._decoder.n_alignment, n_tokens, n_audio_ctx)

    def rearrange(self, sources: Sequence[int], first: int, end: int) -> None:
        """As FastDecoder's."""
        self._library.rearrange(self._decoder, self._of.memory, sources, first, end)

    def best(self, logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """As `search.best`."""
        return self._library.best(logits, k)

    def listening(self, scores: Tensor, n_positions: int, first: int, least_deviation: float) -> Tensor:
        """As `alignment.listening`."""
        return self._library.listening(scores, n_positions, first, least_deviation)

    def warp(self, cost: Tensor) -> List[int]:
        """As `alignment.warp`."""
        return self._library.warp(cost)

    def _check_order(self, heard: Sounds) -> None:
        """Raises ValueError."""
        tensors = [tensor for both in heard for tensor in both]
        if {tensor.stride()[2:] for tensor in tensors} - {(HEAD, 1)}:
            raise ValueError("keys and values of a head have to lie in one piece")
        expected = (1, self._decoder.n_head, tensors[0].shape[2], HEAD) if tensors else ()
        if any(tensor.shape != expected for tensor in tensors):
            raise ValueError(f"all layers have to listen to {expected}")

    def _run(
        self, tokens: Tensor, offset: int, is_text: bool, places: Sequence[int], told: Optional[Tensor] = None
    ) -> Tensor:
        tokens = tokens.contiguous()
        return self._library.run(self._decoder, self._task(tokens, offset, is_text), places, told)

    def _task(self, tokens: Tensor, offset: int, is_text: bool) -> Task:
        """Of tokens in one piece, which whoever has it keeps; raises ValueError."""
        if len(self._sounds) != self._decoder.n_layer:
            raise ValueError("the decoder listens to nothing")
        addresses = (tokens.data_ptr(), self._of.memory.data_ptr(), ctypes.addressof(self._sounds))
        return Task(*addresses, len(tokens), offset, is_text)


def can_compile(dims: ModelDimensions) -> bool:
    """Whether a model's heads have the size that is compiled."""
    audio, text = dims.n_audio_state == dims.n_audio_head * HEAD, dims.n_text_state == dims.n_text_head * HEAD
    return bool(audio and text)


def _linears(layer: Any) -> Tuple[CompiledLinear, ...]:
    """As a step takes them."""
    attention = (layer.qkv, layer.attn_out, layer.cross_query, layer.cross_out)
    return (*attention, layer.feed_forward.rise, layer.feed_forward.fall)


def _layer(layer: Any) -> Layer:
    norms = (norm_of(norm) for norm in _norms(layer))
    return Layer(*norms, *(linear.matrix for linear in _linears(layer)))


def _norms(layer: Any) -> Tuple[NormLayer, ...]:
    return layer.attn_norm, layer.cross_norm, layer.feed_forward.norm


def _sound(packs: Tensor, values: Tensor) -> Heard:
    """`values` (1, n_head, n, HEAD)."""
    return Heard(packs.data_ptr(), values.data_ptr(), values.stride(1), values.shape[2])
