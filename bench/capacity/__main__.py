"""`python -m bench.capacity`: how many engines and cores are needed for how many clients, three tables.

First the load test as it was measured beside the same clients in the simulation, then the simulation with more cores
and clients than were there to be measured, then sessions that come and go over many servers, with Erlang's formula
beside the simulation.
"""

import argparse
import random
import signal
import sys
from typing import List, NamedTuple, Sequence, Tuple

from bench import command
from bench.capacity import calls, erlang, server, traffic
from bench.capacity.calls import Fleet
from bench.capacity.rows import CHECK_COLUMNS, PLAN_COLUMNS, SIZE_COLUMNS, Check, Plan, Size
from bench.capacity.server import Cost
from bench.capacity.traffic import Utterance
from bench.load.plan import STAGGER_S, percentile
from bench.recordings import read_spoken
from bench.report import line, table

Client = Tuple[float, Sequence[Utterance]]

LANGUAGE = "ko"
SECONDS = 60.0
STREAMS = 64  # that differ; more clients say the same at other times
WINDOW_S = (STAGGER_S, STAGGER_S + SECONDS)
# docs/benchmarks.md: a segment of 4 s takes 0.3 to 0.5 s of a core, one of 10 s twice that, 100 silent clients 0.41
# cores; within that, fitted to the cores that eight clients used.
COST = Cost(0.153, 0.077, 0.0041)
LIMIT_MS = 1000.0
CORES = (1, 2, 4, 8, 16, 32)
ENGINES = 16  # of a server
LOADS = (10, 1_000, 100_000)
SHARES = (0.01, 0.001)
PATIENCE = 30 / 180  # of a session's mean length: HAProxy's queue, a call of three minutes


class Measured(NamedTuple):
    """A row of docs/benchmarks.md, two cores."""

    clients: int
    results: int
    median_ms: float
    p95_ms: float
    cores: float


MEASURED = (
    Measured(1, 8, 13, 476, 0.11),
    Measured(8, 74, 2, 329, 0.80),
    Measured(16, 145, 531, 1596, 1.67),
    Measured(24, 209, 2264, 7505, 1.90),
)


def main() -> None:
    """Print the tables."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parser = argparse.ArgumentParser("python -m bench.capacity", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1_000_000, help="of each row of the third table")
    options = command.parse(parser, draws=False)
    if options.sessions < 1:
        parser.error("--sessions: at least 1")
    recordings = read_spoken(options.speech, LANGUAGE)
    streams = [traffic.make(recordings, client, SECONDS) for client in range(STREAMS)]
    print(table(f"Simulated beside what was measured, 2 cores, {SECONDS:g} s", CHECK_COLUMNS))
    for row in MEASURED:
        print(line(CHECK_COLUMNS, _check(streams, row)), flush=True)
    print("\n" + table("Clients that speak 80 % of the time", SIZE_COLUMNS))
    for cores in CORES:
        print(line(SIZE_COLUMNS, _size(streams, cores)), flush=True)
    conditions = f"{options.sessions:,} sessions for each row, servers of up to {ENGINES} engines"
    print("\n" + table(conditions, PLAN_COLUMNS))
    for load in LOADS:
        for share in SHARES:
            print(line(PLAN_COLUMNS, _plan(load, share, options.sessions)), flush=True)


def _simulate(streams: Sequence[Client], clients: int, cores: int) -> server.Outcome:
    return server.simulate(_crowd(streams, clients), cores, COST, WINDOW_S)


def _crowd(streams: Sequence[Client], clients: int) -> List[Client]:
    """So many; who says the same as another one says it at another time."""
    rounds = -(-clients // len(streams))
    crowd = [
        (offset_s - STAGGER_S * number / rounds, spoken) for number in range(rounds) for offset_s, spoken in streams
    ]
    return crowd[:clients]


def _check(streams: Sequence[Client], row: Measured) -> Check:
    outcome = _simulate(streams, row.clients, 2)
    return Check(
        clients=row.clients,
        results=len(outcome.latencies_s),
        measured_results=row.results,
        median_ms=_milliseconds(outcome, 50),
        measured_median_ms=row.median_ms,
        p95_ms=_milliseconds(outcome, 95),
        measured_p95_ms=row.p95_ms,
        cores=outcome.cores,
        measured_cores=row.cores,
        thrown_away=outcome.thrown_away,
    )


def _milliseconds(outcome: server.Outcome, percent: float) -> float:
    value_s = percentile(outcome.latencies_s, percent)
    assert value_s is not None  # there is no row in which nobody speaks
    return 1000 * value_s


def _size(streams: Sequence[Client], cores: int) -> Size:
    clients = _most(streams, cores)
    fewer = _simulate(streams, 3 * clients // 4, cores)
    return Size(
        cores=cores,
        clients=clients,
        cores_in_use=_simulate(streams, clients, cores).cores,
        fewer=3 * clients // 4,
        fewer_median_ms=_milliseconds(fewer, 50),
        fewer_p95_ms=_milliseconds(fewer, 95),
    )


def _most(streams: Sequence[Client], cores: int) -> int:
    """The most clients whose results come in time."""
    enough, too_many = 2, 20 * cores
    while too_many - enough > 1:
        middle = (enough + too_many) // 2
        if _milliseconds(_simulate(streams, middle, cores), 95) <= LIMIT_MS:
            enough = middle
        else:
            too_many = middle
    return enough


def _plan(load: int, share: float, sessions: int) -> Plan:
    engines = erlang.engines_for(load, share)
    servers = max(2, -(-engines // ENGINES))

    def refused(queue: float = 0.0, balanced: bool = True) -> float:
        fleet = Fleet(calls.divided(engines, servers), queue, balanced)
        return calls.simulate(fleet, load, sessions, random.Random(1)).refused_share

    return Plan(load, share, engines, servers, refused(), refused(balanced=False), refused(PATIENCE))


if __name__ == "__main__":
    main()
