"""The dashboards in the chart: what can be known of them without Prometheus and without Grafana."""

import re

import pytest
from dashboard_queries import dashboards, metrics_in, panels, queries

from stoker.metrics import CATALOGUE, Kind, MetricSpec

pytestmark = pytest.mark.unit

TARGET_LABELS = {"job", "instance", "pod", "node"}
PROCESS = {"stoker_process_cpu_seconds_total", "stoker_process_resident_memory_bytes"}
"""Of prometheus_client's ProcessCollector."""


def exposed(spec: MetricSpec) -> set[str]:
    suffixes = ("_bucket", "_count", "_sum") if spec.kind is Kind.HISTOGRAM else ("",)
    return {spec.name + suffix for suffix in suffixes}


BY_NAME = {name: spec for spec in CATALOGUE for name in exposed(spec)}


def test_every_panel_has_its_own_id_a_title_of_its_own_and_says_what_it_shows() -> None:
    for name, dashboard in dashboards().items():
        ids = [panel["id"] for panel in panels(dashboard)]
        titles = [panel["title"] for panel in panels(dashboard)]
        assert len(set(ids)) == len(ids), name
        assert all(ids), name
        assert len(set(titles)) == len(titles), name
        for panel in panels(dashboard):
            if panel["type"] != "row":
                assert panel["description"], panel["title"]
                assert panel["targets"], panel["title"]
                assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]


def test_dashboards_have_fixed_addresses_and_let_one_choose_what_to_look_at() -> None:
    uids = [dashboard["uid"] for dashboard in dashboards().values()]
    assert uids == ["stoker-fleet"]
    for dashboard in dashboards().values():
        assert [variable["name"] for variable in dashboard["templating"]["list"]] == [
            "datasource",
            "namespace",
            "function",
        ]
        assert dashboard["tags"] == ["stoker"]
        assert "id" not in dashboard


def test_no_panel_lies_on_another() -> None:
    for dashboard in dashboards().values():
        taken: dict[tuple[int, int], str] = {}
        for panel in panels(dashboard):
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    assert (x, y) not in taken, (panel["title"], taken.get((x, y)))
                    taken[x, y] = panel["title"]


def test_graphs_have_units() -> None:
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            if panel["type"] in ("timeseries", "stat"):
                assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_queries_name_metrics_of_the_catalogue_only() -> None:
    for query in queries():
        assert metrics_in(query.expr), query.where
        assert metrics_in(query.expr) <= BY_NAME.keys() | PROCESS, query.where


def test_queries_use_labels_that_their_metrics_have() -> None:
    for query in queries():
        names = metrics_in(query.expr)
        known = TARGET_LABELS | {"le"} | {label for name in names - PROCESS for label in BY_NAME[name].labels}
        for selected, inside in re.findall(r"(stoker_[a-z0-9_]+)\{([^}]*)\}", query.expr):
            labels = re.findall(r"([a-z_]+)(?:=~|!~|!=|=)", inside)
            assert set(labels) <= set(BY_NAME[selected].labels), query.where
        for inside in re.findall(r"\bby \(([^)]*)\)", query.expr):
            assert set(re.split(r", ?", inside)) <= known, query.where
        assert set(re.findall(r"\{\{([a-z_]+)\}\}", query.legend)) <= known, query.where


def test_metrics_of_functions_follow_what_was_chosen() -> None:
    for query in queries():
        for name in metrics_in(query.expr) - PROCESS:
            if BY_NAME[name].labels[:2] == ("namespace", "function"):
                chosen = 'namespace=~"$namespace",function=~"$function"'
                assert query.expr.count(f"{name}{{{chosen}") == len(re.findall(rf"\b{name}\b", query.expr)), query.where


def test_each_line_of_a_panel_has_a_name_of_its_own() -> None:
    for dashboard in dashboards().values():
        for panel in panels(dashboard):
            if panel["type"] == "timeseries":
                names = [target["legendFormat"] for target in panel["targets"]]
                assert all(names), panel["title"]
                assert len(set(names)) == len(names), panel["title"]


def test_everything_that_is_measured_is_shown_somewhere_or_is_known_not_to_be() -> None:
    shown = {BY_NAME[name].name for query in queries() for name in metrics_in(query.expr) - PROCESS}
    # Of `stoker serve`: it says so in its log, and there is no file store on Kubernetes.
    # FLEET_REPLICAS knows no function, so that it cannot follow what was chosen: for alerts.
    assert {spec.name for spec in CATALOGUE} - shown == {"stoker_objects_rejected_total", "stoker_operator_replicas"}
