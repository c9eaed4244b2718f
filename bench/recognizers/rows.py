"""What a comparison of recognisers gives; as a command, its picture: `… ROWS.json CHART.svg`."""

from functools import partial
from typing import Any, List, NamedTuple, Sequence

from bench import chart
from bench.report import NOT_MEASURED, Columns, Report, number, percent

LANGUAGES = {"ko": "Korean", "en": "English"}
_REFERENCES = ("faster-whisper int8, beam 5", "OpenVINO GenAI int8, beam 5")


class Row(NamedTuple):
    """One contender on one language."""

    name: str
    language: str
    times_real_time: float
    error_rate: float
    peak_mb: float


def conditions(recordings: int, threads: int) -> str:
    """What was measured with, in one line."""
    plural = "" if threads == 1 else "s"
    return f"Whisper base, {threads} thread{plural}, {recordings} recordings, in turns in one run"


def columns(rows: Sequence[Row]) -> Columns[Row]:
    """Of the table; the last ones hold a row against others of these rows."""
    return {
        "recogniser": lambda row: row.name,
        "language": lambda row: row.language,
        "× real time": lambda row: number(row.times_real_time, 1),
        "error rate": lambda row: f"{percent(row.error_rate)} ({_metric(row)})",
        "peak memory, MB": lambda row: number(row.peak_mb),
        **{f"against {name}": partial(_ratio, rows, name) for name in _REFERENCES},
    }


def _metric(row: Row) -> str:
    """What its error rate counts: characters or words."""
    return "CER" if row.language == "ko" else "WER"


def _ratio(rows: Sequence[Row], reference: str, row: Row) -> str:
    """How many times as fast as the reference on the same language."""
    for other in rows:
        if (other.name, other.language) == (reference, row.language):
            return f"{row.times_real_time / other.times_real_time:.2f} ×"
    return NOT_MEASURED


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """The speed of every contender as bars with its error rate, one panel for each language."""
    names = list(dict.fromkeys(row.name for row in report.rows))
    languages = [language for language in LANGUAGES if any(row.language == language for row in report.rows)]
    figure, panels = pyplot.subplots(
        1, len(languages), sharey=True, squeeze=False, figsize=(10, 1.4 + 0.3 * len(names)), layout="constrained"
    )
    for panel, language in zip(panels[0], languages):
        _bars(panel, names, [row for row in report.rows if row.language == language])
        panel.set_title(LANGUAGES[language])
    panels[0][0].invert_yaxis()
    figure.supxlabel(f"× real time, longer is faster ({conditions(**report.facts)})", fontsize=9)
    return figure


def _bars(panel: Any, names: List[str], rows: Sequence[Row]) -> None:
    fastest = max(row.times_real_time for row in rows)
    for row in rows:
        place = names.index(row.name)
        label = f"{row.times_real_time:.1f} ×   {_metric(row)} {percent(row.error_rate)}"
        panel.barh(place, row.times_real_time, color=chart.OURS if row.name.startswith("ours") else chart.OTHERS)
        panel.text(row.times_real_time + 0.02 * fastest, place, label, va="center")
    panel.set_yticks(range(len(names)), names)
    panel.set_xlim(0, 1.6 * fastest)  # room for the text at the longest bar
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    chart.main(draw, Row)
