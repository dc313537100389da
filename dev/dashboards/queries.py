"""PromQL from the catalogue of metrics, so that a query cannot name a metric or a label that does not exist.

Every function here aggregates: a metric comes from each gateway, agent or operator, and a plain selector would show one
line per pod. What is summed is what pods share (requests, replicas); of what several pods know alike, `highest` takes
one. Metrics of functions are always narrowed to the namespaces and functions that were chosen.
"""

from collections.abc import Mapping

from stoker.metrics import Kind, MetricSpec

TARGET_LABELS = frozenset({"job", "instance", "pod", "node"})
"""Given by who scrapes: docs/reference/dashboards.md says how."""
RECENT = "$__rate_interval"
WHOLE = "$__range"
"""The time range of the dashboard."""

_SCOPE = {"namespace": '=~"$namespace"', "function": '=~"$function"'}

Where = Mapping[str, str]
"""Matchers by label, with their operator: `{"outcome": '!="served"'}`."""


class BadQuery(ValueError):  # noqa: N818  the name states the fact
    """The catalogue does not have what a query asks for."""


def rate(spec: MetricSpec, *by: str, where: Where | None = None, window: str = RECENT) -> str:
    """What a counter gains per second."""
    _check(spec, by, Kind.COUNTER)
    return f"sum{_by(by)}(rate({_select(spec, where)}[{window}]))"


def gain(spec: MetricSpec, *by: str, where: Where | None = None, window: str = WHOLE) -> str:
    """What a counter gained in a time."""
    _check(spec, by, Kind.COUNTER)
    return f"sum{_by(by)}(increase({_select(spec, where)}[{window}]))"


def total(spec: MetricSpec, *by: str, where: Where | None = None) -> str:
    """A gauge of which each pod has its own part."""
    _check(spec, by, Kind.GAUGE)
    return f"sum{_by(by)}({_select(spec, where)})"


def highest(spec: MetricSpec, *by: str, where: Where | None = None) -> str:
    """A gauge that several pods may show alike, or of which the worst matters."""
    _check(spec, by, Kind.GAUGE)
    return f"max{_by(by)}({_select(spec, where)})"


def lowest(spec: MetricSpec, *by: str, where: Where | None = None) -> str:
    """A gauge of which the least matters."""
    _check(spec, by, Kind.GAUGE)
    return f"min{_by(by)}({_select(spec, where)})"


def quantile(share: float, spec: MetricSpec, *by: str, where: Where | None = None, window: str = RECENT) -> str:
    """A quantile of a histogram over all pods."""
    _check(spec, by, Kind.HISTOGRAM)
    return f"histogram_quantile({share:g}, sum{_by(('le', *by))}(rate({_select(spec, where, '_bucket')}[{window}])))"


def observations(spec: MetricSpec, *by: str, where: Where | None = None, window: str = RECENT) -> str:
    """How many a histogram took in per second."""
    _check(spec, by, Kind.HISTOGRAM)
    return f"sum{_by(by)}(rate({_select(spec, where, '_count')}[{window}]))"


def buckets(spec: MetricSpec, where: Where | None = None) -> str:
    """A histogram over time, for a heatmap."""
    _check(spec, (), Kind.HISTOGRAM)
    return f"sum by (le) (increase({_select(spec, where, '_bucket')}[{RECENT}]))"


def most(count: int, query: str) -> str:
    """The `count` highest lines, so that a thousand functions are no thousand lines."""
    return f"topk({count}, {query})"


def least(count: int, query: str) -> str:
    """The `count` lowest lines."""
    return f"bottomk({count}, {query})"


def or_zero(query: str) -> str:
    """0 where nobody has such a series: agents show no replicas of a function that is at zero."""
    return f"{query} or vector(0)"


def process(family: str, *by: str, window: str = "") -> str:
    """A figure of the processes themselves (stoker_runtime.metrics, not the catalogue), by who scrapes them."""
    if unknown := set(by) - TARGET_LABELS:
        raise BadQuery(f"stoker_process_{family} has no labels {sorted(unknown)}")
    selected = f"stoker_process_{family}"
    return f"sum{_by(by)}(rate({selected}[{window}]))" if window else f"sum{_by(by)}({selected})"


def _select(spec: MetricSpec, where: Where | None, suffix: str = "") -> str:
    scope = _SCOPE if spec.labels[:2] == ("namespace", "function") else {}
    matchers = {**scope, **(where or {})}
    if unknown := matchers.keys() - set(spec.labels):
        raise BadQuery(f"{spec.name} has no labels {sorted(unknown)}")
    inside = ",".join(f"{label}{matcher}" for label, matcher in matchers.items())
    return f"{spec.name}{suffix}" + (f"{{{inside}}}" if inside else "")


def _check(spec: MetricSpec, by: tuple[str, ...], kind: Kind) -> None:
    if spec.kind is not kind:
        raise BadQuery(f"{spec.name} is a {spec.kind}, not a {kind}")
    if unknown := set(by) - set(spec.labels) - TARGET_LABELS:
        raise BadQuery(f"{spec.name} has no labels {sorted(unknown)}")


def _by(labels: tuple[str, ...]) -> str:
    return f" by ({', '.join(labels)}) " if labels else ""
