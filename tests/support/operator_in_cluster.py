"""An operator against a real API server. What it talks to is scripted: agents and gateways are real mTLS servers,
and one loop plays the scheduler and the kubelets: it binds pods, starts them and lets them end.
"""

import asyncio
import contextlib
import datetime as dt
import itertools
import os
import socket
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

import msgspec
from api_server import make_namespace
from gateway_in_cluster import install_kinds
from operator_peers import ScriptedAgent, ScriptedGateway

from stoker.model.device import DeviceKind
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import (
    A_REPLICA,
    COMPONENT_NODE,
    L_COMPONENT,
    L_NAME,
    L_ROLE,
    NAME,
    ROLE_PREFETCH,
    ROLE_REPLICA,
)
from stoker.wire.cluster import COMPONENT_GATEWAY as GATEWAY
from stoker.wire.function_node import AgentStatus, DeviceStatus, FunctionNodeStatus, encode_status
from stoker_operator.authority import CertificateAuthority
from stoker_operator.config import OperatorSettings
from stoker_operator.main import Operator
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig, KubeSettings
from stoker_runtime.kube.errors import AlreadyExists, Conflict, NotFound
from stoker_runtime.kube.objects import ObjectMeta, Resource
from stoker_runtime.kube.watch import Cache
from stoker_runtime.process import Environment

MANAGER = "tests"
T = TypeVar("T")


def _resource(group: str, version: str, plural: str, *, namespaced: bool = True) -> Resource[Any]:
    return Resource(group, version, plural, namespaced, dict[str, Any])


PODS = _resource("", "v1", "pods")
NODES = _resource("", "v1", "nodes", namespaced=False)
SERVICES = _resource("", "v1", "services")
SECRETS = _resource("", "v1", "secrets")
EVENTS = _resource("", "v1", "events")
ACCOUNTS = _resource("", "v1", "serviceaccounts")
QUOTAS = _resource("", "v1", "resourcequotas")
POLICIES_OF_NETWORK = _resource("networking.k8s.io", "v1", "networkpolicies")
INGRESSES = _resource("networking.k8s.io", "v1", "ingresses")
REVISIONS = _resource("apps", "v1", "controllerrevisions")
FUNCTIONS = _resource("stoker.dev", "v1alpha1", "gpufunctions")
POLICIES = _resource("stoker.dev", "v1alpha1", "gpupolicies", namespaced=False)
LEDGERS = _resource("stoker.dev", "v1alpha1", "functionnodes", namespaced=False)
LEASES = _resource("coordination.k8s.io", "v1", "leases")


class Meta(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}


WATCHED: Resource[Meta] = Resource("", "v1", "pods", True, Meta)


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Until a condition, plain or awaited, is true; its value."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


def gpu(number: int = 0, *, memory_mib: int = 16_384) -> DeviceStatus:
    return DeviceStatus(id=f"GPU-{number}", kind=DeviceKind.GPU, product="T4-16GB", memory_mib=memory_mib, healthy=True)


class OperatorInCluster:
    """`kube` acts as administrator. `await prepare()`, `await node(...)`, `await start()`; `await close()`."""

    def __init__(self, kube: KubeClient, config: KubeConfig) -> None:
        self.kube = kube
        self.config = config
        self.system = f"stoker-{uuid.uuid4().hex[:8]}"
        self.team = f"team-{uuid.uuid4().hex[:8]}"
        self.journal: list[str] = []
        """What happened to replicas, in order: `drain NAME`, `drained NAME`, `deleting NAME`."""
        self.agents: dict[str, ScriptedAgent] = {}
        self.gateways: dict[str, ScriptedGateway] = {}
        self.devices: dict[str, tuple[DeviceStatus, ...]] = {}
        self.binds = True
        """Whether the scheduler places pods."""
        self.warms = True
        """Whether what starts becomes warm."""
        self.creates = True
        """Whether the kubelets get on with the pods that they have."""
        self.choose_device: Callable[[str, Meta], str] | None = None
        self.operators: list[tuple[Operator, asyncio.Task[None]]] = []
        self._identities: dict[str, Identity] = {}
        self._clients: list[KubeClient] = []
        self._pods: Cache[Meta] = Cache(kube, WATCHED, label_selector=f"{L_ROLE} in ({ROLE_REPLICA},{ROLE_PREFETCH})")
        self._acted: dict[str, set[str]] = {}
        self._play: asyncio.Task[None] | None = None
        self._addresses = (f"127.{os.getpid() % 200 + 20}.{i // 250}.{i % 250 + 2}" for i in itertools.count())
        self.port = _free_port()

    async def __aenter__(self) -> Self:
        await self.prepare()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def prepare(self) -> None:
        """Kinds, namespaces, certificates, the played scheduler and kubelets."""
        await install_kinds(self.kube)
        for namespace in (self.system, self.team):
            await make_namespace(self.kube, namespace)
        await CertificateAuthority(self.kube, self.system, lambda: dt.datetime.now(dt.UTC)).ensure()
        self._pods.start()
        await self._pods.synced.wait()
        self._play = asyncio.create_task(self._play_forever())

    async def kinds(self) -> None:
        """Stoker's CRDs, served."""
        await install_kinds(self.kube)

    async def close(self) -> None:
        for operator, task in self.operators:
            await _end(operator, task)
        if self._play is not None:
            self._play.cancel()
            await asyncio.wait([self._play])
        for peer in (*self.agents.values(), *self.gateways.values()):
            await peer.stop()
        for identity in self._identities.values():
            await identity.stop()
        await self._pods.stop()
        await self.wipe()
        for client in self._clients:
            await client.close()

    async def wipe(self) -> None:
        """Remove what later tests on the same server would meet. No garbage collector runs there."""
        for resource in (FUNCTIONS, POLICIES, LEDGERS, NODES, PODS, SERVICES, POLICIES_OF_NETWORK, REVISIONS):
            page = await self.kube.list(resource)
            for item in page.items:
                meta = item["metadata"]
                namespace = meta.get("namespace", "")
                if namespace in ("default", "kube-system"):
                    continue
                with contextlib.suppress(NotFound):
                    await self.kube.delete(resource, meta["name"], namespace, grace_s=0)

    # The operator.

    async def start(self, kube: KubeClient | None = None, **settings: Any) -> Operator:
        """One more operator; with the first, wait until it leads."""
        if kube is None:
            kube = KubeClient(self.config, user_agent="stoker-operator")
            self._clients.append(kube)
        operator = Operator(kube, self.environment(**settings))
        task = asyncio.create_task(operator.run())
        self.operators.append((operator, task))
        return operator

    async def lead(self, **settings: Any) -> Operator:
        """An operator that plans."""
        operator = await self.start(**settings)
        await until(lambda: operator.leader is not None and operator.leader.fleet.planned_once)
        return operator

    async def stop(self, operator: Operator) -> None:
        """End it as SIGTERM does."""
        entry = next(entry for entry in self.operators if entry[0] is operator)
        self.operators.remove(entry)
        await _end(*entry)

    def environ(self, **settings: Any) -> dict[str, str]:
        """The variables of an operator's process."""
        given = {
            "namespace": self.system,
            "pod_name": f"operator-{len(self.operators)}",
            "pod_ip": "127.0.0.1",
            "internal_port": 0,
            "peer_port": self.port,
            "first_word_s": 3.0,
            "product_label": "",
        } | settings
        return {f"STOKER_{name.upper()}": str(value) for name, value in given.items()}

    def environment(self, **settings: Any) -> Environment:
        return Environment(self.environ(**settings), KubeSettings, ClusterSettings, OperatorSettings)

    # What is in the cluster.

    async def apply(self, resource: Resource[Any], kind: str, name: str, namespace: str = "", **content: Any) -> Any:
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | content.pop("metadata", {})
        body = {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, **content}
        return await self.kube.apply(resource, name, body, namespace, manager=MANAGER, force=True)

    async def function(self, name: str = "f", **spec: Any) -> str:
        """Apply a function; its key."""
        content = {
            "container": {"image": "registry.example/f:1"},
            "gpu": {"memory": "4Gi"},
            "slo": {"latency": "250ms"},
        } | spec
        await self.apply(FUNCTIONS, "GpuFunction", name, self.team, spec=content)
        return f"{self.team}/{name}"

    async def node(self, name: str = "n1", *devices: DeviceStatus) -> ScriptedAgent:
        """A node with an agent that speaks, and its devices."""
        await self.apply(NODES, "Node", name)
        await self.node_ready(name, ready=True)
        self.devices[name] = devices or (gpu(),)
        return await self.agent(name)

    async def node_ready(self, name: str, *, ready: bool) -> None:
        condition = {"type": "Ready", "status": "True" if ready else "Unknown", "reason": "x", "message": "x"}
        await self.kube.patch(NODES, name, {"status": {"conditions": [condition]}}, subresource="status")

    async def agent(self, node: str, pod: str = "") -> ScriptedAgent:
        agent = ScriptedAgent(node, next(self._addresses), self.port, self.journal)
        await agent.start((await self._identity(COMPONENT_NODE)).server_context({"operator"}))
        self.agents[node] = agent
        await self.peer(pod or f"agent-{node}", COMPONENT_NODE, agent.address, node)
        return agent

    async def gateway(self, name: str = "gw1", node: str = "") -> ScriptedGateway:
        gateway = ScriptedGateway(name, next(self._addresses), self.port)
        await gateway.start((await self._identity(GATEWAY)).server_context({"operator"}))
        self.gateways[name] = gateway
        await self.peer(name, GATEWAY, gateway.address, node)
        return gateway

    async def peer(self, name: str, component: str, address: str, node: str = "") -> None:
        """A pod of Stoker that runs at `address`."""
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {L_NAME: NAME, L_COMPONENT: component}},
            "spec": {"containers": [{"name": "x", "image": "x"}]} | ({"nodeName": node} if node else {}),
        }
        await self.kube.create(PODS, body, self.system)
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        await self.kube.patch(PODS, name, {"status": status}, self.system, subresource="status")

    async def end_peer(self, name: str) -> None:
        """It was deleted, and has its grace (only a pod on a node has one)."""
        await self.kube.delete(PODS, name, self.system, grace_s=60)

    async def drop_peer(self, name: str) -> None:
        await self.kube.delete(PODS, name, self.system, grace_s=0)

    async def ledger(self, node: str, *devices: DeviceStatus) -> None:
        """What the agent of a node writes of its devices."""
        self.devices[node] = devices
        self._acted.pop(f"ledger {node}", None)

    async def status(self, name: str = "f") -> dict[str, Any]:
        found = await self.kube.get(FUNCTIONS, name, self.team)
        return found.get("status") or {}

    async def condition(self, kind: str = "Ready", name: str = "f") -> tuple[str, str]:
        """Status and reason of a condition."""
        for each in (await self.status(name)).get("conditions", ()):
            if each["type"] == kind:
                return each["status"], each["reason"]
        return "", ""

    async def says(self, status: str, reason: str, kind: str = "Ready", name: str = "f") -> None:
        """Until a condition says so."""
        try:
            await until(lambda: self._says(status, reason, kind, name))
        except TimeoutError:
            raise AssertionError(f"{kind} is {(await self.status(name)).get('conditions')}") from None

    async def _says(self, status: str, reason: str, kind: str, name: str) -> bool:
        return await self.condition(kind, name) == (status, reason)

    def pods(self, name: str = "f", role: str = ROLE_REPLICA) -> list[Meta]:
        """Pods of a function, as the watch shows them."""
        return [
            pod
            for pod in self._pods.items()
            if (pod.metadata.labels or {}).get("stoker.dev/function") == name
            and (pod.metadata.labels or {}).get(L_ROLE) == role
            and pod.metadata.namespace == self.team
        ]

    def replica_of(self, pod: Meta) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode((pod.metadata.annotations or {})[A_REPLICA])
        return found

    # The played scheduler and kubelets.

    async def bind(self, pod: Meta, node: str) -> None:
        meta = pod.metadata
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "uid": meta.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        path = f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}/binding"
        with contextlib.suppress(Conflict, NotFound):
            await self.kube.request("POST", path, dict[str, Any], body=body)

    async def say(self, pod: Meta, **status: Any) -> None:
        """The kubelet's, or the scheduler's, word on a pod."""
        meta = pod.metadata
        with contextlib.suppress(NotFound):
            await self.kube.patch(PODS, meta.name, {"status": status}, meta.namespace, subresource="status")

    async def warns(self, pod: Meta, reason: str, message: str) -> None:
        """The kubelet's word on what hinders it."""
        meta = pod.metadata
        at = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = {"apiVersion": "v1", "kind": "Pod", "name": meta.name, "namespace": meta.namespace, "uid": meta.uid}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:8]}"},
            "involvedObject": about,
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet"},
            "firstTimestamp": at,
            "lastTimestamp": at,
        }
        await self.kube.create(EVENTS, body, meta.namespace)

    async def runs(self, pod: Meta) -> None:
        """Its container was started."""
        container = pod.spec["containers"][0]
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "x",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}},
        }
        ip = "10.0.0.1"
        await self.say(pod, phase="Running", podIP=ip, podIPs=[{"ip": ip}], containerStatuses=[status])

    async def ends(self, pod: Meta, *, exit_code: int = 1, message: str = "") -> None:
        """Its container ended by itself."""
        container = pod.spec["containers"][0]
        state = {"terminated": {"exitCode": exit_code, "message": message, "reason": "Error"}}
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "x",
            "ready": False,
            "restartCount": 0,
            "state": state,
        }
        await self.say(pod, phase="Failed", containerStatuses=[status])
        self.agents[str(pod.spec["nodeName"])].forget(pod.metadata.uid)

    async def _play_forever(self) -> None:
        while True:
            for pod in list(self._pods.items()):
                if (pod.metadata.labels or {}).get(L_ROLE) == ROLE_REPLICA:
                    await self._play_pod(pod)
            for agent in list(self.agents.values()):
                agent.keep_only({pod.metadata.uid for pod in self._pods.items()})
            for node in list(self.devices):
                await self._play_ledger(node)
            await asyncio.sleep(0.01)

    async def _play_pod(self, pod: Meta) -> None:
        meta = pod.metadata
        node = str(pod.spec.get("nodeName", ""))
        if meta.deletion_timestamp is not None:
            if self._first(meta.uid, "gone"):
                self.journal.append(f"deleting {meta.name}")
                with contextlib.suppress(NotFound):
                    await self.kube.delete(PODS, meta.name, meta.namespace, grace_s=0)
            return
        if not node:
            free = self._free_node(pod) if self.binds else ""
            if free and self._first(meta.uid, "bound"):
                await self.bind(pod, free)
            return
        agent = self.agents.get(node)
        if agent is None or agent.silent or not self.creates or pod.status.get("phase") in ("Failed", "Succeeded"):
            return
        if self._first(meta.uid, "seen"):
            replica = self.replica_of(pod)
            device = self.choose_device(node, pod) if self.choose_device else self._device(node, replica)
            agent.take(meta.name, meta.uid, replica["id"], device)
            await self.runs(pod)
        if self.warms and agent.state(meta.uid) is ReplicaState.STARTING and not agent.unfit(meta.uid):
            agent.warm(meta.uid)

    def _free_node(self, pod: Meta) -> str:
        replica = self.replica_of(pod)
        ruled_out = str(pod.spec.get("affinity", ""))
        for name in self.devices:
            if name in self.agents and f"'{name}'" not in ruled_out and self._device(name, replica):
                return name
        return ""

    def _device(self, node: str, replica: dict[str, Any]) -> str:
        if replica["variant"] == Variant.CPU.value:
            return "cpu"
        held = self.agents[node].held()
        return next((d.id for d in self.devices[node] if d.kind == "gpu" and d.id not in held), "")

    async def _play_ledger(self, node: str) -> None:
        agent = self.agents.get(node)
        content = str(self.devices[node])
        if agent is None or agent.silent or content in self._acted.get(f"ledger {node}", ()):
            return
        status = FunctionNodeStatus(agent=AgentStatus(pod="x", address=agent.address), devices=self.devices[node])
        try:
            await self.kube.apply(
                LEDGERS, node, encode_status(node, status), manager="stoker-node", force=True, subresource="status"
            )
        except NotFound:
            return  # the operator has not made it yet
        self._acted[f"ledger {node}"] = {content}

    def _first(self, uid: str, act: str) -> bool:
        done = self._acted.setdefault(uid, set())
        if act in done:
            return False
        done.add(act)
        return True

    async def _identity(self, component: str) -> Identity:
        if component not in self._identities:
            identity = self._identities[component] = Identity(self.kube, self.system, component)
            await identity.load()
        return self._identities[component]


async def _end(operator: Operator, task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    await operator.stop()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def names(items: Iterable[Any]) -> list[str]:
    return sorted(item["metadata"]["name"] for item in items)


__all__ = ["AlreadyExists", "OperatorInCluster", "gpu", "names", "until"]
