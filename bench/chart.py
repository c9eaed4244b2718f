"""Reports as pictures, in the environment of the benchmarks: the only one with matplotlib."""

import sys
from pathlib import Path
from typing import Any, Callable

from bench.report import Report, Row

OURS, OTHERS = "#1f6fb4", "#a9b4bf"


def main(draw: Callable[[Any, Report[Row]], Any], row_type: Callable[..., Row]) -> None:
    """`python -m … ROWS.json CHART.svg`: what `draw(pyplot, report)` makes of kept rows; the same rows, the same bytes.

    `draw` returns the figure.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot  # noqa: PLC0415

    source, target = (Path(argument) for argument in sys.argv[1:])
    figure = draw(pyplot, Report.read(source, row_type))
    figure.savefig(target, format="svg", facecolor="white", metadata={"Date": None})  # no time of day
