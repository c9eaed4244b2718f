"""Reports as JSON: a NamedTuple with `rows`, each a NamedTuple."""

import json
from pathlib import Path
from typing import Any, Dict


def write(path: Path, report: Any) -> None:
    """Keep a report."""
    content = {**report._asdict(), "rows": [row._asdict() for row in report.rows]}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path, row_type: Any) -> Dict[str, Any]:
    """The fields of a report that `write` kept."""
    content: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**content, "rows": [row_type(**row) for row in content["rows"]]}
