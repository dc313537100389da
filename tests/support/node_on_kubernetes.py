"""The node agent's Kubernetes adapters with a scripted cluster: pods, kubelet and devices are what the test says."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from agent_under_test import REVISION, FakeReplica, clock_us, function

from stoker.model.device import Device, DeviceKind, DeviceMode
from stoker.model.function import Function, GpuOption, Sharing, Variant
from stoker.model.replica import ReplicaState
from stoker.names import pod_name, replica_id
from stoker.wire.cluster import (
    A_REPLICA,
    API_VERSION,
    L_ROLE,
    MAIN_CONTAINER,
    ROLE_REPLICA,
    WAIT_CONTAINER,
    PodReplica,
    ReplicaReport,
)
from stoker_node.agent import Agent
from stoker_node.config import NodeSettings
from stoker_node.kubelet.pod_resources import Allocatable, PodDevices
from stoker_node.kubernetes.device_view import DeviceView
from stoker_node.kubernetes.grants import Grants
from stoker_node.kubernetes.objects import (
    Container,
    ContainerState,
    ContainerStatus,
    Ended,
    Pod,
    PodSpec,
    PodStatus,
    Running,
)
from stoker_node.kubernetes.pod_sync import PodSync
from stoker_runtime.kube.objects import ObjectMeta, OwnerReference
from stoker_runtime.metrics import PrometheusSink

CPU = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=16384, millicores=4000)
_UIDS = itertools.count(1)


def card(name: str = "GPU-a", *, memory_mib: int = 40960, healthy: bool = True, product: str = "A100-40GB") -> Device:
    return Device(
        id=name,
        kind=DeviceKind.GPU,
        product=product,
        memory_mib=memory_mib,
        healthy=healthy,
        reason="" if healthy else "it is hot",
    )


def option(memory_mib: int = 1024, *, sharing: Sharing = Sharing.EXCLUSIVE, **more: Any) -> GpuOption:
    return GpuOption(memory_mib=memory_mib, sharing=sharing, **more)


def replica_of(owner: Function, *, ordinal: int = 0, variant: Variant = Variant.GPU, **more: Any) -> PodReplica:
    options = more.pop("options", (option(),) if variant is Variant.GPU else ())
    return PodReplica(
        id=replica_id(owner.key, variant, owner.primary, REVISION, ordinal),
        function=owner.key,
        function_uid=owner.uid,
        variant=variant,
        revision=REVISION,
        ordinal=ordinal,
        options=options,
        **more,
    )


class ScriptedPod:
    """One pod, and what happens to it."""

    def __init__(self, world: "NodeWorld", replica: PodReplica, *, server: FakeReplica | None, gated: bool) -> None:
        self.world = world
        self.replica = replica
        self.server = server
        self.uid = f"uid-{next(_UIDS)}"
        init = (Container(name=WAIT_CONTAINER),) if gated else ()
        owner = OwnerReference(
            api_version=API_VERSION,
            kind="GpuFunction",
            name=replica.function.partition("/")[2],
            uid=replica.function_uid,
            controller=True,
        )
        self.pod = Pod(
            metadata=ObjectMeta(
                name=pod_name(replica.id),
                namespace=replica.function.partition("/")[0],
                uid=self.uid,
                resource_version="1",
                labels={L_ROLE: ROLE_REPLICA},
                annotations={A_REPLICA: msgspec.json.encode(replica).decode()},
                owner_references=(owner,),
            ),
            spec=PodSpec(node_name="n", containers=(Container(name=MAIN_CONTAINER),), init_containers=init),
            status=PodStatus(phase="Pending"),
        )

    @property
    def key(self) -> tuple[str, str]:
        return self.pod.metadata.namespace, self.pod.metadata.name

    def meta(self, **changes: Any) -> "ScriptedPod":
        self.pod = msgspec.structs.replace(self.pod, metadata=msgspec.structs.replace(self.pod.metadata, **changes))
        return self

    def status(self, **changes: Any) -> "ScriptedPod":
        self.pod = msgspec.structs.replace(self.pod, status=msgspec.structs.replace(self.pod.status, **changes))
        return self

    def devices(self, *device_ids: str, resource: str = "nvidia.com/gpu") -> "ScriptedPod":
        """The kubelet gave it these."""
        held = PodDevices(*self.key, MAIN_CONTAINER, resource, device_ids)
        self.world.listing[self.key] = (held,)
        return self

    def acknowledged(self) -> "ScriptedPod":
        return self.status(start_time="2026-01-01T00:00:00Z")

    def gets_ip(self) -> "ScriptedPod":
        return self.acknowledged().status(pod_ip="127.0.0.1")

    def passed(self, exit_code: int = 0, gate: str = WAIT_CONTAINER) -> "ScriptedPod":
        """Its init container has ended; its own image may still be pulled."""
        state = ContainerState(terminated=Ended(reason="Completed", exit_code=exit_code))
        return self.acknowledged().status(init_container_statuses=(ContainerStatus(name=gate, state=state),))

    def runs(self) -> "ScriptedPod":
        main = ContainerStatus(name=MAIN_CONTAINER, state=ContainerState(running=Running()))
        return self.gets_ip().status(phase="Running", container_statuses=(main,))

    def container_ended(self, reason: str = "Error") -> "ScriptedPod":
        """As the kubelet says it first: the phase follows later."""
        state = ContainerState(terminated=Ended(reason=reason, exit_code=1))
        main = ContainerStatus(name=MAIN_CONTAINER, state=state)
        return self.status(container_statuses=(main,))

    def failed(self, reason: str = "Error") -> "ScriptedPod":
        return self.container_ended(reason=reason).status(phase="Failed")

    def deleted(self) -> "ScriptedPod":
        return self.meta(deletion_timestamp="2026-01-01T00:00:00Z")

    def gone(self) -> None:
        self.world.pods.remove(self)
        self.world.listing.pop(self.key, None)

    def report(self) -> ReplicaReport:
        return next(one for one in self.world.sync.reports() if one.pod_uid == self.uid)

    @property
    def state(self) -> ReplicaState:
        return self.report().state


class NodeWorld:
    """A node: agent, PodSync, and the scripted rest."""

    def __init__(
        self, *cards: Device, quiet_us: int = 0, mode: DeviceMode = DeviceMode.WHOLE, shares: int = 1, **settings: Any
    ) -> None:
        self.cards = cards or (card(),)
        self.pods: list[ScriptedPod] = []
        self.listing: dict[tuple[str, str], tuple[PodDevices, ...]] = {}
        self.functions: dict[str, Function] = {}
        self.cross_tenant: set[str] = set()
        self.changes = 0
        self.sink = PrometheusSink()
        self.view = DeviceView(self.cards, CPU, plugin_grace_us=60_000_000)
        self.shares, self.mode = shares, mode
        self.offer(*(one.id for one in self.cards))
        self.agent = Agent(
            devices=self.view.devices(),
            clock_us=clock_us,
            metrics=self.sink,
            settings=NodeSettings(**({"probe_interval_s": 0.005} | settings)),
        )
        self.grants = Grants()
        self.servers: list[FakeReplica] = []
        self.sync = self.new_sync(quiet_us=quiet_us)

    def new_sync(self, *, quiet_us: int = 0) -> PodSync:
        return PodSync(
            agent=self.agent,
            grants=self.grants,
            view=self.view,
            pods=lambda: [one.pod for one in self.pods],
            function_uids=lambda: {key: one.uid for key, one in self.functions.items()},
            cross_tenant=lambda namespace: namespace in self.cross_tenant,
            clock_us=clock_us,
            quiet_until_us=clock_us() + quiet_us,
            on_change=self._on_change,
        )

    def offer(self, *cards: str, now_us: int = 0) -> None:
        """What the device plugin offers."""
        whole = self.mode is DeviceMode.WHOLE
        ids = [one if whole else f"{one}::{share}" for one in cards for share in range(self.shares)]
        labels = {"nvidia.com/gpu.sharing-strategy": "mps"} if self.mode is DeviceMode.MPS else {}
        answer = (Allocatable("nvidia.com/gpu", tuple(ids)),) if ids else ()
        self.view.set_allocatable(answer, labels, now_us)

    async def start(self) -> "NodeWorld":
        await self.agent.start()
        return self

    async def close(self) -> None:
        await self.agent.stop(drain_s=0)
        for server in self.servers:
            await server.close()

    def apply(self, name: str = "f", *, namespace: str = "ns", **spec: Any) -> Function:
        made = msgspec.structs.replace(function(name, **spec), namespace=namespace)
        self.functions[made.key] = made
        self.agent.set_functions(self.functions)
        return made

    async def pod(self, owner: Function, *, gated: bool = False, serve: bool = True, **replica: Any) -> ScriptedPod:
        """A new pod of the function; its server listens at once, whatever the pod says."""
        server = None
        if serve:
            server = FakeReplica()
            await server.start()
            self.servers.append(server)
        port = 1 if server is None else server.port
        made = ScriptedPod(self, replica_of(owner, port=port, **replica), server=server, gated=gated)
        self.pods.append(made)
        return made

    def step(self, *, lists: int = 1) -> None:
        """The kubelet is asked, and everything is looked at."""
        for _ in range(lists):
            self.sync.set_listing([held for parts in self.listing.values() for held in parts])
            self.sync.sync()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.002)

    def _on_change(self) -> None:
        self.changes += 1
