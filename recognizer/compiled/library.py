"""What is compiled of decoder.c, called with tensors: its structures, and who keeps what they point to."""

import ctypes
from typing import Any, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from recognizer import processor
from recognizer.compiled.build import SETS, BuildError, build

_NO_MEMORY, _IMPOSSIBLE = 1, 2  # of decoder.c
_POINTER, _COUNT = ctypes.c_void_p, ctypes.c_int64


def best_set() -> str:
    """The first that this processor has, within the limit that ATEN_CPU_CAPABILITY sets; raises BuildError."""
    found = processor.flags()
    capability = processor.capability()
    for name, (_, needed) in SETS.items():
        is_allowed = capability == "AVX512" or (capability == "AVX2" and name == "avx2")
        if is_allowed and found.issuperset(needed):
            return name
    raise BuildError(f"this processor has none of the instructions that it is written for: torch finds {capability}")


class Matrix(ctypes.Structure):
    """`matrix` there."""

    _fields_ = (
        *((name, _POINTER) for name in ("weights", "scales", "sums", "bias")),
        *((name, _COUNT) for name in ("n_in", "n_out", "scales_rows")),
    )


class Norm(ctypes.Structure):
    """`norm` there."""

    _fields_ = (("weight", _POINTER), ("bias", _POINTER), ("eps", ctypes.c_double))


class Layer(ctypes.Structure):
    """`layer` there."""

    _fields_ = (
        *((name, Norm) for name in ("attn_norm", "cross_norm", "mlp_norm")),
        *((name, Matrix) for name in ("qkv", "attn_out", "cross_query", "cross_out", "rise", "fall")),
    )


class Heard(ctypes.Structure):
    """`heard` there."""

    _fields_ = (
        *((name, _POINTER) for name in ("keys", "values")),
        *((name, _COUNT) for name in ("keys_stride", "values_stride", "n")),
    )


class Decoder(ctypes.Structure):
    """`decoder` there."""

    _fields_ = (
        *((name, _POINTER) for name in ("embedding", "positions", "layers")),
        ("last_norm", Norm),
        ("vocabulary", Matrix),
        ("alignment", _POINTER),
        *((name, _COUNT) for name in ("n_alignment", "n_layer", "n_state", "n_head", "n_ctx", "n_rows")),
    )


class Task(ctypes.Structure):
    """`task` there."""

    _fields_ = (
        *((name, _POINTER) for name in ("tokens", "memory", "sounds")),
        *((name, _COUNT) for name in ("n", "offset", "is_text")),
    )


class Library:
    """The functions of decoder.c.

    Args:
        name: of the instructions (build.SETS).

    Raises:
        BuildError: they cannot be compiled.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        path = build(name)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise BuildError(f"{path} cannot be loaded ({error})") from error
        library.outputs_of_a_block.restype = _COUNT
        library.multiply.argtypes = (_POINTER, _POINTER, _COUNT, _POINTER)
        library.run.argtypes = (_POINTER, _POINTER, _POINTER, _COUNT, _POINTER, _POINTER)
        library.rearrange.argtypes = (_POINTER, _POINTER, _POINTER, _COUNT, _COUNT, _COUNT)
        library.best.argtypes = (_POINTER, _COUNT, _COUNT, _COUNT, _POINTER, _POINTER)
        library.best.restype = None
        library.warp.argtypes = (_POINTER, _COUNT, _COUNT, _POINTER)
        self._library: Any = library
        self.block: int = library.outputs_of_a_block()

    def multiply(self, matrix: Matrix, x: Tensor) -> Tensor:
        """`x` (…, n_in), float32 → (…, n_out); raises MemoryError, TypeError."""
        if x.dtype != torch.float32 or x.shape[-1] != matrix.n_in:
            raise TypeError(f"expected float32 (…, {matrix.n_in}), got {x.dtype} {tuple(x.shape)}")
        x = x.contiguous()
        out = x.new_empty(*x.shape[:-1], matrix.n_out)
        n_rows = x.numel() // matrix.n_in
        _check(self._library.multiply(ctypes.byref(matrix), x.data_ptr(), n_rows, out.data_ptr()))
        return out

    def run(self, decoder: Decoder, task: Task, places: Sequence[int], told: Optional[Tensor] = None) -> Tensor:
        """Compute for tokens → logits (len(places), n_vocab) of those; raises MemoryError, IndexError.

        `told` (n_alignment, n, n_audio_ctx) gets the scores of the alignment heads.
        """
        logits = torch.empty(len(places), decoder.vocabulary.n_out)
        scores = None if told is None else told.data_ptr()
        arguments = (array_of(_COUNT, places), len(places), logits.data_ptr(), scores)
        _check(self._library.run(ctypes.byref(decoder), ctypes.byref(task), *arguments))
        return logits

    def rearrange(self, decoder: Decoder, memory: Tensor, sources: Sequence[int], first: int, end: int) -> None:
        """As FastDecoder's; raises MemoryError, IndexError."""
        arguments = (array_of(_COUNT, sources), len(sources), first, end)
        _check(self._library.rearrange(ctypes.byref(decoder), memory.data_ptr(), *arguments))

    def best(self, logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """The k best log-probabilities of each row (n, n_vocab) and their tokens, best first: (n, k) each."""
        logits = logits.contiguous()
        values = logits.new_empty(len(logits), k)
        tokens = torch.empty(values.shape, dtype=torch.long)
        self._library.best(logits.data_ptr(), *logits.shape, k, values.data_ptr(), tokens.data_ptr())
        return values, tokens

    def warp(self, cost: Tensor) -> List[int]:
        """As `alignment.warp`; raises MemoryError."""
        cost = cost.contiguous()
        firsts = torch.zeros(len(cost), dtype=torch.long)
        _check(self._library.warp(cost.data_ptr(), *cost.shape, firsts.data_ptr()))
        return firsts.tolist()


def choose_library(compiled: str) -> Tuple[Optional[Library], str]:
    """What `model.compiled` means here: the library with this processor's best instructions, or why there is none."""
    if compiled != "auto":
        return None, f"model.compiled is {compiled}"
    try:
        return Library(best_set()), ""
    except BuildError as error:
        return None, str(error)


def array_of(kind: Any, of: Sequence[Any]) -> Any:
    """A C array."""
    return (kind * len(of))(*of)


def _check(status: int) -> None:
    if status == _NO_MEMORY:
        raise MemoryError("not enough memory for the decoder")
    if status == _IMPOSSIBLE:
        raise IndexError("the decoder has no such tokens, rows or positions")
