"""What a load test gives; as a command, its picture: `… ROWS.json CHART.svg`."""

from typing import Any, Dict, NamedTuple, Optional

from bench import chart
from bench.report import Columns, Report, counts, number, percent


class Row(NamedTuple):
    """One number of clients; what could not be measured is None.

    Attributes:
        name: how the row is called, e.g. `8 + one that pushes`.
        results: with a latency.
        failures: sessions that ended badly, by kind.
        without_result, cut, unmatched: see `bench.load.plan.Tally`.
        error_rate: of the characters of all recordings in sessions that ended well.
        server_cores … generator_cores: see `bench.load.usage.Usage`.
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


def _name(row: Row) -> str:
    speed = row.neighbour_times_real_time
    return row.name if speed is None else f"{row.name} ({speed:.1f} × real time)"


COLUMNS: Columns[Row] = {
    "clients": _name,
    "results": lambda row: str(row.results),
    "latency: median, ms": lambda row: number(row.latency_median_ms),
    "95 %, ms": lambda row: number(row.latency_p95_ms),
    "max, ms": lambda row: number(row.latency_max_ms),
    "failures": lambda row: counts(row.failures),
    "CER": lambda row: percent(row.error_rate),
    "server, cores": lambda row: number(row.server_cores, 2),
    "server, MB (PSS)": lambda row: number(row.server_pss_mb),
    "an engine, MB (PSS)": lambda row: number(row.engine_pss_mb),
    "private, MB": lambda row: number(row.engine_private_mb),
    "left out": lambda row: counts({"without result": row.without_result, "cut": row.cut, "unmatched": row.unmatched}),
    "load generator: cores": lambda row: number(row.generator_cores, 2),
    "lag 95 %, ms": lambda row: number(row.generator_lag_p95_ms, 1),
    "late packets": lambda row: str(row.late_packets),
}


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """Latency against the number of clients: two lines, the median and the 95th percentile."""
    rows = sorted((row for row in report.rows if row.results), key=lambda row: row.clients)
    if not rows:
        raise SystemExit("there is no latency to draw: no row has results")
    clients = [row.clients for row in rows]
    figure, panel = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for label, colour, above_points, latencies_ms in (
        ("95 %", chart.OTHERS, 6, [row.latency_p95_ms for row in rows]),
        ("median", chart.OURS, -13, [row.latency_median_ms for row in rows]),
    ):
        panel.plot(clients, latencies_ms, color=colour, marker="o", label=label)
        for place in zip(clients, latencies_ms):
            panel.annotate(number(place[1]), place, (0, above_points), textcoords="offset points", ha="center")
    panel.set_xticks(sorted(set(clients)))
    panel.set_ylim(bottom=-0.1 * panel.get_ylim()[1])  # room for a number below a point
    panel.set_ylabel("ms from the last packet of the silence\nthat ends an utterance to its text")
    panel.set_xlabel("clients that speak in real time")
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report.facts["conditions"], fontsize=9)
    return figure


if __name__ == "__main__":
    chart.main(draw, Row)
