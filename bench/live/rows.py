"""What text that is shown while somebody speaks gives; as a command, its picture: `… ROWS.json CHART.svg`."""

from typing import Any, Dict, NamedTuple, Optional

from bench import chart
from bench.report import NOT_MEASURED, Columns, Report, counts, number, percent


class Row(NamedTuple):
    """One language and number of clients; what could not be measured is None. Seconds, unless a name says otherwise.

    Attributes:
        words: of the final texts, with letters or digits.
        stable_…: from the end of a word's sound until it stood as stable text, or in the final one.
        shown_…: the same until it was first shown.
        coverage: share of the final texts that was stable before they came.
        retraction: share of the last stable texts that the final ones do not have.
        shrinks: stable texts that were no beginning of the next one.
        faults: other packets that broke a rule, by rule.
        unanswered: utterances with live text that no result followed.
        partials_per_s: of speech.
        result_…: from the packet that completes the silence after an utterance to its result, with live text asked for
            and without.
        error_rate_…: of all recordings in sessions that ended well; characters in Korean, words in English.
        changed: results whose time or text differs with live text and without.
        cores_…: processor time of the server over the time that passed.
        failures: sessions that ended badly, by kind.
        late_packets: that the clients sent more than 30 ms after their time.
    """

    language: str
    clients: int
    utterances: int
    words: int
    stable_mean: Optional[float]
    stable_median: Optional[float]
    stable_p95: Optional[float]
    shown_mean: Optional[float]
    shown_p95: Optional[float]
    coverage: Optional[float]
    retraction: Optional[float]
    shrinks: int
    faults: Dict[str, int]
    unanswered: int
    partials_per_s: Optional[float]
    results: int
    result_median_ms: Optional[float]
    result_p95_ms: Optional[float]
    results_without: int
    result_median_without_ms: Optional[float]
    result_p95_without_ms: Optional[float]
    error_rate: Optional[float]
    error_rate_without: Optional[float]
    changed: int
    cores: Optional[float]
    cores_without: Optional[float]
    failures: Dict[str, int]
    late_packets: int


def _ratio(row: Row) -> str:
    if row.result_p95_ms is None or not row.result_p95_without_ms:
        return NOT_MEASURED
    return number(row.result_p95_ms / row.result_p95_without_ms, 2, " ×")


COLUMNS: Columns[Row] = {
    "language": lambda row: row.language,
    "clients": lambda row: str(row.clients),
    "utterances, words": lambda row: f"{row.utterances}, {row.words}",
    "stable: mean, s": lambda row: number(row.stable_mean, 2),
    "median, s": lambda row: number(row.stable_median, 2),
    "95 %, s": lambda row: number(row.stable_p95, 2),
    "first shown: mean, s": lambda row: number(row.shown_mean, 2),
    "its 95 %, s": lambda row: number(row.shown_p95, 2),
    "coverage": lambda row: percent(row.coverage),
    "retraction": lambda row: percent(row.retraction),
    "shrinks": lambda row: str(row.shrinks),
    "other faults": lambda row: counts(row.faults),
    "shown, no result": lambda row: str(row.unanswered),
    "partials per s of speech": lambda row: number(row.partials_per_s, 2),
    "result: median, ms (without)": lambda row: _pair(row.result_median_ms, row.result_median_without_ms),
    "result: 95 %, ms (without)": lambda row: _pair(row.result_p95_ms, row.result_p95_without_ms),
    "95 %, with against without": _ratio,
    "results (without)": lambda row: f"{row.results} ({row.results_without})",
    "error rate (without)": lambda row: f"{percent(row.error_rate)} ({percent(row.error_rate_without)})",
    "changed results": lambda row: str(row.changed),
    "server, cores (without)": lambda row: _pair(row.cores, row.cores_without, 2),
    "failures": lambda row: counts(row.failures),
    "late packets": lambda row: str(row.late_packets),
}


def _pair(value: Optional[float], without: Optional[float], digits: int = 0) -> str:
    return f"{number(value, digits)} ({number(without, digits)})"


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """For each language and number of clients: how late words are first shown and stable, mean and 95th percentile."""
    rows = [row for row in report.rows if row.words]
    if not rows:
        raise SystemExit("there is no latency to draw: no row has words")
    figure, panel = pyplot.subplots(figsize=(8, 0.8 + 0.8 * len(rows)), layout="constrained")
    for offset, label, colour, means, ends in (
        (-0.2, "first shown", chart.OTHERS, [row.shown_mean for row in rows], [row.shown_p95 for row in rows]),
        (0.2, "stable", chart.OURS, [row.stable_mean for row in rows], [row.stable_p95 for row in rows]),
    ):
        places = [place + offset for place in range(len(rows))]
        panel.barh(places, means, 0.36, color=colour, label=f"{label}: mean")
        panel.plot(ends, places, color=colour, marker="|", markersize=14, linestyle="", label=f"{label}: 95 %")
        for values, right in ((means, 3), (ends, 6)):
            for value, place in zip(values, places):
                panel.annotate(number(value, 2), (value, place), (right, 0), textcoords="offset points", va="center")
    panel.set_yticks(range(len(rows)), [f"{row.language}, clients: {row.clients}" for row in rows])
    panel.invert_yaxis()
    panel.set_xlabel("seconds after the end of a word's sound")
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report.facts["conditions"], fontsize=9)
    return figure


if __name__ == "__main__":
    chart.main(draw, Row)
