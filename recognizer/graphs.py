"""Work on a device that is captured once and replayed without Python: CUDA graphs, and what stands in their place.

A piece of work is a function without arguments and result, that always does the same to the same *static* memory:
tensors that live as long as the runner. It must not wait for the device, and nothing outside may keep what it
allocates. What differs from one run to the next is written into static memory before it.
"""

from abc import ABC, abstractmethod
from typing import Callable, Dict, Hashable, Optional, Protocol, Sequence

import torch
from torch import Tensor

Work = Callable[[], None]


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do it again."""


class Runner(ABC):
    """Runs pieces of work."""

    @abstractmethod
    def run(self, key: Hashable, work: Work, state: Sequence[Tensor] = ()) -> None:
        """Do `work`, which for one `key` is always the same.

        `state`: the static memory that it reads and changes; what it only writes, always the same, is none.
        """

    def read(self, tensor: Tensor) -> Tensor:
        """A copy on the host: waits for the device."""
        return tensor.cpu()


class Uncaptured(Runner):
    """Does the work as it comes."""

    def run(self, key: Hashable, work: Work, state: Sequence[Tensor] = ()) -> None:
        """As of Runner."""
        work()


class Captured(Runner):
    """Captures a piece of work the first time, and replays it from then on."""

    def __init__(self) -> None:
        self._graphs: Dict[Hashable, Graph] = {}

    def run(self, key: Hashable, work: Work, state: Sequence[Tensor] = ()) -> None:
        """As of Runner."""
        graph = self._graphs.get(key)
        if graph is None:
            before = [tensor.clone() for tensor in state]
            self._warm_up(work)
            _restore(state, before)
            graph = self._graphs[key] = self._capture(work)
            _restore(state, before)
        graph.replay()

    @abstractmethod
    def _warm_up(self, work: Work) -> None:
        """Do it once, as libraries make their plans and workspaces at the first call, which cannot be captured."""

    @abstractmethod
    def _capture(self, work: Work) -> Graph:
        """What does it from now on."""


def _restore(state: Sequence[Tensor], before: Sequence[Tensor]) -> None:
    for tensor, was in zip(state, before):
        tensor.copy_(was)


class CudaGraphs(Captured):
    """CUDA graphs that share one pool of memory: one runs at a time, and none leaves anything in it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        with torch.cuda.device(device):
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def _warm_up(self, work: Work) -> None:
        random_state = torch.cuda.get_rng_state(self._device)
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                work()
            torch.cuda.current_stream().wait_stream(self._stream)
        torch.cuda.set_rng_state(random_state, self._device)

    def _capture(self, work: Work) -> Graph:
        graph = torch.cuda.CUDAGraph()
        # An error of this thread's calls alone: another one of the process may free memory meanwhile.
        with torch.cuda.device(self._device), torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        ):
            work()
        return graph


def runner_for(device: torch.device) -> Optional[Runner]:
    """What runs work of fixed shapes there; None for the processor, where shapes as they come are faster."""
    return CudaGraphs(device) if device.type == "cuda" else None
