"""The queries of the dashboards in the chart, as Prometheus gets them from Grafana once its variables are filled in."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

FOLDER = Path(__file__).parents[2] / "charts" / "stoker" / "dashboards"


class Query(Struct, frozen=True):
    """One query of one panel."""

    dashboard: str
    panel: str
    ref: str
    expr: str
    """As it stands in the file, with Grafana's variables."""
    legend: str

    @property
    def where(self) -> str:
        return f"{self.dashboard}: {self.panel} [{self.ref}]"

    def filled(self, *, rate: str, whole: str, namespace: str = ".*", function: str = ".*") -> str:
        """The query that Grafana would send."""
        text = self.expr.replace("$__rate_interval", rate).replace("$__range", whole)
        text = text.replace("$namespace", namespace).replace("$function", function)
        assert "$" not in text, f"an unknown variable in {self.where}: {text}"
        return text


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All of them, those in collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def queries() -> list[Query]:
    return [
        Query(name, panel["title"], target["refId"], target["expr"], target.get("legendFormat", ""))
        for name, dashboard in dashboards().items()
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]


def metrics_in(expr: str) -> set[str]:
    """Names of the metrics of a query, as they are exposed."""
    return set(re.findall(r"\bstoker_[a-z0-9_]+", expr))


ON_KUBERNETES_ONLY = (
    "stoker_agents_",
    "stoker_api_up",
    "stoker_cache_",
    "stoker_demand_readers",
    "stoker_device_memory_exceeded_total",
    "stoker_device_used_memory_bytes",
    "stoker_device_utilisation_ratio",
    "stoker_extender_",
    "stoker_function_node_writes_total",
    "stoker_function_pending_seconds_total",
    "stoker_grant",
    "stoker_kubelet_up",
    "stoker_lease_age_seconds",
    "stoker_operator_",
    "stoker_placement",
    "stoker_plan_duration_seconds",
    "stoker_replica_memory_exceeded_total",
    "stoker_replica_wake_seconds",
    "stoker_replicas_unfit",
    "stoker_token_reviews_total",
    "stoker_work_queue_",
)
"""Beginnings of the names of metrics that `stoker serve` does not have: it has no API server, kubelet or driver."""


def needs_kubernetes(expr: str) -> bool:
    """Whether a query has no answer from `stoker serve`."""
    return any(name.startswith(ON_KUBERNETES_ONLY) for name in metrics_in(expr))
