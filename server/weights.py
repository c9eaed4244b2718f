"""The process that owns the weights and lends them to the engines (`forkserver/weights.py`), seen from the server."""

import os
import threading
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Set

import logger
from boundary.messages import Lend, Logged, OwnersAnswer, Owns, OwnsNothing, StartFailed
from boundary.settings import EngineSettings
from forkserver.start import ForkFailed, ForkServer
from forkserver.weights import weights_main
from server.process import ChildProcess

_CARDS = ("cuda",)  # whose memory no process inherits from what it is forked from
# Without one of these a process finds no card: NVIDIA's driver, the same of Windows and of Jetson, AMD's (ROCm).
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/nvmap", "/dev/kfd")


class NoWeights(Exception):
    """The weights cannot be loaded; the text is the process's own line on it."""


class Loan(NamedTuple):
    """What an engine is started with. `pickled` is None where it needs nothing; `owner` counts the processes."""

    pickled: Optional[bytes]
    owner: int


class WeightsOwner:
    """Starts that process when the first engine needs it, and again after its death; for several threads.

    Args:
        settings: of every engine.
        fork_server: what it is forked from.
        on_death: told once for each that had lent, with how it ended; in a thread that holds no lock.
        lends_on: kinds of devices, as torch names them.
    """

    def __init__(
        self,
        settings: EngineSettings,
        fork_server: ForkServer,
        on_death: Callable[[str], None],
        lends_on: Sequence[str] = _CARDS,
    ) -> None:
        self._settings = settings
        self._fork_server = fork_server
        self._on_death = on_death
        self._lends_on = lends_on
        self._changed = threading.Condition()
        # One for good: what engines are forked from ends with the thread that started it (forkserver/tether.py).
        self._thread: Optional[threading.Thread] = None
        self._is_running = False  # a process, or it is about to be started
        self._process: Optional[ChildProcess] = None
        self._owner = 0  # how many processes there were, with that one
        self._owns = False
        self._owns_nothing = False
        self._failure: Optional[Exception] = None  # of that one, or of the last
        self._loans: Dict[int, bytes] = {}  # by slot, until they are taken
        self._waiting: Set[int] = set()  # slots
        # An engine that computes on the processor is forked with the model.
        device = settings.model.device
        is_on_card = device not in ("cpu", "auto") or (device == "auto" and _may_have_card())
        self._is_needed = settings.model.share == "auto" and (is_on_card or "cpu" in lends_on)
        self._stopped = False

    def borrow(self, slot: int) -> Loan:
        """A loan for the engine in this slot; waits for the weights to be loaded.

        Raises:
            ForkFailed: there is no process, or it ended before that, or `stop` was called.
            NoWeights: it said that there are none.
        """
        with self._changed:
            self._waiting.add(slot)
            try:
                return self._borrow(slot)
            finally:
                self._waiting.discard(slot)

    def _borrow(self, slot: int) -> Loan:
        if self._is_needed and not self._stopped and not self._is_running:
            self._owner += 1
            self._owns, self._failure, self._is_running = False, None, True
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="weights", daemon=True)
                self._thread.start()
        owner = self._owner
        self._changed.wait_for(lambda: self._owns or not self._is_needed or self._is_over(owner))
        if not self._is_needed:
            return Loan(None, owner)
        self._raise_if_over(owner)
        assert self._process is not None
        self._process.send(Lend(slot))
        self._changed.wait_for(lambda: slot in self._loans or self._is_over(owner))
        self._raise_if_over(owner)
        return Loan(self._loans.pop(slot), owner)

    def is_good(self, loan: Loan) -> bool:
        """Whether a process lives that has lent it."""
        with self._changed:
            return loan.pickled is None or not self._is_over(loan.owner)

    def kill_if_awaited(self, slot: int) -> bool:
        """End the process if the engine in this slot waits for it; False where that waits for something else."""
        with self._changed:
            if slot not in self._waiting or self._process is None:
                return False
            self._process.kill()
            return True

    def stop(self) -> None:
        """End the process for good; whoever waits for it learns that."""
        with self._changed:
            self._stopped = True
            if self._process is not None:
                self._process.kill()
            thread = self._thread
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _is_over(self, owner: int) -> bool:
        return self._stopped or self._owner != owner or self._failure is not None

    def _raise_if_over(self, owner: int) -> None:
        if self._is_over(owner):
            raise self._failure or ForkFailed("what it was to share the weights with has ended")

    # --- its process, in a thread of its own

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_running or self._stopped)
                if not self._is_running:
                    return
            self._watch()

    def _watch(self) -> None:
        process = ChildProcess(weights_main, (self._settings, tuple(self._lends_on)), "weights")
        try:
            process.start(self._fork_server)
        except ForkFailed as error:
            self._end(error)
            return
        with self._changed:
            self._process = process
            if self._stopped:
                process.kill()
        for answer in process.answers():
            self._hear(answer)
        with self._changed:
            self._process = None
        ending = process.close()
        self._is_needed = not self._owns_nothing
        had_lent = self._owns and not self._stopped
        self._end(ForkFailed(f"what lends it the weights died: {ending}"))
        if had_lent:
            self._on_death(ending)

    def _hear(self, answer: OwnersAnswer) -> None:
        if isinstance(answer, Logged):
            logger.handle_forwarded(answer.record)
            return
        with self._changed:
            if isinstance(answer, OwnsNothing):
                self._owns_nothing = True
            elif isinstance(answer, Owns):
                self._owns = True
            elif isinstance(answer, StartFailed):
                self._failure = NoWeights(answer.reason)
            else:
                self._loans[answer.slot] = answer.loan
            self._changed.notify_all()

    def _end(self, failure: Exception) -> None:
        with self._changed:
            self._is_running = False
            self._owns = False
            self._loans.clear()
            self._failure = self._failure or failure
            self._changed.notify_all()


def _may_have_card() -> bool:
    """Told without torch, which the server does not load. Where it is wrong, each engine has a copy of its own."""
    return any(os.path.exists(driver) for driver in _DRIVERS)
