"""A server with one engine to dozens, each with a client that speaks in real time and asks for live text.

What clients send, when, and what a latency is: as in `bench.load`.
"""

import gc
from typing import Dict, List, Sequence

from bench.gpu.memory import Served, memory_of, serve
from bench.gpu.models import recordings
from bench.gpu.parts import Settings, Teller
from bench.gpu.rows import Live
from bench.load import plan
from bench.load.clients import LiveClient, converse, failures, timetable
from bench.load.plan import Tally, percentile
from bench.load.usage import UsageWatch
from bench.recordings import Recording
from protocol.data import Partial, SessionOptions

_PACKET_MS = 30
_SEED = 1
_MOST_RECORDINGS = 60


def measure(settings: Settings, told: Teller) -> None:
    """Rows of the first model for each number of engines, and of the memory that they take."""
    gc.disable()  # its pauses would make packets late
    model = next(iter(settings.models))
    several: Dict[str, List[Recording]] = {}
    for one in recordings(settings.speech, _MOST_RECORDINGS):
        several.setdefault(one.language, []).append(one)
    for engines in settings.engines:
        gc.collect()
        try:
            with serve(settings, model, engines) as served:
                row = _speak(served, list(several.values()), settings.seconds)
                told.row("live", row)
                told.row("memory", memory_of(served, settings, speaking=True))
        except SystemExit as error:  # it does not fit, say
            told.fault(f"{engines} engines of {model}: {error}")
            continue
        if row.failures:
            told.fault(f"{engines} engines of {model}: sessions ended badly: {row.failures}")


def _speak(served: Served, several: Sequence[Sequence[Recording]], seconds: float) -> Live:
    """A client for each engine, of several languages in turns; so much of their time counts."""
    clients: List[LiveClient] = []
    offsets_s: List[float] = []
    for number in range(served.engines):
        spoken, chance = several[number % len(several)], plan.client_random(_SEED, number)
        offset_s, duration_s = plan.begin(seconds, chance)
        stream = plan.make_stream(spoken, duration_s, chance)
        asked = SessionOptions(language=spoken[0].language, partial=True)
        clients.append(LiveClient(("127.0.0.1", served.server.port), f"live-{number}", stream, _PACKET_MS, asked))
        offsets_s.append(offset_s)
    times = timetable([client.stream for client in clients], offsets_s, seconds)
    with UsageWatch(served.server.process.pid, times.window) as watch:
        lags_ms = converse(clients, None, times)
    tally = Tally.joined([client.tally(times.window) for client in clients])
    return Live(
        model=served.model,
        engines=served.engines,
        start_s=served.start_s,
        results=len(tally.latencies_ms),
        median_ms=percentile(tally.latencies_ms, 50),
        p95_ms=percentile(tally.latencies_ms, 95),
        max_ms=percentile(tally.latencies_ms, 100),
        partials_per_s=_partials(clients, times.window) / served.engines / seconds,
        failures=failures(clients),
        server_cores=watch.usage.server_cores,
        late_packets=plan.lag(lags_ms)[1],
    )


def _partials(clients: Sequence[LiveClient], window: plan.Window) -> int:
    """Live texts that came within the window."""
    arrived = (one for client in clients for one in client.arrived)
    return sum(isinstance(one.said, Partial) and window.holds(one.arrival_s) for one in arrived)
