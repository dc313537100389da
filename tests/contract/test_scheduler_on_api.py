"""The extender with a real kube-scheduler: where pods go, why they do not, and what is when the extender is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from operator_in_cluster import LEDGERS, PODS, until
from scheduler_in_cluster import SchedulerInCluster
from settings_of_tests import REQUIRE_CLUSTER

from cluster import binaries
from cluster.api_only import ApiServer
from stoker.model.function import Variant
from stoker.wire.agent import VariantLoad
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig

pytest_plugins = ("api_server", "operator_server")
pytestmark = [
    pytest.mark.contract,
    pytest.mark.timeout(90),
    pytest.mark.skipif(
        not REQUIRE_CLUSTER and not binaries.available(["kube-scheduler"]),
        reason="needs kube-scheduler, which is not built: `make cluster` builds it",
    ),
]


@pytest_asyncio.fixture
async def s(own_server: ApiServer, tmp_path: Path) -> AsyncIterator[SchedulerInCluster]:
    """Prepared: no node, no extender, no kube-scheduler."""
    async with KubeClient(load_kubeconfig(own_server.kubeconfig), user_agent="stoker-tests") as kube:
        made = SchedulerInCluster(kube, own_server, tmp_path)
        await made.prepare()
        yield made
        await made.close()


async def test_pods_land_where_they_serve_soonest_and_it_can_be_explained(s: SchedulerInCluster) -> None:
    await s.node("cold")
    await s.node("cached", images=("f:1",))
    await s.node("small", memory_mib=2048, images=("f:1",))
    addresses = {"cold": "127.55.0.1", "cached": "127.55.0.2", "small": "127.55.0.3"}
    for node, address in addresses.items():
        await s.agent(node, address)
    platform = await s.start()
    s.schedule()
    await s.pod("first")
    assert await s.placed("first", 40) == "cached"
    explained = platform.explanations.get(f"{s.team}/first")
    assert explained is not None
    assert [each.node for each in explained.scores] == ["cached", "cold"]
    assert [(each.node, each.reason) for each in explained.rejected] == [("small", "NoFittingDevice")]
    # Beside a warm replica what it reads at its start is in memory; but the only GPU there is taken.
    await s.pod("second", ordinal=1)
    assert await s.placed("second") == "cold"


async def test_a_node_with_a_warm_replica_is_the_best_one(s: SchedulerInCluster) -> None:
    for index, node in enumerate(("a", "b", "c")):
        await s.node(node, gpus=2)
        agent = await s.agent(node, f"127.55.1.{index + 1}")
        if node == "b":
            agent.functions = {f"{s.team}/f": {Variant.GPU: VariantLoad(warm=1, start_ms=4000.0, start_samples=3)}}
    await s.start()
    s.schedule()
    await s.pod("p")
    assert await s.placed("p", 40) == "b"


async def test_why_no_node_will_do_stands_in_the_pod_until_one_does(s: SchedulerInCluster) -> None:
    await s.node("small", memory_mib=2048)
    await s.node("away")
    await s.node("unknown")
    await s.start()
    s.speaks("small", "unknown")
    await s.kube.delete(LEDGERS, "unknown")
    s.schedule()
    await s.pod("p")
    said = await until(lambda: s.refusal("p"), 40)
    assert "NoFittingDevice: 1 x 4096 MiB, alone on its device is wanted and it has T4-16GB with 2048 MiB" in said
    assert "NodeLost: its agent does not speak" in said
    assert "Stoker knows no agent there" in said
    s.speaks("away")
    # kube-scheduler hears nothing of that: the operator pokes the pod.
    await s.kube.patch(PODS, "p", {"metadata": {"annotations": {"stoker.dev/poked": "1"}}}, s.team)
    assert await s.placed("p") == "away"


async def test_without_its_extender_a_pod_waits_and_is_placed_when_it_is_back(s: SchedulerInCluster) -> None:
    await s.node("n")
    s.schedule(ignorable=False)
    await s.pod("p")
    await asyncio.sleep(3)
    assert await s.place("p") == ""
    await s.start()
    s.speaks("n")
    assert await s.placed("p", 40) == "n"


async def test_an_extender_that_may_be_away_is_gone_without(s: SchedulerInCluster) -> None:
    await s.node("n")
    await s.start()
    await s.stop()
    s.schedule(ignorable=True)
    await s.pod("p")
    assert await s.placed("p", 40) == "n"


async def test_a_burst_is_spread_over_free_gpus_and_nothing_is_promised_twice(s: SchedulerInCluster) -> None:
    nodes = [f"n{index:03}" for index in range(100)]
    for start in range(0, len(nodes), 20):
        await asyncio.gather(*(s.node(node) for node in nodes[start : start + 20]))
    await s.start()
    s.speaks(*nodes)
    s.schedule()
    await s.pod("warm-up", ordinal=99)
    await s.placed("warm-up", 40)
    await asyncio.gather(*(s.pod(f"p{index}", ordinal=index) for index in range(40)))
    places = await asyncio.gather(*(s.placed(f"p{index}", 30) for index in range(40)))
    assert len(set(places)) == 40
