"""What comes of long recordings."""

from typing import NamedTuple

from bench.report import Columns, number, percent


class Row(NamedTuple):
    """One way to recognise them, in one language."""

    name: str
    language: str
    times_real_time: float
    error_rate: float


COLUMNS: Columns[Row] = {
    "through": lambda row: row.name,
    "language": lambda row: row.language,
    "× real time": lambda row: number(row.times_real_time, 1),
    "error rate (Korean: characters, else words)": lambda row: percent(row.error_rate),
}
