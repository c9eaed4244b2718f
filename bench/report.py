"""What a benchmark gives: rows and what they were measured with, as a table in Markdown and as JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Generic, List, Mapping, NamedTuple, Optional, Sequence, TypeVar

NOT_MEASURED = "–"

Row = TypeVar("Row", bound=NamedTuple)
Columns = Mapping[str, Callable[[Row], str]]  # the heading of each, and what stands below it for a row


@dataclass
class Report(Generic[Row]):
    """Rows, and what they were measured with: what JSON says beside them."""

    facts: Dict[str, Any]
    rows: List[Row]

    def write(self, path: Path) -> None:
        """Keep it as JSON."""
        content = {**self.facts, "rows": [row._asdict() for row in self.rows]}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path, row_type: Callable[..., Row]) -> "Report[Row]":
        """What `write` kept."""
        facts = json.loads(path.read_text(encoding="utf-8"))
        rows = [row_type(**row) for row in facts.pop("rows")]
        return cls(facts, rows)


def table(conditions: str, columns: Columns[Row], rows: Sequence[Row] = ()) -> str:
    """What was measured with in one line, and the rows in Markdown; without rows, what stands above them."""
    heading = [conditions, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    return "\n".join(heading + [line(columns, row) for row in rows])


def line(columns: Columns[Row], row: Row) -> str:
    """One row in Markdown."""
    return f"| {' | '.join(cell(row) for cell in columns.values())} |"


def number(value: Optional[float], digits: int = 0, unit: str = "") -> str:
    """A number with so many digits after the point, or a dash for one that was not measured."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}{unit}"


def percent(share: Optional[float]) -> str:
    """A share with one digit after the point."""
    return number(None if share is None else 100 * share, 1, " %")


def counts(by_kind: Mapping[str, int]) -> str:
    """How many of each kind."""
    return ", ".join(f"{count} {kind}" for kind, count in by_kind.items() if count) or "0"
