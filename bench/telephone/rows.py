"""What a telephone line costs each recogniser."""

from typing import NamedTuple

from bench.report import Columns, percent


class Row(NamedTuple):
    """One recogniser on one version of the recordings.

    Attributes:
        sound: which version.
        segments: that it was cut into.
        without_text: of them.
    """

    sound: str
    name: str
    segments: int
    without_text: int
    error_rate: float


COLUMNS: Columns[Row] = {
    "sound": lambda row: row.sound,
    "recogniser": lambda row: row.name,
    "segments": lambda row: str(row.segments),
    "without text": lambda row: str(row.without_text),
    "error rate": lambda row: percent(row.error_rate),
}
