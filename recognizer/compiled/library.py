"""What is compiled, called with tensors: its structures, and its functions."""

import ctypes
from typing import Any, List, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from recognizer import processor
from recognizer.compiled.build import SETS, BuildError, build

_NO_MEMORY, _IMPOSSIBLE = 1, 2  # of numbers.h
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


def usable_sets() -> List[str]:
    """Those that this processor has, best first, as far as ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA allow."""
    found = processor.flags()
    allowed = {"AVX512": set(SETS), "AVX2": {"avx2"}}.get(processor.capability(), set())
    if not processor.has_amx():
        allowed.discard("amx")
    return [name for name, (_, needed) in SETS.items() if name in allowed and found.issuperset(needed)]


class Matrix(ctypes.Structure):
    """`matrix` of matrices.h."""

    _fields_ = (
        *((name, _POINTER) for name in ("weights", "scales", "sums", "bias")),
        *((name, _POINTER) for name in ("outliers", "outlier_inputs", "outliers_before")),
        *((name, _COUNT) for name in ("n_in", "n_out", "scales_rows")),
    )


class Vocabulary(ctypes.Structure):
    """`vocabulary` of vocabulary.h."""

    _fields_ = (
        *((name, _POINTER) for name in ("weights", "scales", "sums", "fine", "fine_scales", "rest", "shared")),
        *((name, _COUNT) for name in ("n_in", "n_out")),
    )


class Norm(ctypes.Structure):
    """`norm` of numbers.h."""

    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("eps", ctypes.c_double))


class Layer(ctypes.Structure):
    """`layer` of decoder.c."""

    _fields_ = (
        *((name, Norm) for name in ("attn_norm", "cross_norm", "mlp_norm")),
        *((name, Matrix) for name in ("qkv", "attn_out", "cross_query", "cross_out", "rise", "fall")),
    )


class Heard(ctypes.Structure):
    """`heard` of decoder.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("packs", "values")),
        *((name, _COUNT) for name in ("values_stride", "n")),
    )


class Decoder(ctypes.Structure):
    """`decoder` of decoder.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("positions", "layers")),
        ("last_norm", Norm),
        ("vocabulary", Vocabulary),
        ("alignment", _POINTER),
        *((name, _COUNT) for name in ("n_alignment", "n_layer", "n_state", "n_head", "n_ctx", "n_rows")),
    )


class Task(ctypes.Structure):
    """`task` of decoder.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("tokens", "memory", "sounds")),
        *((name, _COUNT) for name in ("n", "offset", "is_text")),
    )


class Convolution(ctypes.Structure):
    """`convolution` of entrance.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("weights", "units", "bias")),
        *((name, _COUNT) for name in ("n_in", "n_out", "stride")),
    )


class EncoderLayer(ctypes.Structure):
    """`layer` of encoder.c."""

    _fields_ = (
        *((name, Norm) for name in ("attn_norm", "mlp_norm")),
        *((name, Matrix) for name in ("qkv", "out", "rise", "fall")),
        *((name, _COUNT) for name in ("n_state", "n_head")),
    )


class Sound(ctypes.Structure):
    """`sound` of encoder.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("x", "kept")),
        *((name, _COUNT) for name in ("n", "n_kept", "start", "first", "n_silent")),
        ("weight", ctypes.c_float),
    )


class Library:
    """The functions; `threads` at once share what is large, and what comes out does not depend on how many.

    Args:
        name: of the instructions (build.SETS).

    Raises:
        BuildError: they cannot be compiled, or may not be used.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        path = build(name)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise BuildError(f"{path} cannot be loaded ({error})") from error
        if not library.ask_for_tiles():
            raise BuildError("Linux does not let this process have AMX")
        self.has_tiles = bool(library.has_tiles())
        library.width.restype = _COUNT
        library.take_out.argtypes = (_POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _POINTER)
        library.take_out.restype = _COUNT
        library.multiply.argtypes = (_POINTER, _POINTER, _COUNT, _POINTER, _COUNT)
        library.weigh_vocabulary.argtypes = (_POINTER, _POINTER, _COUNT, _POINTER, _COUNT)
        library.embed.argtypes = (_POINTER, _POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _COUNT)
        library.hear.argtypes = (_POINTER, _POINTER, _COUNT)
        library.listen_to.argtypes = (_POINTER, _COUNT, _POINTER, _COUNT, _COUNT, _COUNT, _POINTER, _POINTER, _COUNT)
        library.pack.argtypes = (_POINTER, _COUNT, _COUNT, _COUNT, _POINTER)
        library.pack.restype = None
        library.run.argtypes = (_POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER, _COUNT)
        library.read_back.argtypes = (_POINTER, _POINTER, _COUNT, _COUNT, _COUNT, _POINTER, _POINTER, _COUNT)
        library.rearrange.argtypes = (_POINTER, _POINTER, _POINTER, _COUNT, _COUNT, _COUNT, _COUNT)
        library.best.argtypes = (_POINTER, _COUNT, _COUNT, _COUNT, _POINTER, _POINTER, _COUNT)
        library.best.restype = None
        library.listening.argtypes = (_POINTER, *[_COUNT] * 5, ctypes.c_float, _POINTER)
        library.warp.argtypes = (_POINTER, _COUNT, _COUNT, _POINTER)
        self._library: Any = library
        self.width: int = library.width()
        self.threads = 1

    def take_out(self, weights: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Of weights (n_out / width, n_in / 4, width, 4), int8, what has to stand apart → `matrix`'s outliers."""
        n_blocks, n_fours, width, _ = weights.shape
        asked = (weights.data_ptr(), n_blocks, 4 * n_fours)
        n = self._library.take_out(*asked, None, None, None)
        outliers, inputs = torch.zeros(n, width, 4, dtype=torch.int8), torch.zeros(n, dtype=torch.int32)
        before = torch.zeros(n_blocks + 1, dtype=torch.int32)
        self._library.take_out(*asked, outliers.data_ptr(), inputs.data_ptr(), before.data_ptr())
        return outliers, inputs, before

    def multiply(self, matrix: Matrix, x: Tensor) -> Tensor:
        """`x` (…, n_in), float32 → (…, n_out); raises MemoryError, TypeError."""
        return self._multiply(self._library.multiply, matrix, x)

    def weigh(self, vocabulary: Vocabulary, x: Tensor) -> Tensor:
        """`x` (…, n_in), float32 → logits (…, n_out); raises MemoryError, TypeError."""
        return self._multiply(self._library.weigh_vocabulary, vocabulary, x)

    def _multiply(self, function: Any, by: Union[Matrix, Vocabulary], x: Tensor) -> Tensor:
        _expect(x, *x.shape[:-1], by.n_in)
        x = x.contiguous()
        out = x.new_empty(*x.shape[:-1], by.n_out)
        _check(function(ctypes.byref(by), x.data_ptr(), x.numel() // by.n_in, out.data_ptr(), self.threads))
        return out

    def hear(self, layer: EncoderLayer, sound: Sound) -> None:
        """Let a layer of the encoder hear it, in place; raises MemoryError, IndexError."""
        _check(self._library.hear(ctypes.byref(layer), ctypes.byref(sound), self.threads))

    def embed(self, convolutions: Sequence[Convolution], mel: Tensor, positions: Tensor) -> Tensor:
        """Log-mel (n_mels, 2 * n) → what the first layer hears (1, n, n_state), with `positions` (n, n_state).

        Raises MemoryError, TypeError.
        """
        _expect(mel, convolutions[0].n_in, 2 * len(positions))
        _expect(positions, len(positions), convolutions[1].n_out)
        mel, positions = mel.contiguous(), positions.contiguous()
        x = positions.new_empty(1, *positions.shape)
        first, second = map(ctypes.byref, convolutions)
        arguments = (mel.data_ptr(), positions.data_ptr(), len(positions), x.data_ptr())
        _check(self._library.embed(first, second, *arguments, self.threads))
        return x

    def listen(self, matrices: Any, sound: Tensor, n_head: int, packed: bool) -> Tuple[Tensor, Tensor]:
        """`sound` (n, n_in) → keys and values for each of `matrices` (len(matrices), n_head, n, HEAD), in bfloat16.

        `packed`: keys are as `pack` has them. Raises MemoryError, TypeError.
        """
        _expect(sound, len(sound), matrices[0].n_in)
        sound = sound.contiguous()
        n, n_dim = len(sound), matrices[0].n_out // (2 * n_head)
        values = torch.empty(len(matrices), n_head, n, n_dim, dtype=torch.bfloat16)
        keys = values.new_empty(len(matrices), n_head, *self._packs(n, n_dim)) if packed else torch.empty_like(values)
        arguments = (len(matrices), sound.data_ptr(), n, n_head, packed, keys.data_ptr(), values.data_ptr())
        _check(self._library.listen_to(matrices, *arguments, self.threads))
        return keys, values

    def _packs(self, n: int, n_dim: int) -> Tuple[int, int, int]:
        return -(-n // self.width), n_dim, self.width

    def pack(self, keys: Tensor) -> Tensor:
        """Keys (n_head, n, HEAD) in bfloat16, each head in one piece, as `Heard` has them."""
        n_head, n, n_dim = keys.shape
        packs = keys.new_empty(n_head, *self._packs(n, n_dim))
        self._library.pack(keys.data_ptr(), keys.stride(0), n_head, n, packs.data_ptr())
        return packs

    def run(self, decoder: Decoder, task: Task, places: Sequence[int], told: Optional[Tensor] = None) -> Tensor:
        """Compute for tokens → logits (len(places), n_vocab) of those; raises MemoryError, IndexError.

        `told` (n_alignment, n, n_audio_ctx) gets the scores of the alignment heads.
        """
        logits = torch.empty(len(places), decoder.vocabulary.n_out)
        scores = None if told is None else told.data_ptr()
        arguments = (array_of(_COUNT, places), len(places), logits.data_ptr(), scores, self.threads)
        _check(self._library.run(ctypes.byref(decoder), ctypes.byref(task), *arguments))
        return logits

    def read_back(self, decoder: Decoder, task: Task, asked: range, n_among: int, told: Tensor) -> Tensor:
        """Log-probabilities of those of a text's tokens, as FastDecoder's; `told` and errors as of `run`."""
        logprobs = torch.empty(len(asked))
        found = (n_among, logprobs.data_ptr(), told.data_ptr(), self.threads)
        _check(self._library.read_back(ctypes.byref(decoder), ctypes.byref(task), asked.start, asked.stop, *found))
        return logprobs

    def rearrange(self, decoder: Decoder, memory: Tensor, sources: Sequence[int], first: int, end: int) -> None:
        """As FastDecoder's; raises MemoryError, IndexError."""
        arguments = (array_of(_COUNT, sources), len(sources), first, end, self.threads)
        _check(self._library.rearrange(ctypes.byref(decoder), memory.data_ptr(), *arguments))

    def best(self, logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """The k best log-probabilities of each row (n, n_vocab) and their tokens, best first: (n, k) each."""
        _expect(logits, *logits.shape)
        logits = logits.contiguous()
        values = logits.new_empty(len(logits), k)
        tokens = torch.empty(values.shape, dtype=torch.long)
        found = (values.data_ptr(), tokens.data_ptr(), self.threads)
        self._library.best(logits.data_ptr(), *logits.shape, k, *found)
        return values, tokens

    def listening(self, scores: Tensor, n_positions: int, first: int, least_deviation: float) -> Tensor:
        """As `alignment.listening`; raises MemoryError, IndexError, TypeError."""
        n_heads, n_tokens, n_all = scores.shape
        _expect(scores, n_heads, n_tokens, n_all)
        scores = scores.contiguous()
        found = scores.new_empty(max(0, n_tokens - first), n_positions)
        sizes = (n_heads, n_tokens, n_all, n_positions, first)
        _check(self._library.listening(scores.data_ptr(), *sizes, least_deviation, found.data_ptr()))
        return found

    def warp(self, cost: Tensor) -> List[int]:
        """As `alignment.warp`; raises MemoryError, TypeError."""
        _expect(cost, *cost.shape)
        cost = cost.contiguous()
        firsts = torch.zeros(len(cost), dtype=torch.long)
        _check(self._library.warp(cost.data_ptr(), *cost.shape, firsts.data_ptr()))
        return firsts.tolist()


def choose_library(compiled: str) -> Tuple[Optional[Library], str]:
    """What `model.compiled` means here: a library, or None; and why there is none, or none of better instructions."""
    if compiled != "auto":
        return None, f"model.compiled is {compiled}"
    sets = usable_sets()
    if not sets:
        known = f"torch finds {processor.capability()}"
        return None, f"this processor has none of the instructions that it is written for: {known}"
    reason = ""
    for name in sets:
        try:
            return Library(name), reason
        except BuildError as error:
            reason = reason or str(error)
    return None, reason


def array_of(kind: Any, of: Sequence[Any]) -> Any:
    """A C array."""
    return (kind * len(of))(*of)


def _expect(tensor: Tensor, *shape: int) -> None:
    if tensor.dtype != torch.float32 or tensor.shape != shape:
        raise TypeError(f"expected float32 {shape}, got {tensor.dtype} {tuple(tensor.shape)}")


def _check(status: int) -> None:
    if status == _NO_MEMORY:
        raise MemoryError("not enough memory for the model")
    if status == _IMPOSSIBLE:
        raise IndexError("the model has no such tokens, rows or positions")
