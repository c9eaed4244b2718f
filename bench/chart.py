"""`python -m bench.chart ROWS.json CHART.svg`: the speed of every contender as bars, with its error rate.

It runs in the environment of the benchmark, the only one with matplotlib. The same rows give the same bytes.
"""

import sys
from pathlib import Path
from typing import Any, List, Sequence

from bench.report import Report, Row, metric

LANGUAGES = {"ko": "Korean", "en": "English"}
OURS, OTHERS = "#1f6fb4", "#a9b4bf"


def label(row: Row) -> str:
    """What stands at the end of a bar."""
    return f"{row.times_real_time:.1f} ×   {metric(row.language)} {100 * row.error_rate:.1f} %"


def plotter() -> Any:
    """matplotlib.pyplot, set so that the same rows give the same bytes."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot  # noqa: PLC0415

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Write it as SVG, without the time of day."""
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})


def draw(report: Report, path: Path) -> None:
    """Write the chart as SVG, one panel for each language."""
    pyplot = plotter()
    names = list(dict.fromkeys(row.name for row in report.rows))
    languages = [language for language in LANGUAGES if any(row.language == language for row in report.rows)]
    figure, panels = pyplot.subplots(
        1, len(languages), sharey=True, squeeze=False, figsize=(10, 1.4 + 0.3 * len(names)), layout="constrained"
    )
    for panel, language in zip(panels[0], languages):
        _panel(panel, names, [row for row in report.rows if row.language == language])
        panel.set_title(LANGUAGES[language])
    panels[0][0].invert_yaxis()
    figure.supxlabel(f"× real time, longer is faster ({report.conditions})", fontsize=9)
    save(figure, path)


def _panel(panel: Any, names: List[str], rows: Sequence[Row]) -> None:
    fastest = max(row.times_real_time for row in rows)
    for row in rows:
        place = names.index(row.name)
        panel.barh(place, row.times_real_time, color=OURS if row.name.startswith("ours") else OTHERS)
        panel.text(row.times_real_time + 0.02 * fastest, place, label(row), va="center")
    panel.set_yticks(range(len(names)), names)
    panel.set_xlim(0, 1.6 * fastest)  # room for the text at the longest bar
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw one report."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    draw(Report.read(source), target)


if __name__ == "__main__":
    main()
