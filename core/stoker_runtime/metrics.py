"""Metrics export: counts by the catalogue of stoker.metrics, and tells them in Prometheus' text format.

The hot path is two dictionary look-ups and one addition: prometheus_client's own counters take a lock and several calls
each, and a warm request counts six times, so it only renders what is counted here. Everything is counted on one thread,
that of the event loop. Series are bounded per metric: what would exceed the bound is counted under `_other`, so a user
who applies many functions costs accuracy there, never memory.
"""

from bisect import bisect_left
from collections.abc import Iterator

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from stoker.metrics import Kind, MetricSpec

OTHER = "_other"
"""Label value of the series that takes what exceeds the bound."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger(__name__)


class _Cell:
    """One series: a counter's or a gauge's value."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class _Spread:
    """One series of a histogram: how many values fell between its bounds, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        """By upper bound: how many values are at most that."""
        found: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            found.append((floatToGoString(bound), float(seen)))  # type: ignore[no-untyped-call]
        return found


class _Family:
    """All series of one metric, by their label values."""

    __slots__ = ("cells", "spec", "spreads")

    def __init__(self, spec: MetricSpec) -> None:
        self.spec = spec
        self.cells: dict[tuple[str, ...], _Cell] = {}
        self.spreads: dict[tuple[str, ...], _Spread] = {}
        if not spec.labels:
            self.add(())  # Without labels there is nothing to wait for: 0 is a fact.

    def __len__(self) -> int:
        return len(self.cells) + len(self.spreads)

    def add(self, labels: tuple[str, ...]) -> None:
        if self.spec.kind is Kind.HISTOGRAM:
            self.spreads[labels] = _Spread(self.spec.buckets)
        else:
            self.cells[labels] = _Cell()

    def forget(self, labels: tuple[str, ...]) -> None:
        self.cells.pop(labels, None)
        self.spreads.pop(labels, None)

    def metric(self) -> Metric:
        spec = self.spec
        if spec.kind is Kind.HISTOGRAM:
            spreads = HistogramMetricFamily(spec.name, spec.help, labels=spec.labels)
            for labels, spread in self.spreads.items():
                spreads.add_metric(labels, spread.cumulative(), spread.total)
            return spreads
        made = CounterMetricFamily if spec.kind is Kind.COUNTER else GaugeMetricFamily
        cells = made(spec.name, spec.help, labels=spec.labels)
        for labels, cell in self.cells.items():
            cells.add_metric(labels, cell.value)
        return cells


class PrometheusSink(Collector):
    """A stoker.metrics.MetricsSink in its own registry. Label values come in the order of `spec.labels`."""

    def __init__(self, *, max_series: int = 5_000, process: bool = True) -> None:
        """`process` adds CPU, memory and open files of this process (stoker_process_*)."""
        self.registry = CollectorRegistry()
        self._max_series = max_series
        self._families: dict[str, _Family] = {}
        """Those that something was counted of. A process shows no others: `stoker_kubelet_up 0` of a gateway, which has
        nothing to do with a kubelet, would be an alarm.
        """
        self._warned: set[str] = set()
        if process:
            ProcessCollector(namespace="stoker", registry=self.registry)
        self.registry.register(self)

    def inc(self, spec: MetricSpec, *labels: str, amount: float = 1) -> None:
        family = self._families.get(spec.name)
        cell = None if family is None else family.cells.get(labels)
        (cell or self._cell(spec, labels)).value += amount

    def set(self, spec: MetricSpec, value: float, *labels: str) -> None:
        family = self._families.get(spec.name)
        cell = None if family is None else family.cells.get(labels)
        (cell or self._cell(spec, labels)).value = float(value)

    def observe(self, spec: MetricSpec, value: float, *labels: str) -> None:
        family = self._families.get(spec.name)
        spread = None if family is None else family.spreads.get(labels)
        if spread is None:
            family, labels = self._series(spec, labels)
            spread = family.spreads[labels]
        spread.counts[bisect_left(spread.bounds, value)] += 1
        spread.total += value

    def forget(self, spec: MetricSpec, *labels: str) -> None:
        """Drop one labelled series; dropping what is not there changes nothing."""
        family = self._families.get(spec.name)
        if spec.labels and family is not None:
            family.forget(labels)

    def forget_function(self, namespace: str, function: str) -> None:
        """Drop every series of a function that was deleted."""
        for family in self._families.values():
            if family.spec.labels[:2] == ("namespace", "function"):
                for labels in [*family.cells, *family.spreads]:
                    if labels[:2] == (namespace, function):
                        family.forget(labels)

    def text(self) -> bytes:
        """The exposition in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks when it renders."""
        for family in tuple(self._families.values()):
            yield family.metric()

    def _cell(self, spec: MetricSpec, labels: tuple[str, ...]) -> _Cell:
        family, labels = self._series(spec, labels)
        return family.cells[labels]

    def _series(self, spec: MetricSpec, labels: tuple[str, ...]) -> tuple[_Family, tuple[str, ...]]:
        """The family, and the labels under which it now has a series: those given, or all `_other`."""
        if len(labels) != len(spec.labels):
            raise ValueError(f"{spec.name} has the labels {spec.labels}, not {labels}")
        family = self._families.get(spec.name)
        if family is None:
            family = self._families[spec.name] = _Family(spec)
        if labels in family.cells or labels in family.spreads:
            return family, labels
        other = (OTHER,) * len(labels)
        has_other = other in family.cells or other in family.spreads
        if len(family) - has_other >= self._max_series:
            if spec.name not in self._warned:
                self._warned.add(spec.name)
                log.warning("metric_series_bounded", metric=spec.name, max_series=self._max_series)
            labels = other
            if has_other:
                return family, labels
        family.add(labels)
        return family, labels
