"""Every query of the dashboards means something to the real Prometheus: it parses, sums what pods share, finds data."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from dashboard_queries import dashboards, panels, queries
from prometheus_under_test import Prometheus, need_prometheus, prometheus, scrape_addresses

from cluster.binaries import binary
from stoker.metrics import CATALOGUE, Kind, MetricSpec
from stoker_runtime.metrics import CONTENT_TYPE, PrometheusSink

pytestmark = [pytest.mark.contract, pytest.mark.timeout(90)]

VALUES = {
    "namespace": ("team", "other"),
    "function": ("ocr",),
    "variant": ("gpu", "cpu"),
    "state": ("starting", "warm", "draining"),
    "outcome": ("served", "refused"),
    "device": ("GPU-1", "GPU-2"),
    "product": ("A100-40GB",),
    "verdict": ("Promised", "PredictedMiss"),
    "covered": ("true", "false"),
}
"""Those that queries look for; other labels have one value."""


def labels_of(spec: MetricSpec) -> Iterator[tuple[str, ...]]:
    return product(*(VALUES.get(label, (f"some-{label}",)) for label in spec.labels))


class Pods:
    """Two processes that show every metric of the catalogue, as two replicas of everything would."""

    def __init__(self) -> None:
        self.sinks = [PrometheusSink(), PrometheusSink()]
        self.runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/{number}/metrics", self._metrics)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = int(self.runner.addresses[0][1])

    async def stop(self) -> None:
        assert self.runner is not None
        await self.runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        sink = self.sinks[int(request.match_info["number"])]
        for spec in CATALOGUE:
            for labels in labels_of(spec):
                if spec.kind is Kind.COUNTER:
                    sink.inc(spec, *labels, amount=3)
                elif spec.kind is Kind.GAUGE:
                    sink.set(spec, 1, *labels)
                else:
                    sink.observe(spec, 0.3, *labels)
        return web.Response(body=sink.text(), headers={"Content-Type": CONTENT_TYPE})


@pytest.fixture(scope="module")
def built() -> None:
    need_prometheus()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scraped(built: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    pods = Pods()
    await pods.start()
    scrape: list[dict[str, Any]] = []
    for number in range(2):
        (one,) = scrape_addresses(f"127.0.0.1:{pods.port}", job=f"pod-{number}")
        one["metrics_path"] = f"/{number}/metrics"
        one["static_configs"][0]["labels"] = {"pod": f"pod-{number}", "node": "node-a"}
        scrape.append(one)
    async with prometheus(tmp_path_factory.mktemp("prometheus"), scrape, interval_s=0.5) as under_test:
        await under_test.until_up(2)
        yield under_test
    await pods.stop()


def test_promtool_finds_no_fault_in_any_query(built: None, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.filled(rate="1m", whole="1h")}
        for number, query in enumerate(queries())
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(
        [binary("promtool"), "check", "rules", "--lint=all", "--lint-fatal", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.asyncio(loop_scope="module")
async def test_every_query_finds_data_where_every_metric_has_some(scraped: Prometheus) -> None:
    asked = [(query, query.filled(rate="30s", whole="1m")) for query in queries()]

    async def without_data() -> str:
        return "; ".join([query.where for query, expr in asked if not await scraped.query(expr)])

    await scraped.until(without_data, 30)
    for query, expr in asked:
        for sample in await scraped.query(expr):
            assert sample["value"][1] != "NaN", query.where


@pytest.mark.asyncio(loop_scope="module")
async def test_no_query_shows_pods_one_by_one_that_does_not_say_so(scraped: Prometheus) -> None:
    for query in queries():
        expr = query.filled(rate="30s", whole="1m")
        assert unsummed(await scraped.parse(expr), inside=False) == [], query.where
        if "stoker_process_" not in expr:
            assert "pod" not in json.dumps([sample["metric"] for sample in await scraped.query(expr)]), query.where


@pytest.mark.asyncio(loop_scope="module")
async def test_what_several_pods_know_alike_counts_once_and_what_they_share_is_summed(scraped: Prometheus) -> None:
    async def value(panel: str, ref: str) -> float:
        (query,) = (query for query in queries() if (query.panel, query.ref) == (panel, ref))
        (sample,) = await scraped.query(query.filled(rate="30s", whole="1m"))
        return float(sample["value"][1])

    async def unsettled() -> str:
        return "" if await scraped.query("rate(stoker_requests_total[30s])") else "no rate yet"

    await scraped.until(unsettled, 30)
    assert await value("GPUs now", "A") == 2
    assert await value("GPUs", "B") == 2
    assert await value("Requests now", "A") == 4  # two namespaces on each of two pods
    assert await value("Attainment", "A") == pytest.approx(1, abs=0.2)


@pytest.mark.asyncio(loop_scope="module")
async def test_the_variables_of_dashboards_find_their_values(scraped: Prometheus) -> None:
    for dashboard in dashboards().values():
        asked = {variable["name"]: variable["query"] for variable in dashboard["templating"]["list"]}
        assert asked["datasource"] == "prometheus"
        assert asked["namespace"]["query"] == "label_values(stoker_requests_total, namespace)"
        assert await scraped.label_values("namespace", "stoker_requests_total") == ["other", "team"]
        wanted = 'label_values(stoker_requests_total{namespace=~"$namespace"}, function)'
        assert asked["function"]["query"] == wanted
        assert await scraped.label_values("function", 'stoker_requests_total{namespace=~"team"}') == ["ocr"]


def test_heatmaps_get_buckets() -> None:
    heatmaps = [
        panel for dashboard in dashboards().values() for panel in panels(dashboard) if panel["type"] == "heatmap"
    ]
    assert heatmaps
    for panel in heatmaps:
        (target,) = panel["targets"]
        assert target["format"] == "heatmap"
        assert "_bucket" in target["expr"]
        assert "by (le)" in target["expr"]


def unsummed(tree: Any, *, inside: bool) -> list[str]:
    """Selectors of a syntax tree that no aggregation is around."""
    if isinstance(tree, list):
        return [name for part in tree for name in unsummed(part, inside=inside)]
    if not isinstance(tree, dict):
        return []
    kind = tree.get("type")
    if kind in ("vectorSelector", "matrixSelector"):
        return [] if inside else [tree["name"]]
    # topk and bottomk choose among lines and add nothing up.
    adds_up = kind == "aggregation" and tree["op"] not in ("topk", "bottomk")
    return [name for part in tree.values() for name in unsummed(part, inside=inside or adds_up)]
