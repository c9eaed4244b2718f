"""Figures for Prometheus: how server and gateway make theirs and tell them."""

import itertools
from typing import Optional, Sequence, Tuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder


class Exporter:
    """A registry, and what makes figures in it; for several threads.

    Args:
        namespace: before the names of the process's own figures: memory, processor time, descriptors.
    """

    def __init__(self, namespace: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # else each has a second series
        self._registry = CollectorRegistry()
        ProcessCollector(namespace=namespace, registry=self._registry)

    def _counter(self, name: str, what: str, **labels: Sequence[str]) -> Counter:
        """With all its series from the start, so that the first increase is seen as one."""
        made = Counter(name, what, list(labels), registry=self._registry)
        if labels:
            for values in itertools.product(*labels.values()):
                made.labels(*values)
        return made

    def _histogram(self, name: str, what: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(name, what, buckets=buckets, registry=self._registry)

    def _gauge(self, name: str, what: str, **labels: Sequence[str]) -> Gauge:
        """Likewise."""
        made = Gauge(name, what, list(labels), registry=self._registry)
        if labels:
            for values in itertools.product(*labels.values()):
                made.labels(*values)
        return made

    def told(self, accept: Optional[str]) -> Tuple[bytes, str]:
        """All of it, and its content type, in a form that the HTTP header `Accept` names."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type
