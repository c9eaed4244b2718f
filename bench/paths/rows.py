"""What a comparison of paths gives."""

from typing import NamedTuple, Tuple

from bench.report import Columns, percent


class Row(NamedTuple):
    """One path on one language: the error rate of each variant, and how many segments have another text than first."""

    path: str
    language: str
    error_rates: Tuple[float, ...]
    others: int
    segments: int


COLUMNS: Columns[Row] = {
    "path": lambda row: row.path,
    "language": lambda row: row.language,
    "error rates": lambda row: " / ".join(percent(rate) for rate in row.error_rates),
    "mean": lambda row: percent(sum(row.error_rates) / len(row.error_rates)),
    "texts that differ from the first path's": lambda row: f"{row.others} of {row.segments}",
}
