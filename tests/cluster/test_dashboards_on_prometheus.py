"""A real Prometheus that scrapes a cluster with the chart installed answers every query of the dashboards with data.

Takes the cluster of $KUBECONFIG. Stoker is in STOKER_E2E_NAMESPACE (stoker-system); the function that makes traffic is
of STOKER_E2E_ECHO_IMAGE, as `make images` builds it from images/echo-function.
"""

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from dashboard_queries import metrics_in, queries
from prometheus_under_test import Prometheus, need_prometheus, prometheus, scrape_cluster
from settings_of_tests import E2E_NAMESPACE, REQUIRE_CLUSTER

from cluster.binaries import binary
from stoker.wire.cluster import API_VERSION, L_NAME, NAME, PORT_INTERNAL

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SYSTEM = E2E_NAMESPACE
ECHO = os.environ.get("STOKER_E2E_ECHO_IMAGE", "localhost/stoker-echo-function:dev")
TENANT = f"dashboards-{uuid.uuid4().hex[:8]}"
UP_S, DATA_S = 60, 180

MAY_BE_EMPTY = {
    "stoker_replica_failures_total": "no replica failed",
    "stoker_operator_pods_refused_total": "the API server refused no pod",
    "stoker_placement_rejections_total": "every node that was offered fitted",
    "stoker_token_reviews_total": "nobody showed a token",
    "stoker_device_memory_exceeded_total": "nobody used more than was promised",
    "stoker_replica_memory_exceeded_total": "nobody used more than was promised",
    "stoker_grant_wait_seconds_bucket": "only pods with a shared device wait for a grant",
}
"""Metrics that a healthy cluster need not have, and why. A query without them has data."""

SCRAPE_POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "scraped-by-a-test", "namespace": SYSTEM},
    "spec": {
        "podSelector": {"matchLabels": {L_NAME: NAME}},
        "policyTypes": ["Ingress"],
        # The API server, which is no pod, fetches the metrics for this Prometheus.
        "ingress": [{"ports": [{"protocol": "TCP", "port": PORT_INTERNAL}]}],
    },
}
FUNCTION: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "kind": "GpuFunction",
    "metadata": {"name": "measured", "namespace": TENANT},
    "spec": {
        "container": {"image": ECHO, "readiness": {"path": "/health"}},
        "gpu": {"memory": "1Gi"},
        "slo": {"latency": "100ms"},
        "scaling": {"keepAlive": {"policy": "FixedTTL", "ttl": "5s"}},
    },
}
DIVERTED = {
    **FUNCTION,
    "metadata": {"name": "diverted", "namespace": TENANT},
    "spec": {**FUNCTION["spec"], "cpuVariant": {"resources": {"cpu": "20m", "memory": "64Mi"}}},
}
POLICY = {"prices": [{"product": "A100", "perHour": 4}, {"product": "cpu", "perHour": 1}], "deviceChoice": "cpu-only"}
"""Without prices nothing costs anything, and under `cpu-only` what could run on a GPU goes to CPUs."""


class Kubectl:
    """Acts on one cluster as its administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    async def run(self, *arguments: str, content: Any = None, check: bool = True) -> str:
        process = await asyncio.create_subprocess_exec(
            str(binary("kubectl")),
            f"--kubeconfig={self.kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(None if content is None else json.dumps(content).encode())
        assert not check or process.returncode == 0, f"kubectl {arguments}: {err.decode()}"
        return out.decode()

    async def set_policy(self, spec: dict[str, Any]) -> None:
        """Merge into the spec of the GpuPolicy."""
        await self.run("patch", "gpupolicy", "default", "--type=merge", f"--patch={json.dumps({'spec': spec})}")

    async def call(self, path: str) -> None:
        """A request to a function by way of the gateways' Service; any answer will do."""
        service = f"/api/v1/namespaces/{SYSTEM}/services/http:stoker-gateway:http/proxy"
        await self.run("get", "--raw", f"{service}{path}", check=False)


@pytest.fixture
async def kubectl() -> AsyncIterator[Kubectl]:
    need_prometheus()
    path = os.environ.get("KUBECONFIG", "")
    if not path and not REQUIRE_CLUSTER:
        pytest.skip("needs a cluster with Stoker's chart installed: set KUBECONFIG")
    assert path, "STOKER_REQUIRE_CLUSTER=1 needs KUBECONFIG"
    tool = Kubectl(Path(path))
    tenant = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TENANT}}
    try:
        for document in (tenant, SCRAPE_POLICY, FUNCTION, DIVERTED):
            await tool.run("apply", "-f", "-", content=document)
        await tool.set_policy(POLICY)
        yield tool
    finally:
        await tool.set_policy(dict.fromkeys(POLICY))
        await tool.run("delete", "namespace", TENANT, "--wait=false", check=False)
        await tool.run("delete", "networkpolicy", "-n", SYSTEM, "scraped-by-a-test", check=False)


async def test_every_query_of_the_dashboards_is_answered_with_data(kubectl: Kubectl, tmp_path: Path) -> None:
    pods = json.loads(await kubectl.run("get", "pods", "-n", SYSTEM, "-l", f"{L_NAME}={NAME}", "-o", "json"))["items"]
    running = [pod for pod in pods if pod["status"]["phase"] == "Running"]
    asked = [(query, query.filled(rate="2m", whole="5m")) for query in queries()]
    empty = {query.where: expr for query, expr in asked if not metrics_in(expr) & MAY_BE_EMPTY.keys()}
    assert len(empty) > 80
    async with prometheus(tmp_path, scrape_cluster(kubectl.kubeconfig, SYSTEM, tmp_path), interval_s=2) as scraper:
        await scraper.until_up(len({pod["metadata"]["name"] for pod in running if _shows_metrics(pod)}), UP_S)

        async def look() -> None:
            await asyncio.sleep(4)  # two scrapes
            for where, expr in list(empty.items()):
                if await scraper.query(expr):
                    del empty[where]

        async def without_data() -> str:
            # From zero, on time, late, and a function that does not exist; then it goes to zero.
            for path in ("/", "/?sleep_ms=1", "/?sleep_ms=300"):
                await kubectl.call(f"/{TENANT}/measured{path}")
            await kubectl.call(f"/{TENANT}/diverted/")
            await kubectl.call(f"/{TENANT}/unknown/")
            await look()
            await asyncio.sleep(4)
            await look()
            # What a counter has when it is first seen is no gain: the second round of calls is.
            attained = await _value(scraper, "Attainment", "A")
            return "; ".join(empty) or ("" if 0 < attained < 1 else f"the attainment is {attained}")

        await scraper.until(without_data, DATA_S)
        await _check_the_fleet(scraper)


async def _check_the_fleet(scraper: Prometheus) -> None:
    """What is shown is true of a healthy cluster."""
    assert await _value(scraper, "Leader", "A") == 1
    assert await _value(scraper, "GPUs now", "A") >= 1
    nodes = {sample["metric"].get("node", "") for sample in await _ask(scraper, "Nodes", "A")}
    assert "" not in nodes
    lags = await _ask(scraper, "Watch lag", "A")
    assert {sample["metric"]["component"] for sample in lags} == {"operator", "scheduler", "node", "gateway"}


async def _ask(scraper: Prometheus, panel: str, ref: str) -> list[dict[str, Any]]:
    (query,) = (query for query in queries() if (query.panel, query.ref) == (panel, ref))
    return await scraper.query(query.filled(rate="2m", whole="5m"))


async def _value(scraper: Prometheus, panel: str, ref: str) -> float:
    (sample,) = await _ask(scraper, panel, ref)
    return float(sample["value"][1])


def _shows_metrics(pod: dict[str, Any]) -> bool:
    ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", ())]
    return any(port["containerPort"] == PORT_INTERNAL for port in ports)
