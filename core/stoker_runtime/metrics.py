"""Metrics export: registers the catalogue of stoker.metrics with prometheus_client, and counts nothing else.

The hot path is one dictionary look-up and one addition. Series are bounded per metric: what would exceed the
bound is counted under `_other`, so a user who applies many functions costs accuracy there, never memory.
"""

from typing import Any

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from stoker.metrics import CATALOGUE, Kind, MetricSpec

OTHER = "_other"
"""Label value of the series that takes what exceeds the bound."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger(__name__)

# A second sample per counter and histogram that no dashboard of ours reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class PrometheusSink:
    """A stoker.metrics.MetricsSink in its own registry. Label values come in the order of `spec.labels`."""

    def __init__(self, *, max_series: int = 5_000, process: bool = True) -> None:
        """`process` adds CPU, memory and open files of this process (stoker_process_*)."""
        self.registry = CollectorRegistry()
        self._max_series = max_series
        self._families: dict[str, Any] = {}
        """Those that something was counted of. A process shows no others: `stoker_kubelet_up 0` of a gateway, which has
        nothing to do with a kubelet, would be an alarm.
        """
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._series: dict[str, int] = dict.fromkeys((spec.name for spec in CATALOGUE), 0)
        self._warned: set[str] = set()
        if process:
            ProcessCollector(namespace="stoker", registry=self.registry)

    def inc(self, spec: MetricSpec, *labels: str, amount: float = 1) -> None:
        child = self._children.get((spec.name, labels)) or self._child(spec, labels)
        child.inc(amount)

    def set(self, spec: MetricSpec, value: float, *labels: str) -> None:
        child = self._children.get((spec.name, labels)) or self._child(spec, labels)
        child.set(value)

    def observe(self, spec: MetricSpec, value: float, *labels: str) -> None:
        child = self._children.get((spec.name, labels)) or self._child(spec, labels)
        child.observe(value)

    def forget(self, spec: MetricSpec, *labels: str) -> None:
        """Drop one labelled series; dropping what is not there changes nothing."""
        if not spec.labels or self._children.pop((spec.name, labels), None) is None:
            return
        self._series[spec.name] -= 1
        self._families[spec.name].remove(*labels)

    def forget_function(self, namespace: str, function: str) -> None:
        """Drop every series of a function that was deleted."""
        for spec in CATALOGUE:
            if spec.labels[:2] != ("namespace", "function"):
                continue
            for name, labels in [key for key in self._children if key[0] == spec.name]:
                if name == spec.name and labels[:2] == (namespace, function):
                    self.forget(spec, *labels)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self.registry)

    def _child(self, spec: MetricSpec, labels: tuple[str, ...]) -> Any:
        if self._series[spec.name] >= self._max_series:
            if spec.name not in self._warned:
                self._warned.add(spec.name)
                log.warning("metric_series_bounded", metric=spec.name, max_series=self._max_series)
            # Not kept under `labels`: what exceeds the bound must not grow this cache either.
            return self._family(spec).labels(*(OTHER for _ in labels))
        family = self._family(spec)
        child = family.labels(*labels) if spec.labels else family
        self._children[spec.name, labels] = child
        self._series[spec.name] += 1
        return child

    def _family(self, spec: MetricSpec) -> Any:
        family = self._families.get(spec.name)
        if family is None:
            family = self._families[spec.name] = _family(spec, self.registry)
        return family


def _family(spec: MetricSpec, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if spec.kind is Kind.COUNTER:
        return Counter(spec.name, spec.help, spec.labels, registry=registry)
    if spec.kind is Kind.GAUGE:
        return Gauge(spec.name, spec.help, spec.labels, registry=registry)
    return Histogram(spec.name, spec.help, spec.labels, registry=registry, buckets=spec.buckets)
