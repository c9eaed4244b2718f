"""CUDA graphs without CUDA: what may be captured, what a replay does, and how many kernels a step is.

A piece of work is recorded as the operations that it gives to torch. A replay does these again, without the Python that
led to them: numbers are those of the capture, memory from outside is where it was then.
"""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from recognizer.graphs import Captured, Graph, Work

aten: Any = torch.ops.aten

_WAITING = (
    aten._local_scalar_dense,
    aten.item,
    aten.is_nonzero,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.bincount,
)


class CannotBeCaptured(Exception):
    """What a card would refuse, or do wrong without a word."""


@dataclass(frozen=True)
class _Made:
    """A tensor that the work itself makes: the how manieth."""

    number: int


@dataclass(frozen=True)
class _Call:
    function: Any
    arguments: Any
    made: list[int]


class Recording(TorchDispatchMode):
    """Operations of a piece of work; is a Graph once it has been left."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[_Call] = []
        self._made: dict[int, int] = {}
        self._kept: list[Tensor] = []  # while recording, so that an id means one tensor
        self._outside: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = (args, kwargs or {})
        refuse_waiting(func, args)
        recorded = tree_map(self._recorded, arguments)
        result = func(*args, **(kwargs or {}))
        known = {id(one) for one in tensors(arguments)}
        made = [one for one in tensors(result) if id(one) not in known]
        for tensor in made:
            self._made[id(tensor)] = len(self._kept)
            self._kept.append(tensor)
        self._calls.append(_Call(func, recorded, [self._made[id(tensor)] for tensor in made]))
        return result

    def finish(self) -> None:
        """Nothing outside may still have what was made here, unless it lies in memory from outside."""
        alive = [weakref.ref(tensor) for tensor in self._kept if storage(tensor) not in self._outside]
        self._kept, self._made = [], {}
        gc.collect()
        if any(one() is not None for one in alive):
            raise CannotBeCaptured("memory that a graph allocates is kept outside")

    def replay(self) -> None:
        """Do it again."""
        made: dict[int, Tensor] = {}

        def found(argument: Any) -> Any:
            if isinstance(argument, _Made):
                return made[argument.number]
            if not isinstance(argument, weakref.ref):
                return argument
            outside = argument()
            if outside is None:
                raise CannotBeCaptured("a graph reads memory that has been given back")
            return outside

        for call in self._calls:
            args, kwargs = tree_map(found, call.arguments)
            known = {id(one) for one in tensors((args, kwargs))}
            result = [one for one in tensors(call.function(*args, **kwargs)) if id(one) not in known]
            made.update(zip(call.made, result))

    def _recorded(self, argument: Any) -> Any:
        if not isinstance(argument, Tensor):
            return argument
        if id(argument) in self._made:
            return _Made(self._made[id(argument)])
        self._outside.add(storage(argument))
        return weakref.ref(argument)


class FakeGraphs(Captured):
    """A runner that captures and replays on the processor; counts."""

    def __init__(self) -> None:
        super().__init__()
        self.captures = 0
        self.reads = 0

    def read(self, tensor: Tensor) -> Tensor:
        self.reads += 1
        return super().read(tensor)

    def _warm_up(self, work: Work) -> None:
        random_state = torch.get_rng_state()
        work()
        torch.set_rng_state(random_state)

    def _capture(self, work: Work) -> Graph:
        self.captures += 1
        random_state = torch.get_rng_state()
        recording = Recording()
        with recording:
            work()
        recording.finish()
        torch.set_rng_state(random_state)
        return recording


class Kernels(TorchDispatchMode):
    """Counts what a device is started for; refuses what waits for it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        refuse_waiting(func, args)
        is_view = any(one.alias_info is not None and not one.alias_info.is_write for one in func._schema.returns)
        if not is_view and func.overloadpacket not in (aten.empty, aten.empty_like, aten.empty_strided):
            self.count += 1
        return func(*args, **(kwargs or {}))


def refuse_waiting(function: Any, args: Any) -> None:
    """The device would have to answer the host."""
    by_bool = function.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
        one is not None and one.dtype == torch.bool for one in args[1]
    )
    if function.overloadpacket in _WAITING or by_bool:
        raise CannotBeCaptured(f"{function} waits for the device")


def tensors(tree: Any) -> list[Tensor]:
    """All that are in it."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def storage(tensor: Tensor) -> int:
    """Where its memory is."""
    return tensor.untyped_storage().data_ptr()
