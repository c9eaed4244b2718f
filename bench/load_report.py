"""What a load test gives, as a table in Markdown and as JSON."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from bench import kept

NOT_MEASURED = "–"


class Row(NamedTuple):
    """One number of clients; what could not be measured is None.

    Attributes:
        name: how the row is called, e.g. `8 + one that pushes`.
        results: with a latency.
        failures: sessions that ended badly, by kind.
        without_result, cut, unmatched: see `bench.load_plan.Tally`.
        error_rate: of the characters of all recordings in sessions that ended well.
        late_packets: that the load generator sent more than 30 ms after their time.
        neighbour_times_real_time: how fast the audio of the client that pushes was recognised.
    """

    name: str
    clients: int
    results: int
    latency_median_ms: Optional[float]
    latency_p95_ms: Optional[float]
    latency_max_ms: Optional[float]
    failures: Dict[str, int]
    without_result: int
    cut: int
    unmatched: int
    error_rate: Optional[float]
    server_cores: Optional[float]
    server_pss_mb: Optional[float]
    engine_pss_mb: Optional[float]
    engine_private_mb: Optional[float]
    generator_cores: Optional[float]
    generator_lag_p95_ms: float
    late_packets: int
    neighbour_times_real_time: Optional[float]


class Report(NamedTuple):
    """The rows, and in one line what they were measured with."""

    conditions: str
    rows: List[Row]

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        kept.write(path, self)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """What `write` kept."""
        return cls(**kept.read(path, Row))


COLUMNS = (
    "clients",
    "results",
    "latency: median, ms",
    "95 %, ms",
    "max, ms",
    "failures",
    "CER",
    "server, cores",
    "server, MB (PSS)",
    "an engine, MB (PSS)",
    "private, MB",
    "left out",
    "load generator: cores",
    "lag 95 %, ms",
    "late packets",
)


def heading(conditions: str) -> str:
    """What stands above the rows in Markdown."""
    return "\n".join([conditions, "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"])


def line(row: Row) -> str:
    """One row in Markdown."""
    cells = [
        _name(row),
        str(row.results),
        _number(row.latency_median_ms),
        _number(row.latency_p95_ms),
        _number(row.latency_max_ms),
        _counts(row.failures) or "0",
        NOT_MEASURED if row.error_rate is None else f"{100 * row.error_rate:.1f} %",
        _number(row.server_cores, 2),
        _number(row.server_pss_mb),
        _number(row.engine_pss_mb),
        _number(row.engine_private_mb),
        _counts({"without result": row.without_result, "cut": row.cut, "unmatched": row.unmatched}) or "0",
        _number(row.generator_cores, 2),
        _number(row.generator_lag_p95_ms, 1),
        str(row.late_packets),
    ]
    return f"| {' | '.join(cells)} |"


def _name(row: Row) -> str:
    if row.neighbour_times_real_time is None:
        return row.name
    return f"{row.name} ({row.neighbour_times_real_time:.1f} × real time)"


def _number(value: Optional[float], digits: int = 0) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def _counts(counts: Dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
