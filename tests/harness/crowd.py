"""Clients that come one after the other without end, while something is done to what serves them."""

import threading
from types import TracebackType
from typing import Dict, Optional, Type

from tests.harness.wire import END, Wire, error_code, results, session_bytes

_LONGEST_S = 120.0


class Crowd:
    """`clients` of them at once, each of which says "Fail again. Fail better." until they are told to stop.

    Args:
        port: of 127.0.0.1.
        phrase: the sound of it.
        clients: how many.
        rest_s: between two sessions of one, so that they leave time for what else is done.

    Attributes:
        outcomes: how many sessions ended how; all is well as long as the only key is `right`.
    """

    def __init__(self, port: int, phrase: bytes, clients: int, rest_s: float = 0.0) -> None:
        self._port = port
        self._rest_s = rest_s
        self._phrase = phrase
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self.outcomes: Dict[str, int] = {}
        self._threads = [threading.Thread(target=self._talk, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.stop()

    def wait_for(self, sessions: int) -> None:
        """So many more, whatever their end."""
        with self._changed:
            before = sum(self.outcomes.values())
            assert self._changed.wait_for(lambda: sum(self.outcomes.values()) >= before + sessions, _LONGEST_S)

    def stop(self) -> Dict[str, int]:
        """Let the last sessions end; returns the outcomes of all."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        return self.outcomes

    def _talk(self) -> None:
        while not self._stopping.wait(self._rest_s):
            outcome = self._session()
            with self._changed:
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
                self._changed.notify_all()

    def _session(self) -> str:
        try:
            with Wire(self._port) as wire:
                wire.send(session_bytes(self._phrase))
                packets = wire.read_all()
        except OSError as error:
            return f"refused: {error}"
        if not packets or packets[-1] != END:
            return f"torn: {packets}"
        texts = results(packets)
        if not texts:
            return f"told: {error_code(packets)}"
        return "right" if len(texts) == 1 and "better" in texts[0].lower() else f"wrong: {packets}"
