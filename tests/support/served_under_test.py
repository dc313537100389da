"""A whole ServedNode with everything that it asks scripted: caches filled by hand, a kubelet, an API server."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from agent_under_test import clock_us, function
from node_on_kubernetes import NodeWorld, ScriptedPod, card, replica_of

from stoker.model.device import Device
from stoker.model.function import Variant
from stoker_node.config import NodeSettings
from stoker_node.kubelet.pod_resources import Allocatable, KubeletAway, PodDevices
from stoker_node.kubernetes.cluster_view import ClusterView
from stoker_node.kubernetes.objects import Node, NodeStatus, Pod
from stoker_node.kubernetes.served_node import Gpus, ServedNode, Who
from stoker_node.kubernetes.settings import KubernetesNodeSettings
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.objects import ObjectMeta, SmallMeta
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.own_kinds import Applied, FunctionNode

NODE = "n"


class ScriptedKubelet:
    """Answers with what it is told to; None: it is away."""

    def __init__(self, *cards: str) -> None:
        self.offered: tuple[str, ...] | None = cards
        self.held: tuple[PodDevices, ...] = ()

    async def list(self) -> tuple[PodDevices, ...] | KubeletAway:
        return self.held

    async def allocatable(self) -> tuple[Allocatable, ...] | KubeletAway:
        if self.offered is None:
            return KubeletAway("no socket")
        return (Allocatable("nvidia.com/gpu", self.offered),) if self.offered else ()


class RecordingApi:
    """Takes what the node's agent applies; `gate` holds every answer back until it is set."""

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.seen: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def apply(self, resource: Any, name: str, body: Any, namespace: str = "", **how: Any) -> Any:
        await self.gate.wait()
        if resource.plural == "functionnodes":
            self.statuses.append(body["status"])
            self.seen.append(how.get("seen"))
        return FunctionNode(metadata=SmallMeta(name=name, uid="u", resource_version=str(len(self.statuses))))

    def ready(self) -> tuple[str, str]:
        """Status and reason of the condition that was written last."""
        condition = self.statuses[-1]["conditions"][0]
        return condition["status"], condition["reason"]


class Served:
    """`await start()`, `await close()`."""

    def __init__(self, *gpus: Device) -> None:
        self.view = ClusterView(cast(KubeClient, None), NODE)
        node = Node(
            metadata=ObjectMeta(name=NODE, uid="node"), status=NodeStatus(allocatable={"cpu": "4", "memory": "8Gi"})
        )
        self.view.nodes._store.put(node)
        gpus = gpus or (card(),)
        self.kubelet = ScriptedKubelet(*(one.id for one in gpus))
        self.api = RecordingApi()
        self.sink = PrometheusSink()
        self._policies = 0
        ports = dict.fromkeys(("data_port", "control_port", "grant_port", "internal_port"), 0)
        self.node = ServedNode(
            who=Who(node=NODE, namespace="stoker-system", pod="agent", address="127.0.0.1", version="1"),
            settings=KubernetesNodeSettings(**cast(Any, ports)),
            node_settings=NodeSettings(probe_interval_s=0.005),
            view=self.view,
            kube=self.api,
            kubelet=self.kubelet,
            gpus=Gpus(gpus),
            sink=self.sink,
            clock_us=clock_us,
            followed=False,
            on_unknown_gpus=lambda: None,
        )

    async def start(self) -> "Served":
        await self.node.start(None, None)
        return self

    def apply(self, name: str, namespace: str = "ns") -> None:
        """A GpuFunction as a user applies it; its uid is its name."""
        spec = {"container": {"image": "i"}, "gpu": {"memory": "1Gi"}, "slo": {"latency": "1s"}}
        meta = SmallMeta(name=name, namespace=namespace, uid=name, generation=1)
        self.view.functions._store.put(Applied(metadata=meta, spec=spec))

    def policy(self, **spec: Any) -> None:
        """The GpuPolicy as the administrator applies it."""
        self._policies += 1
        meta = SmallMeta(name="default", uid="policy", resource_version=str(self._policies))
        self.view.policies._store.put(Applied(metadata=meta, spec=spec))

    def delete(self, name: str, namespace: str = "ns") -> None:
        self.view.functions._store.remove(namespace, name)

    def pod(self, name: str) -> Pod:
        """A running replica of a function (a CPU variant: it needs no card)."""
        owner = function(name, cpu_variant=True)
        replica = replica_of(owner, variant=Variant.CPU, port=1, millicores=100, memory_mib=64)
        world = cast(NodeWorld, None)
        return ScriptedPod(world, replica, server=None, gated=False).runs().pod

    def put(self, pod: Pod) -> None:
        self.view.pods._store.put(pod)

    def remove(self, pod: Pod) -> None:
        self.view.pods._store.remove(pod.metadata.namespace, pod.metadata.name)

    def series_of(self, name: str, namespace: str = "ns") -> int:
        """How many series of a function are exported."""
        labels = f'function="{name}",namespace="{namespace}"'
        return sum(labels in line for line in self.sink.text().decode().splitlines())

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)
