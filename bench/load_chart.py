"""`python -m bench.load_chart ROWS.json CHART.svg`: the latency of results against the number of clients.

It runs in the environment of the benchmark, the only one with matplotlib. The same rows give the same bytes.
"""

import sys
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

from bench.chart import OTHERS, OURS, plotter, save
from bench.load_report import Report


class _Look(NamedTuple):
    """How a line looks, and how far its numbers stand above it (points)."""

    label: str
    colour: str
    above: int


_MEDIAN, _P95 = _Look("median", OURS, -13), _Look("95 %", OTHERS, 6)


def draw(report: Report, path: Path) -> None:
    """Write the chart as SVG: two lines, the median and the 95th percentile."""
    rows = sorted((row for row in report.rows if row.results), key=lambda row: row.clients)
    if not rows:
        raise SystemExit("there is no latency to draw: no row has results")
    clients = [row.clients for row in rows]
    figure, panel = plotter().subplots(figsize=(8, 4), layout="constrained")
    _line(panel, clients, [row.latency_p95_ms for row in rows], _P95)
    _line(panel, clients, [row.latency_median_ms for row in rows], _MEDIAN)
    panel.set_xticks(sorted(set(clients)))
    panel.set_ylim(bottom=-0.1 * panel.get_ylim()[1])  # room for a number below a point
    panel.set_ylabel("ms from the last packet of the silence\nthat ends an utterance to its text")
    panel.set_xlabel("clients that speak in real time")
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report.conditions, fontsize=9)
    save(figure, path)


def _line(panel: Any, clients: List[int], latencies_ms: List[Optional[float]], look: _Look) -> None:
    panel.plot(clients, latencies_ms, color=look.colour, marker="o", label=look.label)
    for place, latency_ms in zip(clients, latencies_ms):
        panel.annotate(
            f"{latency_ms:.0f}", (place, latency_ms), (0, look.above), textcoords="offset points", ha="center"
        )


def main() -> None:
    """Draw one report."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    draw(Report.read(source), target)


if __name__ == "__main__":
    main()
