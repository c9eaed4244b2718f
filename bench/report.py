"""What a comparison gives, as a table in Markdown and as JSON."""

from pathlib import Path
from typing import List, NamedTuple, Sequence

from bench import kept

REFERENCES = ("faster-whisper int8, beam 5", "OpenVINO GenAI int8, beam 5")


class Row(NamedTuple):
    """One contender on one language."""

    name: str
    language: str
    times_real_time: float
    error_rate: float
    peak_mb: float


class Report(NamedTuple):
    """The rows, and what they were measured with."""

    recordings: int
    threads: int
    rows: List[Row]

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        kept.write(path, self)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """What `write` kept."""
        return cls(**kept.read(path, Row))

    @property
    def conditions(self) -> str:
        """What was measured with, in one line."""
        plural = "" if self.threads == 1 else "s"
        return f"Whisper base, {self.threads} thread{plural}, {self.recordings} recordings, in turns in one run"


def metric(language: str) -> str:
    """What the error rate of a language counts: characters or words."""
    return "CER" if language == "ko" else "WER"


def ratio(row: Row, reference: str, rows: Sequence[Row]) -> str:
    """How many times as fast as the reference on the same language; a dash where that was not measured."""
    for other in rows:
        if (other.name, other.language) == (reference, row.language):
            return f"{row.times_real_time / other.times_real_time:.2f} ×"
    return "–"


def table(report: Report) -> str:
    """The rows in Markdown."""
    lines = [
        report.conditions,
        "",
        "| recogniser | language | × real time | error rate | peak memory, MB | against "
        + " | against ".join(REFERENCES)
        + " |",
        "|---" * (5 + len(REFERENCES)) + "|",
    ]
    for row in report.rows:
        cells = [
            row.name,
            row.language,
            f"{row.times_real_time:.1f}",
            f"{100 * row.error_rate:.1f} % ({metric(row.language)})",
            f"{row.peak_mb:.0f}",
            *(ratio(row, reference, report.rows) for reference in REFERENCES),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
