"""The tables of the capacity plan."""

from typing import NamedTuple, Optional

from bench.report import Columns, number


class Check(NamedTuple):
    """A row of the load test as it was measured, and as it is simulated; latencies in ms."""

    clients: int
    results: int
    measured_results: int
    median_ms: float
    measured_median_ms: float
    p95_ms: float
    measured_p95_ms: float
    cores: float
    measured_cores: float
    thrown_away: float


class Size(NamedTuple):
    """How many clients that speak all the time so many cores serve so that 95 % of their results take a second at most.

    Attributes:
        clients: that many.
        cores_in_use: by them.
        fewer: three quarters of them.
        fewer_median_ms, fewer_p95_ms: what the results of those take.
    """

    cores: int
    clients: int
    cores_in_use: float
    fewer: int
    fewer_median_ms: float
    fewer_p95_ms: float


class Plan(NamedTuple):
    """How many engines it takes for a load to find all of them in use so rarely.

    Attributes:
        load: mean number of sessions.
        share: of sessions that may be refused.
        engines: that Erlang's formula wants.
        servers: they are divided among.
        refused: share of the simulation, one queue for all servers.
        scattered: the same where each client is sent to any server, whatever it has to do.
        patient: share refused where each waits for a sixth of a session's mean length.
    """

    load: int
    share: float
    engines: int
    servers: int
    refused: float
    scattered: float
    patient: float


def _share(value: Optional[float]) -> str:
    return number(None if value is None else 100 * value, 2, " %")


CHECK_COLUMNS: Columns[Check] = {
    "clients": lambda row: str(row.clients),
    "results (measured)": lambda row: f"{row.results} ({row.measured_results})",
    "latency: median, ms (measured)": lambda row: f"{row.median_ms:.0f} ({row.measured_median_ms:.0f})",
    "95 %, ms (measured)": lambda row: f"{row.p95_ms:.0f} ({row.measured_p95_ms:.0f})",
    "server, cores (measured)": lambda row: f"{row.cores:.2f} ({row.measured_cores:.2f})",
    "of it thrown away": lambda row: _share(row.thrown_away),
}

SIZE_COLUMNS: Columns[Size] = {
    "cores": lambda row: str(row.cores),
    "clients, 95 % within 1 s": lambda row: f"{row.clients} ({row.clients / row.cores:.1f} for each core)",
    "cores in use then": lambda row: f"{100 * row.cores_in_use / row.cores:.0f} %",
    "three quarters of them: median, ms": lambda row: f"{row.fewer}: {row.fewer_median_ms:.0f}",
    "95 %, ms": lambda row: f"{row.fewer_p95_ms:.0f}",
}

PLAN_COLUMNS: Columns[Plan] = {
    "sessions, mean": lambda row: f"{row.load:,}",
    "may be refused": lambda row: _share(row.share),
    "engines (Erlang B)": lambda row: f"{row.engines:,}",
    "head-room": lambda row: f"{100 * (row.engines / row.load - 1):+.1f} %",
    "servers": lambda row: f"{row.servers:,}",
    "refused, simulated": lambda row: _share(row.refused),
    "without a balancer": lambda row: _share(row.scattered),
    "where clients wait 30 s": lambda row: _share(row.patient),
}
