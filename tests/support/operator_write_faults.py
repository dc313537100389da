"""One life of a function, over and over, with a fault at each of its writes in turn: the leader dies there, or never
hears the answer. What is left in the cluster must be the same each time.
"""

import asyncio
from typing import Any

import pytest
from operator_in_cluster import (
    FUNCTIONS,
    PODS,
    POLICIES_OF_NETWORK,
    REVISIONS,
    SERVICES,
    OperatorInCluster,
    gpu,
    until,
)

from stoker_operator import function_sync, leader_client, main, pod_births
from stoker_operator.revisions import A_FAILED, A_READY
from stoker_runtime.kube.errors import Unreachable
from stoker_runtime.kube.transport import Call


class WriteFaults:
    """Stands in the way of the leader's writes: the n-th is the last of its process, or its answer is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0
        self.dies = True
        self.writes = 0
        self.what: list[str] = []
        faults = self
        once = leader_client._Guarded.once

        async def faulty(transport: Any, call: Call) -> bytes:
            if call.method == "GET" or "/leases/" in call.path:
                return await once(transport, call)
            faults.writes += 1
            faults.what.append(call.what)
            if faults.at and faults.writes > faults.at and faults.dies:
                raise Unreachable("this process is dead", unsent=True)
            answer = await once(transport, call)
            if faults.at and faults.writes == faults.at and not faults.dies:
                raise Unreachable("the answer was lost")
            return answer

        monkeypatch.setattr(leader_client._Guarded, "once", faulty)

    def arm(self, at: int, *, dies: bool) -> None:
        self.at, self.dies, self.writes, self.what = at, dies, 0, []

    @property
    def struck(self) -> bool:
        return bool(self.at) and self.writes >= self.at + (1 if self.dies else 0)


async def life(world: OperatorInCluster, name: str) -> None:
    """Made, warm, changed, warm again, and the old one gone."""
    await world.function(name, scaling={"minReplicas": 1}, container={"image": "f:1"})
    await world.says("True", "Ready", name=name)
    await world.function(name, scaling={"minReplicas": 1}, container={"image": "f:2"})
    await until(lambda: settled(world, name))


async def settled(world: OperatorInCluster, name: str) -> bool:
    status = await world.status(name)
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", ())}
    return (
        status.get("observedGeneration") == 2
        and conditions.get("Reconciling") == ("False", "Ready")
        and len(world.pods(name)) == 1
        and [each["state"] for each in status["placements"]] == ["warm"]
        and len(ready_marks(await world.kube.list(REVISIONS, world.team), name)) == 2
    )


def ready_marks(page: Any, name: str) -> list[str]:
    return sorted(
        f"{item['metadata']['annotations'].get(A_READY)} {item['metadata']['annotations'].get(A_FAILED)}"
        for item in page.items
        if item["metadata"]["labels"]["stoker.dev/function"] == name
        and A_READY in (item["metadata"].get("annotations") or {})
    )


async def picture(world: OperatorInCluster, name: str) -> dict[str, Any]:
    """All that is left of the life of a function, without what differs between two."""
    status = await world.status(name)
    found: dict[str, Any] = {
        "conditions": sorted((c["type"], c["status"], c["reason"]) for c in status["conditions"]),
        "revision": status["revision"],
        "replicas": status["replicas"],
        "marks": ready_marks(await world.kube.list(REVISIONS, world.team), name),
    }
    for resource in (PODS, SERVICES, POLICIES_OF_NETWORK, REVISIONS):
        items = (await world.kube.list(resource, world.team)).items
        found[resource.plural] = sorted(
            item["metadata"]["name"].replace(name, "NAME")
            for item in items
            if item["metadata"]["labels"]["stoker.dev/function"] == name
        )
    return found


async def clear(world: OperatorInCluster, name: str) -> None:
    await world.kube.delete(FUNCTIONS, name, world.team)
    await until(lambda: not world.pods(name))


async def try_every_write(world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch, *, dies: bool) -> list[str]:
    """The writes at which the fault stood."""
    monkeypatch.setattr(main, "LOOK_S", 0.05)
    monkeypatch.setattr(pod_births, "LOST_ANSWER_S", 0.2)
    monkeypatch.setattr(function_sync, "STATUS_INTERVAL_US", 300_000)
    monkeypatch.setattr(function_sync, "STATUS_FLIP_US", 100_000)
    await world.node("n1", gpu(0), gpu(1), gpu(2))
    faults = WriteFaults(monkeypatch)
    operator = await world.lead()
    await life(world, "f")
    expected = await picture(world, "f")
    assert len(expected["pods"]) == 1
    assert len(expected["controllerrevisions"]) == 2
    tried = []
    for at in range(1, 60):
        await clear(world, "f")
        faults.arm(at, dies=dies)
        running = asyncio.create_task(life(world, "f"))
        await asyncio.wait([running, asyncio.create_task(strike(faults))], return_when=asyncio.FIRST_COMPLETED)
        if not faults.struck:
            await running
            break
        tried.append(faults.what[at - 1])
        if dies:
            await world.stop(operator)
            faults.arm(0, dies=dies)
            operator = await world.lead()
        await running
        assert await picture(world, "f") == expected, f"after write {at}: {tried[-1]}"
    return tried


async def strike(faults: WriteFaults) -> None:
    while not faults.struck:
        await asyncio.sleep(0.01)
