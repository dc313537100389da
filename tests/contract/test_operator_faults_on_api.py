"""The operator on a real API server while things around it come, go, fail and change their minds."""

import asyncio
import datetime as dt

import pytest
from operator_in_cluster import (
    FUNCTIONS,
    INGRESSES,
    LEDGERS,
    NODES,
    PODS,
    POLICIES,
    Meta,
    OperatorInCluster,
    gpu,
    names,
    until,
)

from stoker.model.function import Variant
from stoker.wire.cluster import COMPONENT_NODE, ROLE_PREFETCH
from stoker_operator import leader, pod_warnings

pytest_plugins = ("api_server", "operator_server")
pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]


async def test_a_replica_on_a_node_that_is_lost_is_replaced(world: OperatorInCluster) -> None:
    agent = await world.node("n1", gpu())
    await world.lead(node_lost_s=2)
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    (old,) = world.pods()
    await world.node("n2", gpu())
    await agent.stop()
    await world.node_ready("n1", ready=False)
    await until(lambda: [pod.spec.get("nodeName") for pod in world.pods()] == ["n2"])
    await world.says("True", "Ready")
    # Nobody could have answered a drain.
    assert world.journal == [f"deleting {old.metadata.name}"]


async def test_an_agent_that_is_only_away_loses_no_replica(world: OperatorInCluster) -> None:
    agent = await world.node("n1", gpu())
    operator = await world.lead(node_lost_s=1)
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    assert operator.leader is not None
    board = operator.leader.ears.agents
    await agent.stop()
    await until(lambda: not board.is_speaking("n1"))
    await asyncio.sleep(1.5)
    assert len(world.pods()) == 1
    assert world.journal == []
    await agent.start()
    await until(lambda: board.is_speaking("n1"))
    assert (await world.condition())[0] == "True"


async def test_a_pod_on_an_unfit_device_blocks_it_until_another_one_serves(world: OperatorInCluster) -> None:
    agent = await world.node("n1", gpu(0, memory_mib=4096), gpu(1, memory_mib=16384))
    await world.lead()

    def adversely(node: str, pod: Meta) -> str:
        return "GPU-0" if "GPU-0" not in agent.held() else "GPU-1"

    world.choose_device = adversely
    world.warms = False
    await world.function(gpu={"memory": "8Gi"}, scaling={"minReplicas": 1})
    await until(agent.uids)
    (unfit,) = agent.uids()
    agent.say(unfit, unfit="GPU-0 has 4096 MiB of the 8192 that it asked for")
    world.warms = True
    await until(lambda: len(world.pods()) == 2)
    await world.says("True", "Ready")
    await until(lambda: len(world.pods()) == 1)
    assert world.pods()[0].metadata.uid != unfit
    assert [each["device"] for each in (await world.status())["placements"]] == ["T4-16GB/n1/GPU-1"]


async def test_a_pod_that_ends_by_itself_is_counted_removed_and_made_again(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    operator = await world.lead()
    key = await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    (first,) = world.pods()
    await world.ends(first, exit_code=3, message="out of luck")
    await until(lambda: [pod.metadata.uid for pod in world.pods()] not in ([first.metadata.uid], []))
    await world.says("True", "Ready")
    assert operator.leader is not None
    explained = operator.leader.explain(key)
    assert explained is not None
    (failure,) = explained.failures
    assert (failure.reason, failure.detail) == (
        "ReplicaFailed",
        "its container ended with exit code 3: out of luck",
    )


async def test_the_policy_is_made_acts_live_and_is_made_again(world: OperatorInCluster) -> None:
    await world.node("n1", gpu(0), gpu(1))
    await world.lead()
    assert names((await world.kube.list(POLICIES)).items) == ["default"]
    await world.function(scaling={"minReplicas": 2})
    await until(lambda: len(world.pods()) == 2)
    bound = {"namespaces": [{"name": world.team, "maxGpus": 1}]}
    await world.apply(POLICIES, "GpuPolicy", "default", spec=bound)
    await world.function("g", scaling={"minReplicas": 1})
    await world.says("False", "QuotaExceeded", name="g")
    await world.kube.delete(POLICIES, "default")
    await until(lambda: has_policy(world))


async def has_policy(world: OperatorInCluster) -> bool:
    return names((await world.kube.list(POLICIES)).items) == ["default"]


async def test_agents_and_gateways_come_and_go(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    operator = await world.lead()
    assert operator.leader is not None
    demand = operator.leader.ears.demand.demand
    await until(lambda: ledgers(world, "n1"))
    await world.node("n2", gpu())
    await until(lambda: ledgers(world, "n1", "n2"))
    gateway = await world.gateway("gw1")
    key = await world.function(scaling={"keepAlive": {"ttl": "0s"}})
    other = await world.gateway("gw2")
    gateway.wants(key, 1)
    other.wants(key, 2)
    await until(lambda: key in demand())
    await until(lambda: demand()[key][Variant.GPU].held == 3)
    await world.says("True", "Ready")
    await world.drop_peer("gw2")
    await until(lambda: demand()[key][Variant.GPU].held == 1)
    gateway.served(key)
    await until(lambda: not world.pods())


async def test_a_node_that_is_registered_anew_gets_its_function_node_again(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    await world.lead()
    await until(lambda: ledgers(world, "n1"))
    old = (await world.kube.get(LEDGERS, "n1"))["metadata"]["uid"]
    await world.kube.delete(NODES, "n1")
    await world.kube.delete(LEDGERS, "n1")  # as the garbage collector does, which does not run here
    await asyncio.sleep(0.5)
    await world.apply(NODES, "Node", "n1")
    await until(lambda: ledgers(world, "n1"))
    assert (await world.kube.get(LEDGERS, "n1"))["metadata"]["uid"] != old
    await world.node_ready("n1", ready=True)
    await world.ledger("n1", gpu())
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")


async def ledgers(world: OperatorInCluster, *nodes: str) -> bool:
    return names((await world.kube.list(LEDGERS)).items) == sorted(nodes)


async def test_an_agent_that_is_upgraded_takes_over_without_a_silence(world: OperatorInCluster) -> None:
    old = await world.node("n1", gpu())
    operator = await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    (pod,) = world.pods()
    assert operator.leader is not None
    board = operator.leader.ears.agents
    await world.drop_peer("agent-n1")
    new = await world.agent("n1", "agent-n1-new")
    new.take(pod.metadata.name, pod.metadata.uid, world.replica_of(pod)["id"], "GPU-0")
    new.warm(pod.metadata.uid)
    await until(lambda: board.is_speaking("n1"))
    await old.stop()
    await asyncio.sleep(0.3)
    assert board.is_speaking("n1")
    assert [each.metadata.uid for each in world.pods()] == [pod.metadata.uid]


async def test_what_a_gateway_holds_counts_while_it_ends(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    gateway = await world.gateway("gw1", "n1")
    operator = await world.lead()
    assert operator.leader is not None
    demand = operator.leader.ears.demand.demand
    key = await world.function(scaling={"keepAlive": {"ttl": "0s"}})
    world.binds = False
    gateway.wants(key, 2)
    await until(lambda: key in demand())
    await world.end_peer("gw1")
    await asyncio.sleep(0.5)
    gateway.wants(key, 1)
    await until(lambda: demand()[key][Variant.GPU].held == 1)
    world.binds = True
    await world.says("True", "Ready")
    await world.drop_peer("gw1")
    await until(lambda: demand()[key][Variant.GPU].held == 0)


async def test_an_agent_that_drains_is_heard_and_asked_until_it_is_gone(world: OperatorInCluster) -> None:
    old = await world.node("n1", gpu())
    gateway = await world.gateway()
    operator = await world.lead()
    assert operator.leader is not None
    board = operator.leader.ears.agents
    key = await world.function(scaling={"keepAlive": {"ttl": "0s"}})
    gateway.wants(key)
    await world.says("True", "Ready")
    # The one after it waits for the lock of the node: it neither speaks nor answers.
    await world.peer("agent-n1-new", COMPONENT_NODE, "127.0.0.1", "n1")
    await world.end_peer("agent-n1")
    await asyncio.sleep(0.5)
    gateway.served(key)
    await until(lambda: not world.pods())
    assert [word.split()[0] for word in world.journal] == ["drain", "drained", "deleting"]
    assert (board.is_speaking("n1"), board.speaker("n1")) == (True, "agent-n1")
    await old.stop()
    await until(lambda: not board.is_speaking("n1"))


async def test_a_volume_that_cannot_be_mounted_is_the_reason(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_warnings, "AFTER_US", 100_000)
    monkeypatch.setattr(pod_warnings, "AGAIN_US", 100_000)
    world.creates = False
    await world.node("n1", gpu())
    await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await until(lambda: [pod.spec.get("nodeName") for pod in world.pods()] == ["n1"])
    (pod,) = world.pods()
    await world.warns(pod, "FailedMount", 'MountVolume.SetUp failed for volume "v" : configmap "c" not found')
    await world.says("False", "ConfigMissing")
    world.creates = True
    await world.says("True", "Ready")


async def test_images_are_kept_on_nodes_for_those_who_ask(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "LOOK_S", 0.2)
    await world.node("n1", gpu())
    await world.node("n2", gpu())
    await world.lead()
    await world.function(scaling={"preWarm": {"policy": "Cron", "windows": [window()]}})
    await world.function("cold")
    await until(lambda: len(world.pods(role=ROLE_PREFETCH)) == 1)
    (kept,) = world.pods(role=ROLE_PREFETCH)
    assert [volume["image"]["reference"] for volume in kept.spec["volumes"]] == ["registry.example/f:1"]
    # Evicted: made anew.
    await world.say(kept, phase="Failed")
    await until(lambda: [p.metadata.uid for p in world.pods(role=ROLE_PREFETCH)] not in ([], [kept.metadata.uid]))
    assert world.pods("cold", ROLE_PREFETCH) == []
    await world.function()
    await until(lambda: not world.pods(role=ROLE_PREFETCH))


def window() -> dict[str, object]:
    # In half a year: the image is wanted, a replica is not.
    month = (dt.datetime.now(dt.UTC).month + 5) % 12 + 1
    return {"cron": f"0 0 1 {month} *", "duration": "1h", "replicas": 1}


async def test_own_hostnames_lead_to_the_gateways_and_the_next_one_gets_a_free_one(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    await world.lead(hostname_kind="Ingress", ingress_class="nginx")
    spec = {"namespaces": [{"name": world.team, "hostnameSuffixes": ["example.com"]}]}
    await world.apply(POLICIES, "GpuPolicy", "default", spec=spec)
    public = {"visibility": "Public", "hostnames": ["ocr.example.com"]}
    await world.function(access=public)
    await world.says("True", "ScaledToZero")
    await asyncio.sleep(1.1)  # creation is told to the second
    await world.function("late", access=public)
    await until(lambda: hosts(world))
    await world.says("True", "NameConflict", "Stalled", "late")
    assert (await world.condition("Stalled"))[0] == "False"
    await world.kube.delete(FUNCTIONS, "f", world.team)
    await world.says("False", "Ready", "Stalled", "late")
    await world.kube.delete(FUNCTIONS, "late", world.team)
    await until(lambda: no_ingress(world))


async def test_own_hostnames_that_somebody_takes_away_come_back(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leader, "AUDIT_S", 0.3)
    await world.node("n1", gpu())
    await world.lead(hostname_kind="Ingress")
    spec = {"namespaces": [{"name": world.team, "hostnameSuffixes": ["example.com"]}]}
    await world.apply(POLICIES, "GpuPolicy", "default", spec=spec)
    await world.function(access={"visibility": "Public", "hostnames": ["ocr.example.com"]})
    await until(lambda: hosts(world))
    await world.kube.delete(INGRESSES, "stoker-hostnames", world.system)
    await until(lambda: hosts(world))
    evil = {"spec": {"rules": [{"host": "evil.example.com"}]}}
    await world.kube.patch(INGRESSES, "stoker-hostnames", evil, world.system)
    await until(lambda: hosts(world))
    before = await world.kube.get(INGRESSES, "stoker-hostnames", world.system)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}
    await world.kube.patch(INGRESSES, "stoker-hostnames", status, world.system, subresource="status")
    await asyncio.sleep(1)
    after = await world.kube.get(INGRESSES, "stoker-hostnames", world.system)
    assert (after["spec"], after["metadata"]["uid"]) == (before["spec"], before["metadata"]["uid"])


async def hosts(world: OperatorInCluster) -> bool:
    items = (await world.kube.list(INGRESSES, world.system)).items
    return [rule["host"] for item in items for rule in item["spec"]["rules"]] == ["ocr.example.com"]


async def no_ingress(world: OperatorInCluster) -> bool:
    return not (await world.kube.list(INGRESSES, world.system)).items


async def test_a_pod_that_was_refused_is_poked_when_its_agent_says_that_it_fits_now(world: OperatorInCluster) -> None:
    world.binds = False
    await world.node("n1", gpu())
    await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await until(world.pods)
    (pod,) = world.pods()
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1: it is hot"}
    await world.say(pod, conditions=[refused])
    await world.says("False", "WaitingForNode")
    await until(lambda: poked(world, pod))
    await asyncio.sleep(6)
    before = await poked(world, pod)
    await world.ledger("n1", gpu(0), gpu(1))
    await until(lambda: is_poked_again(world, pod, before))


async def poked(world: OperatorInCluster, pod: Meta) -> str:
    found = await world.kube.get(PODS, pod.metadata.name, world.team)
    return str((found["metadata"].get("annotations") or {}).get("stoker.dev/poked", ""))


async def is_poked_again(world: OperatorInCluster, pod: Meta, before: str) -> bool:
    return await poked(world, pod) != before
