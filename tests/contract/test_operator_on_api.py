"""The operator on a real API server: from an applied function to its pods, status and end."""

from typing import Any

import pytest
from operator_in_cluster import (
    ACCOUNTS,
    FUNCTIONS,
    POLICIES_OF_NETWORK,
    QUOTAS,
    REVISIONS,
    SERVICES,
    OperatorInCluster,
    gpu,
    names,
    until,
)

from stoker_operator.revisions import A_FAILED, A_READY

pytest_plugins = ("api_server", "operator_server")
pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]


async def placed(world: OperatorInCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.status()).get("placements", [])
    return found


async def test_from_apply_to_a_replica_and_to_zero_again(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    gateway = await world.gateway()
    operator = await world.lead()
    key = await world.function(scaling={"keepAlive": {"ttl": "1s"}})
    await world.says("True", "ScaledToZero")
    status = await world.status()
    assert status["url"] == f"http://f.{world.team}.svc.cluster.local/"
    assert await world.condition("Active") == ("False", "ScaledToZero")
    service = await world.kube.get(SERVICES, "f", world.team)
    assert service["spec"]["type"] == "ExternalName"
    assert service["spec"]["externalName"] == f"stoker-gateway.{world.system}.svc.cluster.local"
    policy = await world.kube.get(POLICIES_OF_NETWORK, "f", world.team)
    assert policy["metadata"]["ownerReferences"][0]["controller"] is True

    gateway.wants(key)
    await until(world.pods)
    (pod,) = world.pods()
    replica = world.replica_of(pod)
    assert replica["function"] == key
    assert pod.metadata.name == f"f-{replica['revision']}-0"
    assert pod.spec["schedulerName"] == "stoker-scheduler"
    (revision,) = (await world.kube.list(REVISIONS, world.team)).items
    assert revision["metadata"]["name"] == f"f-{replica['revision']}"

    await world.says("True", "Ready")
    assert await world.condition("Active") == ("True", "Ready")
    assert await placed(world) == [{"node": "n1", "device": "T4-16GB/n1/GPU-0", "state": "warm"}]
    assert operator.leader is not None
    explained = operator.leader.explain(key)
    assert explained is not None
    assert [(each.pod, each.node, each.devices) for each in explained.replicas] == [
        (pod.metadata.name, "n1", ("GPU-0",))
    ]
    gateway.served(key)
    await until(lambda: not world.pods())
    name = pod.metadata.name
    assert world.journal == [f"drain {name}", f"drained {name}", f"deleting {name}"]
    await world.says("True", "ScaledToZero")


async def test_nothing_is_deleted_before_its_agent_says_that_nothing_is_in_flight(world: OperatorInCluster) -> None:
    agent = await world.node("n1", gpu())
    await world.gateway()
    await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    (pod,) = world.pods()
    agent.say(pod.metadata.uid, in_flight=1)
    agent.holds_drain.clear()
    await world.kube.delete(FUNCTIONS, "f", world.team)
    asked = f"drain {pod.metadata.name}"
    await until(lambda: world.journal.count(asked) >= 2)  # asked again, as long as something runs
    assert [each.metadata.deletion_timestamp for each in world.pods()] == [None]
    agent.holds_drain.set()
    await until(lambda: not world.pods())
    assert world.journal[-2:] == [f"drained {pod.metadata.name}", f"deleting {pod.metadata.name}"]


async def test_a_new_revision_takes_over_and_a_broken_one_is_given_up(world: OperatorInCluster) -> None:
    await world.node("n1", gpu(0), gpu(1))
    operator = await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    first = (await world.status())["revision"]["current"]
    generation = (await world.kube.get(FUNCTIONS, "f", world.team))["metadata"]["generation"]
    await world.function(scaling={"minReplicas": 1}, container={"image": "registry.example/f:2"})
    await until(lambda: current(world, is_not=first))
    status = await world.status()
    second = status["revision"]["current"]
    assert status["observedGeneration"] == generation + 1
    await until(lambda: [world.replica_of(pod)["revision"] for pod in world.pods()] == [second])
    old = f"f-{first}-0"
    assert world.journal == [f"drain {old}", f"drained {old}", f"deleting {old}"]
    assert names((await world.kube.list(REVISIONS, world.team)).items) == sorted([f"f-{first}", f"f-{second}"])

    world.warms = False
    await world.function(
        scaling={"minReplicas": 1},
        container={"image": "registry.example/f:3", "startupTimeout": "1s"},
        rollout={"progressDeadline": "60s"},
    )
    await world.says("True", "RolloutFailed", "Stalled")
    await until(lambda: [world.replica_of(pod)["revision"] for pod in world.pods()] == [second])
    assert (await world.condition())[0] == "True"
    marks = {
        item["metadata"]["name"]: item["metadata"].get("annotations", {})
        for item in (await world.kube.list(REVISIONS, world.team)).items
    }
    assert [name for name, each in marks.items() if A_FAILED in each] == [
        name for name in marks if name not in (f"f-{first}", f"f-{second}")
    ]
    ready = {name: int(each[A_READY]) for name, each in marks.items() if A_READY in each}
    assert max(ready, key=lambda name: ready[name]) == f"f-{second}"

    # Another leader knows it too, and does not try the broken one again.
    await world.stop(operator)
    await world.lead()
    await world.says("True", "RolloutFailed", "Stalled")
    assert [world.replica_of(pod)["revision"] for pod in world.pods()] == [second]
    world.warms = True
    await world.function(scaling={"minReplicas": 1}, container={"image": "registry.example/f:4"})
    await world.says("False", "Ready", "Stalled")
    await until(lambda: current(world, is_not=second))


async def current(world: OperatorInCluster, *, is_not: str) -> bool:
    revision = (await world.status()).get("revision", {})
    return revision.get("current") != is_not and "updating" not in revision


async def test_a_restart_in_the_middle_of_a_bad_update_returns_all_the_same(world: OperatorInCluster) -> None:
    await world.node("n1", gpu(0), gpu(1))
    operator = await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    first = (await world.status())["revision"]["current"]
    world.warms = False
    # The image that cannot be pulled does not count against startupTimeout, only against progressDeadline.
    await world.function(
        scaling={"minReplicas": 1}, container={"image": "registry.example/f:2"}, rollout={"progressDeadline": "4s"}
    )
    await until(lambda: len(world.pods()) == 2)
    await world.stop(operator)
    await world.lead()
    await world.says("True", "RolloutFailed", "Stalled")
    await until(lambda: [world.replica_of(pod)["revision"] for pod in world.pods()] == [first])


async def test_a_service_of_somebody_else_is_told_of_and_never_touched(world: OperatorInCluster) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "f"},
        "spec": {"type": "ExternalName", "externalName": "example.org"},
    }
    foreign = await world.kube.create(SERVICES, body, world.team)
    await world.node()
    await world.lead()
    await world.function()
    await world.says("True", "NameConflict", "Stalled")
    assert (await world.status())["url"] == f"http://stoker-gateway.{world.system}.svc.cluster.local/{world.team}/f/"
    assert await world.kube.get(SERVICES, "f", world.team) == foreign
    await world.kube.delete(SERVICES, "f", world.team)
    await world.function(timeout="30s")  # (it is looked for twice a minute, and at every change)
    await until(lambda: service_target(world))
    await world.says("False", "Ready", "Stalled")


async def service_target(world: OperatorInCluster) -> bool:
    found = names((await world.kube.list(SERVICES, world.team)).items)
    return found == ["f"]


async def test_what_somebody_edits_or_deletes_is_put_back(world: OperatorInCluster) -> None:
    await world.node()
    await world.lead()
    await world.function()
    await world.says("True", "ScaledToZero")
    good = await world.kube.get(SERVICES, "f", world.team)
    await world.kube.patch(SERVICES, "f", {"spec": {"externalName": "evil.example"}}, world.team)
    await until(lambda: spec_is(world, SERVICES, good["spec"]))
    rules = (await world.kube.get(POLICIES_OF_NETWORK, "f", world.team))["spec"]
    await world.kube.patch(POLICIES_OF_NETWORK, "f", {"spec": {"ingress": [{}]}}, world.team)
    await until(lambda: spec_is(world, POLICIES_OF_NETWORK, rules))
    await world.kube.patch(SERVICES, "f", {"metadata": {"labels": {"stoker.dev/function": None}}}, world.team)
    await until(lambda: labelled(world))
    await world.kube.delete(SERVICES, "f", world.team)
    await until(lambda: service_target(world))


async def spec_is(world: OperatorInCluster, resource: Any, spec: Any) -> bool:
    return bool((await world.kube.get(resource, "f", world.team))["spec"] == spec)


async def labelled(world: OperatorInCluster) -> bool:
    return "stoker.dev/function" in ((await world.kube.get(SERVICES, "f", world.team))["metadata"].get("labels") or {})


async def test_a_function_that_is_made_anew_gets_new_objects_and_no_old_replica(world: OperatorInCluster) -> None:
    await world.node("n1", gpu(0), gpu(1))
    await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    (old,) = world.pods()
    # The garbage collector does not run here: everything of the old one is still there.
    await world.kube.delete(FUNCTIONS, "f", world.team)
    await world.function(scaling={"minReplicas": 1})
    new = (await world.kube.get(FUNCTIONS, "f", world.team))["metadata"]["uid"]
    await until(lambda: [world.replica_of(pod)["functionUid"] for pod in world.pods()] == [new])
    await world.says("True", "Ready")
    for resource in (SERVICES, POLICIES_OF_NETWORK, REVISIONS):
        items = (await world.kube.list(resource, world.team)).items
        assert [item["metadata"]["ownerReferences"][0]["uid"] for item in items] == [new], resource.plural
    assert f"drained {old.metadata.name}" in world.journal


async def test_a_quota_that_is_used_up_is_the_reason(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    await world.apply(QUOTAS, "ResourceQuota", "q", world.team, spec={"hard": {"pods": "0"}})
    status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
    await world.kube.patch(QUOTAS, "q", status, world.team, subresource="status")
    await world.lead()
    await world.function(scaling={"minReplicas": 1})
    await world.says("False", "QuotaExceeded")
    assert "exceeded quota" in (await world.status())["conditions"][0]["message"]
    await world.kube.delete(QUOTAS, "q", world.team)
    await world.says("True", "Ready")


async def test_a_spec_that_cannot_be_served_is_told_and_the_last_good_one_serves(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    await world.lead()
    await world.function(container={"image": "x", "serviceAccountName": "robot"}, scaling={"minReplicas": 1})
    await world.says("False", "PodRefused")
    await world.says("True", "PodRefused", "Stalled")
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "robot", "labels": {"stoker.dev/function-account": "true"}},
    }
    await world.kube.create(ACCOUNTS, account, world.team)
    await world.says("True", "Ready")
    await world.says("False", "Ready", "Stalled")
