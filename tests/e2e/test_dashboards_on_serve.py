"""A real Prometheus that scrapes `stoker serve` answers every query of the dashboards that is not about Kubernetes."""

import asyncio
from pathlib import Path

import pytest
from dashboard_queries import ON_KUBERNETES_ONLY, metrics_in, needs_kubernetes, queries
from platform_under_test import Platform, function
from prometheus_under_test import Prometheus, need_prometheus, prometheus, scrape_addresses

POLICY = {
    "apiVersion": "stoker.dev/v1alpha1",
    "kind": "GpuPolicy",
    "metadata": {"name": "default"},
    "spec": {
        "prices": [{"product": "A100-40GB", "perHour": 4}, {"product": "cpu", "perHour": 1}],
        "deviceChoice": "cpu-only",
    },
}
"""Without prices nothing costs anything, and under `cpu-only` what could run on a GPU goes to CPUs."""

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


async def test_every_query_of_the_dashboards_is_answered_with_data(platform: Platform, tmp_path: Path) -> None:
    need_prometheus()
    asked = [(query, query.filled(rate="1m", whole="1m")) for query in queries() if not needs_kubernetes(query.expr)]
    assert len(asked) > 40
    platform.apply(function("ocr", env={"START_S": "0.2"}, slo={"latency": "300ms"}))
    platform.apply(function("nap", scaling={"keepAlive": {"policy": "FixedTTL", "ttl": "1s"}}))
    platform.apply(function("eyes", cpuVariant={"resources": {"cpu": "20m"}}))
    platform.apply(POLICY)
    await platform.start(gpus="3xA100-40GB")
    scrape = scrape_addresses(f"127.0.0.1:{platform.internal}")
    async with prometheus(tmp_path, scrape, interval_s=0.5) as scraper:
        await scraper.until_up(1)

        async def share(scraper: Prometheus) -> float:
            attained = next(expr for query, expr in asked if (query.panel, query.ref) == ("Attainment", "A"))
            (sample,) = await scraper.query(attained)
            return float(sample["value"][1])

        async def without_data() -> str:
            # Cold, on time, late, unknown function, failed: what an afternoon of real traffic brings.
            for path in ("/", "/sleep?ms=400", "/crash"):
                await platform.call("ocr", path)
            await platform.call("nap")
            await platform.call("eyes")
            await asyncio.sleep(1.5)
            empty = [query.where for query, expr in asked if not await scraper.query(expr)]
            # What a counter has when it is first seen is no gain: the second round of calls is.
            return "; ".join(empty) or ("" if 0 < await share(scraper) < 1 else "the attainment is not between 0 and 1")

        await scraper.until(without_data, 45)
        for query, expr in asked:
            for sample in await scraper.query(expr):
                assert float(sample["value"][1]) >= 0 or sample["value"][1] == "NaN", query.where
        shown = {name for query in queries() if needs_kubernetes(query.expr) for name in metrics_in(query.expr)}
        text = (await platform.fetch("/metrics", port=platform.internal)).text
        there = sorted(name for name in shown if name.startswith(ON_KUBERNETES_ONLY) and f"\n{name}" in text)
        assert there == [], "these are no longer of Kubernetes alone"
