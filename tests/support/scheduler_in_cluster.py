"""The extender beside a real kube-scheduler and API server. Nodes, pods and what agents say are the test's."""

import asyncio
import contextlib
import datetime as dt
import json
import socket
import uuid
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from api_server import make_namespace
from gateway_in_cluster import install_kinds
from operator_in_cluster import FUNCTIONS, LEDGERS, NODES, PODS, until

from cluster.api_only import ApiServer
from stoker.model.device import DeviceKind
from stoker.model.function import GpuOption, Variant
from stoker.wire.agent import LOAD_PATH, LoadFrame, VariantLoad
from stoker.wire.cluster import (
    A_REPLICA,
    API_VERSION,
    COMPONENT_NODE,
    L_COMPONENT,
    L_NAME,
    L_ROLE,
    MAIN_CONTAINER,
    NAME,
    ROLE_REPLICA,
    SCHEDULER_NAME,
    PodReplica,
)
from stoker.wire.function_node import AgentStatus, DeviceStatus, FunctionNodeStatus, ImageStatus, encode_status
from stoker_operator.authority import CertificateAuthority
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import NotFound
from stoker_runtime.settings import ProcessSettings
from stoker_runtime.snapshot_feed import SnapshotFeed
from stoker_scheduler.main import Platform, SchedulerSettings

MANAGER = "tests"


class ScriptedLoad:
    """An agent's data port: its load stream and nothing else."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.functions: dict[str, dict[Variant, VariantLoad]] = {}
        self._feed = SnapshotFeed(self._frame, 0.01, 0.5)
        self._runner: web.AppRunner | None = None

    async def start(self, context: Any) -> None:
        app = web.Application()
        app.router.add_get(LOAD_PATH, self._feed.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, self.port, ssl_context=context, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            self._feed.close()
            await self._runner.cleanup()

    def _frame(self, seq: int) -> bytes:
        return msgspec.json.encode(LoadFrame(seq=seq, full=True, functions=self.functions))


class SchedulerInCluster:
    """`await prepare()`, `await node(...)`, `await start()`, `schedule(...)`; `await close()`."""

    def __init__(self, kube: KubeClient, server: ApiServer, folder: Path) -> None:
        self.kube = kube
        self.server = server
        self.folder = folder
        self.system = f"stoker-{uuid.uuid4().hex[:8]}"
        self.team = f"team-{uuid.uuid4().hex[:8]}"
        self.extender_port = _free_port()
        self.agent_port = _free_port()
        self.agents: list[ScriptedLoad] = []
        self.platform: Platform | None = None
        self._identity: Identity | None = None

    async def prepare(self) -> None:
        await install_kinds(self.kube)
        for namespace in (self.system, self.team):
            await make_namespace(self.kube, namespace)
        await CertificateAuthority(self.kube, self.system, lambda: dt.datetime.now(dt.UTC)).ensure()

    async def close(self) -> None:
        self.server.kill_scheduler()
        await self.stop()
        for agent in self.agents:
            await agent.stop()
        if self._identity is not None:
            await self._identity.stop()
        for resource in (FUNCTIONS, LEDGERS, NODES, PODS):
            items = (await self.kube.list(resource)).items
            await asyncio.gather(*(self._delete(resource, item["metadata"]) for item in items))

    async def start(self) -> Platform:
        """The extender."""
        settings = SchedulerSettings(extender_port=self.extender_port, internal_port=0, agent_port=self.agent_port)
        place = ClusterSettings(namespace=self.system)
        self.platform = Platform(self.kube, settings, ProcessSettings(), place)
        assert await self.platform.start()
        return self.platform

    async def stop(self) -> None:
        """As by kill -9, for kube-scheduler: the port is closed."""
        platform, self.platform = self.platform, None
        if platform is not None:
            await platform.stop()

    def schedule(self, *, ignorable: bool = False) -> None:
        """Start kube-scheduler, configured as the chart does."""
        config = self.folder / f"scheduler-{uuid.uuid4().hex[:6]}.json"
        extender = {
            "urlPrefix": f"http://127.0.0.1:{self.extender_port}",
            "filterVerb": "filter",
            "prioritizeVerb": "prioritize",
            "weight": 10,
            "nodeCacheCapable": True,
            "httpTimeout": "5s",
            "ignorable": ignorable,
        }
        document = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(self.server.scheduler_kubeconfig), "qps": 500, "burst": 500},
            "leaderElection": {"leaderElect": False},
            "percentageOfNodesToScore": 100,
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 1,
            "profiles": [{"schedulerName": SCHEDULER_NAME}],
            "extenders": [extender],
        }
        config.write_text(json.dumps(document))
        self.server.start_scheduler(config)

    async def node(self, name: str, *, memory_mib: int = 16_384, images: tuple[str, ...] = (), gpus: int = 1) -> None:
        """A node with GPUs that is ready, and its ledger."""
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        await self.kube.create(NODES, body)
        # One that is made is tainted as not ready, until a controller that does not run here sees it ready.
        await self.kube.patch(NODES, name, {"spec": {"taints": None}})
        amount = {"cpu": "16", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "x", "message": "x"}
        status = {"capacity": amount, "allocatable": amount, "conditions": [ready]}
        await self.kube.patch(NODES, name, {"status": status}, subresource="status")
        await self.ledger(name, memory_mib=memory_mib, images=images, gpus=gpus)

    async def ledger(self, name: str, *, memory_mib: int, images: tuple[str, ...] = (), gpus: int = 1) -> None:
        """What the agent of the node writes."""
        metadata = {"name": name}
        body = {"apiVersion": API_VERSION, "kind": "FunctionNode", "metadata": metadata, "spec": {}}
        await self.kube.apply(LEDGERS, name, body, manager=MANAGER, force=True)
        devices = tuple(
            DeviceStatus(id=f"GPU-{index}", kind=DeviceKind.GPU, product="T4-16GB", memory_mib=memory_mib, healthy=True)
            for index in range(gpus)
        )
        said = FunctionNodeStatus(
            agent=AgentStatus(pod="x", address="127.0.0.1"),
            devices=devices,
            images=tuple(ImageStatus(reference=image) for image in images),
        )
        body = encode_status(name, said)
        await self.kube.apply(LEDGERS, name, body, manager=MANAGER, force=True, subresource="status")

    async def agent(self, node: str, address: str) -> ScriptedLoad:
        """An agent that speaks, before or after the extender begins."""
        if self._identity is None:
            self._identity = Identity(self.kube, self.system, COMPONENT_NODE)
            await self._identity.load()
        agent = ScriptedLoad(address, self.agent_port)
        await agent.start(self._identity.server_context({"scheduler"}))
        self.agents.append(agent)
        name = f"agent-{node}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {L_NAME: NAME, L_COMPONENT: COMPONENT_NODE}},
            "spec": {"nodeName": node, "containers": [{"name": "x", "image": "x"}]},
        }
        await self.kube.create(PODS, body, self.system)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await self.kube.patch(PODS, name, {"status": status}, self.system, subresource="status")
        return agent

    def speaks(self, *nodes: str) -> None:
        """Agents of these nodes speak, without a stream."""
        assert self.platform is not None
        for node in nodes:
            self.platform.loads.heard(node, LoadFrame(seq=1, full=True))
            self.platform.ledger.load_changed(node)

    async def pod(self, name: str, *, memory_mib: int = 4096, image: str = "f:1", ordinal: int = 0) -> None:
        """A replica's pod as the operator makes it."""
        replica = PodReplica(
            id=f"{self.team}/f-0123456789-{ordinal}",
            function=f"{self.team}/f",
            function_uid="fu",
            variant=Variant.GPU,
            revision="0123456789",
            ordinal=ordinal,
            options=(GpuOption(memory_mib=memory_mib),),
        )
        owner = {"apiVersion": API_VERSION, "kind": "GpuFunction", "name": "f", "uid": "fu", "controller": True}
        amount = {"cpu": "10m", "nvidia.com/gpu": "1"}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {L_ROLE: ROLE_REPLICA},
                "annotations": {A_REPLICA: msgspec.json.encode(replica).decode()},
                "ownerReferences": [owner],
            },
            "spec": {
                "schedulerName": SCHEDULER_NAME,
                "containers": [
                    {"name": MAIN_CONTAINER, "image": image, "resources": {"requests": amount, "limits": amount}}
                ],
            },
        }
        await self.kube.create(PODS, body, self.team)

    async def place(self, name: str) -> str:
        """The node of a pod; empty while it has none."""
        found = await self.kube.get(PODS, name, self.team)
        return str(found["spec"].get("nodeName", ""))

    async def placed(self, name: str, timeout_s: float = 20.0) -> str:
        return str(await until(lambda: self.place(name), timeout_s))

    async def refusal(self, name: str) -> str:
        """Why the scheduler has found no node, as it stands in the pod."""
        found = await self.kube.get(PODS, name, self.team)
        for each in found["status"].get("conditions") or ():
            if each["type"] == "PodScheduled" and each["status"] == "False":
                return str(each.get("message", ""))
        return ""

    async def _delete(self, resource: Any, meta: dict[str, Any]) -> None:
        with contextlib.suppress(NotFound):
            await self.kube.delete(resource, meta["name"], meta.get("namespace", ""), grace_s=0)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
