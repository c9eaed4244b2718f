"""What is measured of the server, for Prometheus. docs/operations.md says what each figure means.

One registry, whose owner is `Metrics`. It is moved by who acts: the acceptor, each connection, the pool of engines.
"""

import contextlib
from typing import Callable, Dict, Iterator, List

from prometheus_client import Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.memory import memory_of
from server.session import Ending
from server.supervision import EngineState, Loss
from service.exporter import Exporter

# Of clients that got no engine; without those that went away by themselves, or wanted none.
REFUSALS = (
    *(ending.value for ending in (Ending.SERVER_TOO_BUSY, Ending.SERVER_STOPPING)),
    *(ending.value for ending in (Ending.ILLEGAL_PACKET, Ending.TIMEOUT, Ending.FOREIGN)),
    *("not_allowed", "max_connections", "max_per_ip", "tls", "no_room"),
)
_NEVER_WITH_ENGINE = (Ending.STATUS, Ending.FOREIGN, Ending.SERVER_TOO_BUSY)
OUTCOMES = tuple(ending.value for ending in Ending if ending not in _NEVER_WITH_ENGINE)
SEGMENT_RESULTS = ("text", "empty", "suppressed")

_WAIT_S = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120)
_LATENCY_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60)
_DECODE_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 30, 60)
_AGE_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10)


class Metrics(Exporter):
    """All that is measured; for several threads."""

    def __init__(self) -> None:
        super().__init__("stt")
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self._sessions = counter("stt_sessions", "Sessions that had an engine, by how they ended.", outcome=OUTCOMES)
        self._active = gauge("stt_sessions_active", "Sessions that have an engine.")
        self._refusals = counter("stt_refusals", "Clients that got no engine, by why.", reason=REFUSALS)
        self._wait = histogram("stt_engine_wait_seconds", "From asking for an engine to having one.", _WAIT_S)
        self._audio = counter("stt_audio_seconds", "Audio that clients sent and engines were given.")
        self._segments = counter("stt_segments", "Utterances, by what came of them.", result=SEGMENT_RESULTS)
        self._latency = histogram(
            "stt_result_latency_seconds", "From the arrival of what ends an utterance to its result.", _LATENCY_S
        )
        self._decode = histogram("stt_decode_seconds", "What recognising an utterance took.", _DECODE_S)
        self._decoded = counter("stt_decoded_audio_seconds", "Length of the utterances that were recognised.")
        self._partials = counter("stt_partials", "Live texts that were sent.")
        self._age = histogram(
            "stt_partial_age_seconds", "From the arrival of the last sound of a live text to its sending.", _AGE_S
        )
        losses = tuple(loss.value for loss in Loss)
        self._restarts = counter("stt_engine_restarts", "Engines lost and started again, by cause.", cause=losses)
        labels = ("version", "model", "compute", "device")
        self._build = Gauge("stt_build_info", "What runs; always 1.", labels, registry=self._registry)

    # --- clients

    def refused(self, reason: str) -> None:
        """A client got no engine; one of REFUSALS."""
        self._refusals.labels(reason).inc()

    def began(self, waited_s: float) -> None:
        """A session has got an engine."""
        self._active.inc()
        self._wait.observe(waited_s)

    def ended(self, outcome: Ending) -> None:
        """A session that had an engine is over."""
        self._active.dec()
        self._sessions.labels(outcome.value).inc()

    def heard(self, audio_s: float) -> None:
        """An engine was given audio."""
        self._audio.inc(audio_s)

    def segment(self, result: str) -> None:
        """An utterance is over; one of SEGMENT_RESULTS."""
        self._segments.labels(result).inc()

    def sent_result(self, latency_s: float) -> None:
        """A result is on its way to the client."""
        self._latency.observe(latency_s)

    def sent_partial(self, age_s: float) -> None:
        """Live text is on its way to the client."""
        self._partials.inc()
        self._age.observe(age_s)

    # --- engines

    def watch_engines(self, states: Callable[[], List[EngineState]], pids: Callable[[], Dict[int, int]]) -> None:
        """Tell of the engines whenever somebody asks. `pids`: by engine, of those that have a process."""
        self._registry.register(_Engines(states, pids))

    def recognised(self, speech_s: float, busy_s: float) -> None:
        """An engine has recognised an utterance of that length, which took so long."""
        self._decode.observe(busy_s)
        self._decoded.inc(speech_s)

    def restarted(self, loss: Loss) -> None:
        """An engine was lost, and is started again."""
        self._restarts.labels(loss.value).inc()

    def runs(self, version: str, model: str, compute: str, device: str) -> None:
        """What the engines run."""
        self._build.labels(version, model, compute, device).set(1)


class _Engines(Collector):
    """What is asked of the engines when somebody wants to know it."""

    def __init__(self, states: Callable[[], List[EngineState]], pids: Callable[[], Dict[int, int]]) -> None:
        self._states = states
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        states = self._states()
        engines = GaugeMetricFamily("stt_engines", "Engines, by what they do.", labels=["state"])
        for state in EngineState:
            engines.add_metric([state.value], states.count(state))
        yield engines
        memory = GaugeMetricFamily(
            "stt_engine_memory_bytes",
            "Memory of each engine: in all (rss), and what would be free without it (private).",
            labels=["engine", "kind"],
        )
        for engine, pid in sorted(self._pids().items()):
            with contextlib.suppress(OSError):  # it has just ended, or the system does not tell
                for kind, n_bytes in memory_of(pid)._asdict().items():
                    memory.add_metric([str(engine), kind], n_bytes)
        yield memory
