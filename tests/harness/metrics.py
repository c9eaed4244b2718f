"""What a server tells of itself: its figures and its health."""

import re
import time
import urllib.error
import urllib.request
from typing import Dict, Set, Tuple

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.markdown import Document
from tests.harness.server import PROJECT


class Figures:
    """Figures in Prometheus's text format, by name and labels: `stt_engines{state="running"}`. Without buckets."""

    def __init__(self, text: str) -> None:
        self.values: Dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                    self.values[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def since(self, before: "Figures") -> Dict[str, float]:
        """What has changed, and by how much."""
        changes = {name: value - before.values.get(name, 0.0) for name, value in self.values.items()}
        return {name: change for name, change in changes.items() if change}


def ask(port: int, path: str, timeout_s: float = 30.0) -> Tuple[int, str]:
    """GET it from 127.0.0.1; status and content."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def answered(port: int, path: str, within_s: float) -> Tuple[int, str]:
    """As `ask`, of what must come in time."""
    began_s = time.monotonic()
    status, content = ask(port, path)
    assert time.monotonic() - began_s < within_s, content
    return status, content


def figures(port: int) -> Figures:
    """Of the server whose metrics port that is."""
    status, content = ask(port, "/metrics")
    assert status == 200
    return Figures(content)


def assert_well_named(text: str, prefix: str) -> None:
    """Names are as Prometheus wants them, each is explained, and all series are there from the start."""
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(f"{prefix}[a-z_]+", family.name)
        assert family.documentation
        samples = {sample.name for sample in family.samples}
        assert samples
        if family.type == "counter":
            assert samples == {f"{family.name}_total"}
        elif family.type == "histogram":
            assert family.name.endswith("_seconds")
        else:
            assert not family.name.endswith("_total")
        assert not any(name.endswith("_created") for name in samples)


def assert_all_explained(text: str, prefix: str, heading: str) -> None:
    """The table of docs/operations.md with that heading has every figure and no other, but for those of a process."""
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in text_string_to_metric_families(text)
        if not family.name.startswith(f"{prefix}process_")
    }
    rows = Document(PROJECT / "docs" / "operations.md").table(heading)[1:]
    told: Set[str] = {match[1] for match in (re.match(r"`(stt_\w+)", row[0]) for row in rows) if match}
    assert told == exported
