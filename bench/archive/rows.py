"""What recordings one after the other give."""

from typing import NamedTuple

from bench.report import Columns, number, percent


class Row(NamedTuple):
    """One way to have them recognised."""

    name: str
    times_real_time: float
    error_rate: float


COLUMNS: Columns[Row] = {
    "through": lambda row: row.name,
    "× real time": lambda row: number(row.times_real_time, 1),
    "CER": lambda row: percent(row.error_rate),
}
