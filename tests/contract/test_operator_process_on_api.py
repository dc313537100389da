"""Operators as processes on a real API server: one leads, another takes over, and at rest nobody writes."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_in_cluster import CRD
from operator_in_cluster import (
    FUNCTIONS,
    LEASES,
    LEDGERS,
    NODES,
    PODS,
    POLICIES,
    POLICIES_OF_NETWORK,
    REVISIONS,
    SECRETS,
    SERVICES,
    OperatorInCluster,
    gpu,
    until,
)

from cluster.api_only import ApiServer
from stoker_operator import function_sync, leader_client
from stoker_operator.kinds import Dynamic
from stoker_runtime.kube.transport import Call

pytest_plugins = ("api_server", "operator_server")
pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]


class Process:
    """`python -m stoker_operator.main`; what it logs is in `said`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, world: OperatorInCluster, server: ApiServer, **settings: Any) -> "Process":
        environ = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
        environ |= world.environ(log_format="json", **settings) | {"STOKER_KUBECONFIG": str(server.kubeconfig)}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stoker_operator.main",
            env=environ,
            cwd=Path(__file__).parents[2],
            stderr=asyncio.subprocess.PIPE,
        )
        return cls(process)

    @property
    def leads(self) -> bool:
        return any('"leading"' in line for line in self.said)

    async def ended(self) -> int:
        code = await self.process.wait()
        await self._reader
        return code

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.ended()

    async def _read(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.said.append(line.decode())


async def test_of_two_processes_one_leads_and_the_other_takes_over_when_it_is_killed(
    world: OperatorInCluster, own_server: ApiServer
) -> None:
    await world.node("n1", *(gpu(index) for index in range(4)))
    processes = [await Process.begin(world, own_server, pod_name=f"o{index}", lease_duration_s=3) for index in range(2)]
    try:
        await until(lambda: any(process.leads for process in processes))
        first, second = sorted(processes, key=lambda process: not process.leads)
        for index in range(3):
            await world.function(f"f{index}", scaling={"minReplicas": 1})
        await world.says("True", "Ready", name="f0")
        await first.kill()
        assert not second.leads
        await world.function("f3", scaling={"minReplicas": 1})
        await until(lambda: second.leads)
        for index in range(4):
            await world.says("True", "Ready", name=f"f{index}")
            assert len(world.pods(f"f{index}")) == 1
        assert world.journal == []
        lease = await world.kube.get(LEASES, "stoker-operator", world.system)
        assert lease["spec"]["holderIdentity"].startswith(("o0_", "o1_"))
        # SIGTERM: the Lease is given back, and it was no failure.
        second.process.send_signal(signal.SIGTERM)
        assert await second.ended() == 0, second.said[-3:]
        lease = await world.kube.get(LEASES, "stoker-operator", world.system)
        assert not lease["spec"].get("holderIdentity")
    finally:
        for process in processes:
            await process.kill()


async def test_a_leader_that_lost_the_lease_writes_nothing_more_and_ends(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    operator = await world.lead(lease_duration_s=3)
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    lease = await world.kube.get(LEASES, "stoker-operator", world.system)
    await world.kube.patch(LEASES, "stoker-operator", {"spec": {"holderIdentity": "somebody"}}, world.system)
    await until(operator.elector.lost.is_set)
    before = await versions(world)
    assert operator.leader is not None
    await world.function("g", scaling={"minReplicas": 1})
    operator.leader.store.put(read(await world.kube.get(FUNCTIONS, "g", world.team)))
    await asyncio.sleep(0.5)
    after = await versions(world)
    assert {name for name in after.keys() | before.keys() if after.get(name) != before.get(name)} == {
        f"gpufunctions {world.team}/g"
    }
    task = next(task for made, task in world.operators if made is operator)
    await asyncio.wait([task], timeout=5)
    assert "does not lead any more" in str(task.exception())
    assert lease["spec"]["holderIdentity"] != "somebody"


def read(document: dict[str, Any]) -> Any:
    return msgspec.convert(document, Dynamic, strict=False)


async def test_without_its_kinds_it_ends_with_one_sentence(world: OperatorInCluster, own_server: ApiServer) -> None:
    await world.kube.delete(CRD, "gpufunctions.stoker.dev")
    try:
        process = await Process.begin(world, own_server)
        assert await process.ended() == 1
        assert process.said[-1].startswith(
            "stoker: The API server knows no gpufunctions of stoker.dev/v1alpha1: install"
        )
        assert not [line for line in process.said if "lease_acquired" in line]
    finally:
        await world.kinds()


async def test_a_setting_that_does_not_exist_is_named(world: OperatorInCluster, own_server: ApiServer) -> None:
    process = await Process.begin(world, own_server, wait_imag="x")
    assert await process.ended() == 1
    assert "STOKER_WAIT_IMAG" in process.said[0]
    assert "STOKER_WAIT_IMAGE" in process.said[0]


async def test_a_leader_explains_and_a_stand_by_says_who_does(world: OperatorInCluster) -> None:
    await world.node("n1", gpu())
    leader = await world.lead()
    other = await world.start(pod_name="operator-2")
    await world.function(scaling={"minReplicas": 1})
    await world.says("True", "Ready")
    status, found = await ask(leader.internal.port, f"/v1/explain/{world.team}/f")
    assert status == 200
    assert found["status"]["revision"]
    assert [(each["state"], each["node"]) for each in found["replicas"]] == [("warm", "n1")]
    assert (await ask(leader.internal.port, f"/v1/explain/{world.team}/nobody"))[0] == 404
    await until(lambda: other.elector.holder)
    status, found = await ask(other.internal.port, f"/v1/explain/{world.team}/f")
    assert found["leader"].startswith("operator-0_")
    assert (await ask(leader.internal.port, "/readyz"))[0] == 200
    assert (await ask(other.internal.port, "/readyz"))[0] == 200


async def ask(port: int, path: str) -> tuple[int, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else body.decode()


async def test_at_rest_nothing_is_written_but_the_lease(
    world: OperatorInCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[str] = []
    once = leader_client._Guarded.once

    async def counted(transport: Any, call: Call) -> bytes:
        if call.method != "GET":
            writes.append(call.what)
        return await once(transport, call)

    monkeypatch.setattr(leader_client._Guarded, "once", counted)
    monkeypatch.setattr(function_sync, "STATUS_INTERVAL_US", 1_000_000)
    await world.node("n1", gpu(0), gpu(1))
    gateway = await world.gateway()
    await world.lead()
    for index in range(6):
        await world.function(f"f{index}", scaling={"minReplicas": int(index < 2), "keepAlive": {"ttl": "10m"}})
    gateway.wants(f"{world.team}/f5", 0)
    for index in range(2):
        await world.says("True", "Ready", name=f"f{index}")
    for index in range(2, 5):
        await world.says("True", "ScaledToZero", name=f"f{index}")
    await asyncio.sleep(2)  # what is not urgent is written after a while
    before = await versions(world)
    writes.clear()
    await asyncio.sleep(15)
    assert writes == []
    assert await versions(world) == before


async def versions(world: OperatorInCluster) -> dict[str, str]:
    found = {}
    for resource in (FUNCTIONS, NODES, POLICIES_OF_NETWORK, REVISIONS, SECRETS, SERVICES, PODS, LEDGERS, POLICIES):
        for item in (await world.kube.list(resource)).items:
            meta = item["metadata"]
            found[f"{resource.plural} {meta.get('namespace')}/{meta['name']}"] = meta["resourceVersion"]
    return found
