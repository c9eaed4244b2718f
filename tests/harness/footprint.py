"""How much memory torch takes, on the host and on a device: counted, not measured."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class Footprint(TorchDispatchMode):
    """Counts the memory of every tensor that is made within it, by the type of its device, until the tensor is gone.

    What a tensor from outside has, the pages of a file say, is not counted.

    Attributes:
        most_bytes: at once, by type of device.
        largest_bytes: of one tensor in float32, by type of device.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most_bytes: Counter[str] = Counter()
        self.largest_bytes: Counter[str] = Counter()
        self._alive: dict[int, tuple[StorageWeakRef, str, int]] = {}
        self._known: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [_storage(one) for one in tree_iter((args, kwargs)) if _has_storage(one)]  # before it is another
        results = func(*args, **(kwargs or {}))
        for storage in given:
            if storage._cdata not in self._alive:
                self._known.setdefault(storage._cdata, StorageWeakRef(storage))  # type: ignore[no-untyped-call]
        self._forget_what_is_gone()
        for result in tree_iter(results):
            if _has_storage(result):
                self._count(result)
        return results

    def _count(self, tensor: torch.Tensor) -> None:
        storage, kind = _storage(tensor), tensor.device.type
        if tensor.dtype is torch.float32:
            self.largest_bytes[kind] = max(self.largest_bytes[kind], tensor.numel() * 4)
        if storage._cdata not in self._known:
            self._alive[storage._cdata] = (StorageWeakRef(storage), kind, storage.nbytes())  # type: ignore[no-untyped-call]
        now: Counter[str] = Counter()
        for _, of_kind, n_bytes in self._alive.values():
            now[of_kind] += n_bytes
        self.most_bytes |= now  # the larger of both

    def _forget_what_is_gone(self) -> None:
        for address in [address for address, (storage, _, _) in self._alive.items() if _is_gone(storage)]:
            del self._alive[address]
        for address in [address for address, storage in self._known.items() if _is_gone(storage)]:
            del self._known[address]


def _is_gone(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]


def _has_storage(one: object) -> bool:
    return isinstance(one, torch.UntypedStorage) or (isinstance(one, torch.Tensor) and one.layout is torch.strided)


def _storage(one: Any) -> torch.UntypedStorage:
    storage: torch.UntypedStorage = one if isinstance(one, torch.UntypedStorage) else one.untyped_storage()
    return storage
