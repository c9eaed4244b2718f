"""Whether the process lives, whether a client would be served now, and how much of the server is free."""

from typing import NamedTuple

from asr_process import EnginePool
from server.acceptor import Acceptor, Stage
from server.deep import DeepCheck
from server.supervision import Look

_RESPONSE_S = 2.0  # for a thread that has nothing to wait for


class Health(NamedTuple):
    """Good or not, and one line that says why."""

    is_good: bool
    line: str


class HealthCheck:
    """Answers for the server; for several threads.

    Args:
        pool: the engines.
        acceptor: who lets clients in.
        deep: lets an engine recognise.
    """

    def __init__(self, pool: EnginePool, acceptor: Acceptor, deep: DeepCheck) -> None:
        self._pool = pool
        self._acceptor = acceptor
        self._deep = deep

    def alive(self) -> Health:
        """Whether the threads that everything depends on respond."""
        if not self._pool.responds(_RESPONSE_S):
            return Health(False, f"the threads that watch the engines have not responded for {_RESPONSE_S:g} s")
        if not self._acceptor.responds(_RESPONSE_S):
            return Health(False, f"the thread that accepts clients has not responded for {_RESPONSE_S:g} s")
        return Health(True, "alive")

    def ready(self) -> Health:
        """Whether a client would get an engine now."""
        stage = self._acceptor.stage
        if stage is Stage.STARTING:
            return Health(False, "starting: the engines load the model")
        if stage is Stage.STOPPING:
            return Health(False, "draining: the server stops, and takes no new sessions")
        look = self._pool.look()
        if look.free and self._acceptor.is_full:
            return Health(False, "full: network.max_connections is reached")
        if look.free:
            return Health(True, f"ready: {look.free} of {look.total} engines are free")
        return Health(False, _why_none_is_free(look))

    def deep(self) -> Health:
        """Whether the process lives and an engine recognises; good also where none was idle, which the line says."""
        alive = self.alive()
        if not alive.is_good:
            return alive
        if self._acceptor.stage is Stage.STARTING:
            return Health(False, "starting: the engines load the model")
        checked, age_s = self._deep.ask()
        return Health(checked.is_good, f"{checked.line}; {age_s:.1f} s ago")

    def share(self) -> str:
        """For the agent check of HAProxy: what of the server is free.

        `drain` outlasts a restart there, until `ready` is said. A server at 0 % is one that is not there: where all
        are, a client is refused at once instead of waiting for its turn. So one whose engines are all in use has 1 %.
        """
        stage = self._acceptor.stage
        if stage is Stage.STOPPING:
            return "drain"
        look = self._pool.look()
        if stage is Stage.STARTING or not (look.free or look.used):
            return "ready up 0%"
        return f"ready up {max(1, 100 * look.free // look.total)}%"


def _why_none_is_free(look: Look) -> str:
    if look.silent and not look.used:
        return f"hanging: {look.silent} of {look.total} engines are idle and do not answer"
    if look.used:
        silent = f", {look.silent} idle ones do not answer" if look.silent else ""
        return f"busy: {look.used} of {look.total} engines are in use{silent}"
    return "starting: the engines are being started again"
