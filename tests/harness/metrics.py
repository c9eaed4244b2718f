"""What a server tells of itself: its figures and its health."""

import urllib.error
import urllib.request
from typing import Dict, Tuple

from prometheus_client.parser import text_string_to_metric_families


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


def figures(port: int) -> Figures:
    """Of the server whose metrics port that is."""
    status, content = ask(port, "/metrics")
    assert status == 200
    return Figures(content)
