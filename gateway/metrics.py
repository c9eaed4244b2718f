"""What is measured of the gateway, for Prometheus. docs/operations.md says what each figure means.

One registry, whose owner is `Metrics`. Sessions move it where they begin and end (`line.py`), refusals where a client
is let in or sent away (`services.py`, `conversation.py`), failures of servers where they are noticed (`upstream.py`).
No value of a label comes from a client.
"""

from typing import Callable, Sequence

from gateway.errors import BadRequest, Busy, Full, GatewayError, NoServer, TooLarge, TooSlow, WrongKey, WrongKind
from gateway.upstream import Failure
from service.exporter import Exporter

COMPLETED, LEFT, LOST, REJECTED = OUTCOMES = ("completed", "left", "lost", "rejected")
_REASONS = (  # the first that fits; a lost session is none, but an outcome
    (Full, "full"),
    (Busy, "busy"),
    (NoServer, "no_server"),
    (TooLarge, "too_large"),
    (TooSlow, "too_slow"),
    (WrongKind, "wrong_kind"),
    (BadRequest, "bad_request"),
    (WrongKey, "wrong_key"),
)
REFUSALS = tuple(reason for _, reason in _REASONS)
_SILENT_DOOR = "page"  # who comes there speaks at another one

_OPEN_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)


class Metrics(Exporter):
    """All that is measured.

    Args:
        doors: that are open.
        servers: HOST:PORT of each.
    """

    def __init__(self, doors: Sequence[str], servers: Sequence[str]) -> None:
        super().__init__("stt_gateway")
        counter, gauge = self._counter, self._gauge
        spoken = [door for door in doors if door != _SILENT_DOOR]
        failures = [failure.value for failure in Failure]
        self.sessions = counter(
            "stt_gateway_sessions", "Sessions with a server, by how they ended.", door=spoken, outcome=OUTCOMES
        )
        self.active = gauge("stt_gateway_sessions_active", "Sessions with a server.", door=spoken)
        self.refusals = counter("stt_gateway_refusals", "Clients sent away, by why.", door=doors, reason=REFUSALS)
        self.audio = counter("stt_gateway_audio_seconds", "Audio that servers were sent.", door=spoken)
        self.opening = self._histogram("stt_gateway_open_seconds", "From asking for an engine to having one.", _OPEN_S)
        self._failures = counter(
            "stt_gateway_server_failures", "Servers that failed a client, by how.", server=servers, reason=failures
        )
        self._connections = gauge("stt_gateway_connections", "Connections of clients, at all doors together.")

    def watch_connections(self, count: Callable[[], int]) -> None:
        """Tell how many there are whenever somebody asks."""
        self._connections.set_function(count)

    def server_failed(self, server: str, how: Failure) -> None:
        """A server has failed a client."""
        self._failures.labels(server, how.value).inc()


class DoorFigures:
    """What is measured at one door."""

    def __init__(self, metrics: Metrics, door: str) -> None:
        self._metrics = metrics
        self._door = door

    def began(self, waited_s: float) -> None:
        """A session has an engine, and has waited so long for it."""
        self._metrics.active.labels(self._door).inc()
        self._metrics.opening.observe(waited_s)

    def heard(self, audio_s: float) -> None:
        """A server was sent audio."""
        self._metrics.audio.labels(self._door).inc(audio_s)

    def ended(self, outcome: str) -> None:
        """A session is over; one of OUTCOMES."""
        self._metrics.active.labels(self._door).dec()
        self._metrics.sessions.labels(self._door, outcome).inc()

    def failed(self, error: GatewayError) -> None:
        """A session is over because of that, which is counted as its outcome and as nothing else."""
        error.is_counted = True
        self.ended(REJECTED if isinstance(error, BadRequest) else LOST)

    def refused(self, error: GatewayError) -> None:
        """A client is sent away; nothing where that has been counted already."""
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
        if reason is None or error.is_counted:
            return
        error.is_counted = True
        self._metrics.refusals.labels(self._door, reason).inc()
