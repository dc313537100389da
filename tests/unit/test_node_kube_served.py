"""The whole agent of a node on Kubernetes, its parts wired: what it tells and when, and what it forgets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from served_under_test import Served

from stoker.model.function import Variant
from stoker.policies.queueing.interface import Weights
from stoker_node.kubernetes import kubelet_watch, served_node

pytestmark = pytest.mark.unit


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    yield made
    await made.node.stop(0)


async def test_nothing_is_written_of_the_devices_before_the_kubelet_has_said_what_it_gives_away(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_node, "_KUBELET_S", 0.01)
    monkeypatch.setattr(kubelet_watch, "ALLOCATABLE_S", 0.02)
    offered, served.kubelet.offered = served.kubelet.offered, None
    await served.start()
    await asyncio.sleep(0.05)
    assert served.api.statuses == []
    served.kubelet.offered = offered
    await served.until(lambda: served.api.statuses)
    assert all(device["healthy"] for device in served.api.statuses[0]["devices"])


async def test_an_agent_that_ends_tells_that_it_drains(served: Served) -> None:
    await served.start()
    await served.until(lambda: served.api.statuses)
    assert served.api.ready() == ("True", "Ready")
    await served.node.stop(0)
    assert served.api.ready() == ("False", "Draining")


async def test_that_it_drains_is_told_while_it_finishes_what_it_accepted(served: Served) -> None:
    await served.start()
    await served.until(lambda: served.api.statuses)
    busy = asyncio.Event()
    served.node.agent._dispatcher.wait_idle = busy.wait  # type: ignore[assignment]
    stopping = asyncio.ensure_future(served.node.stop(5))
    await served.until(lambda: served.api.ready() == ("False", "Draining"))
    assert not stopping.done()
    busy.set()
    await stopping


async def test_a_function_that_is_deleted_is_forgotten_with_its_last_pod(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_node, "_TICK_S", 0.01)
    monkeypatch.setattr(kubelet_watch, "ALLOCATABLE_S", 0.01)
    for name in ("f", "g"):
        served.apply(name)
    await served.start()
    pods = {name: served.pod(name) for name in ("f", "g")}
    for pod in pods.values():
        served.put(pod)
    await served.until(lambda: served.node.pods.served == {"ns/f", "ns/g"})
    served.node.agent.prediction().observe_exec("ns/f", Variant.CPU, "cpu", 1000)
    served.delete("f")
    await served.until(lambda: "ns/f" not in served.node.functions.uids)
    await asyncio.sleep(0.05)
    assert served.series_of("f") > 0  # its pod is still here
    served.remove(pods["f"])
    await served.until(lambda: served.node.pods.served == {"ns/g"})
    assert (served.series_of("f"), served.series_of("g") > 0) == (0, True)
    assert served.node.agent.prediction().profiles() == {}


async def test_a_function_that_was_made_anew_is_not_forgotten(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_node, "_TICK_S", 0.01)
    served.apply("f")
    await served.start()
    pod = served.pod("f")
    served.put(pod)
    await served.until(lambda: served.node.pods.served)
    served.remove(pod)
    served.delete("f")
    served.apply("f")
    await asyncio.sleep(0.05)
    assert served.node.pods.served == {"ns/f"}
    assert served.series_of("f") > 0


async def test_namespaces_weigh_what_the_policy_says_under_every_queueing_policy(served: Served) -> None:
    weights = [{"name": "ns", "weight": 3}, {"name": "other", "weight": 2}]
    served.policy(queueing="mqfq", namespaces=weights)
    served.apply("f")
    await served.start()
    dispatcher = served.node.agent._dispatcher
    assert (dispatcher.policy.name, dispatcher._weights) == ("mqfq", Weights({"ns/f": 1}, {"ns": 3}))
    served.apply("g", "other")
    await served.until(lambda: dispatcher._weights.namespaces == {"ns": 3, "other": 2})
    served.policy(queueing="fcfs", namespaces=[{"name": "*", "weight": 4}, *weights[:1]])
    await served.until(lambda: dispatcher._weights.namespaces == {"ns": 3, "other": 4})
    assert dispatcher.policy.name == "fcfs"
