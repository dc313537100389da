"""The agent of one node while it acts: agent, pods, kubelet, devices and listeners, wired, and ended in order.

Made when everything that must be known before the first decision is known: the devices, the Node, all functions, the
pods, and that no other agent acts here. Knows nothing of settings from the environment, signals and exit codes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from ssl import SSLContext

import structlog
from msgspec import Struct

from stoker import metrics as m
from stoker.errors import UnknownName
from stoker.model.device import Device
from stoker.model.function import Variant
from stoker.wire.function_node import AgentStatus, FunctionNodeStatus, ImageStatus, NodeCondition
from stoker.wire.policy import NAME as POLICY_NAME
from stoker_node.agent import Agent
from stoker_node.config import NodeSettings
from stoker_node.devices import DeviceWatch, GpuTelemetry
from stoker_node.kubelet.pod_resources import Allocatable, PodDevices
from stoker_node.kubernetes.cluster_view import ClusterView
from stoker_node.kubernetes.control import Control, Told
from stoker_node.kubernetes.device_view import DeviceView, cpu_of
from stoker_node.kubernetes.figures import Figures
from stoker_node.kubernetes.fitness import cards_of
from stoker_node.kubernetes.grants import GrantListener, Grants
from stoker_node.kubernetes.images import present_images
from stoker_node.kubernetes.kubelet_watch import Kubelet, KubeletWatch
from stoker_node.kubernetes.later import Later
from stoker_node.kubernetes.ledger import Applier, Ledger, device_statuses, residents, status_of
from stoker_node.kubernetes.memory_guard import MemoryGuard
from stoker_node.kubernetes.memory_watch import MemoryWatch
from stoker_node.kubernetes.node_costs import NodeCosts
from stoker_node.kubernetes.node_lease import NodeLease
from stoker_node.kubernetes.pod_sync import PodSync
from stoker_node.kubernetes.process_owner import pod_of
from stoker_node.kubernetes.settings import KubernetesNodeSettings
from stoker_runtime.applied_functions import AppliedFunctions
from stoker_runtime.applied_policy import AppliedPolicy
from stoker_runtime.background import Background
from stoker_runtime.kube.clock import micro_time
from stoker_runtime.stopping import stop_part

log = structlog.get_logger(__name__)

_TICK_S = 1.0
_FUNCTIONS_S = 0.05
"""A burst of applied functions is one change."""
_STOP_MARGIN_S = 5.0
_KUBELET_S = 5.0
_GPU_IDS = ("GPU-", "MIG-")


class Gpus(Struct, frozen=True):
    """The GPUs that main.py chose. `telemetry` and `watch` are None where there is no driver."""

    devices: tuple[Device, ...] = ()
    telemetry: GpuTelemetry | None = None
    watch: Callable[[Callable[[tuple[Device, ...]], None]], DeviceWatch] | None = None


class Who(Struct, frozen=True, kw_only=True):
    """Which agent this is."""

    node: str
    namespace: str
    pod: str
    address: str
    version: str


class ServedNode:
    """`await start()`, then `await stop()`."""

    def __init__(
        self,
        *,
        who: Who,
        settings: KubernetesNodeSettings,
        node_settings: NodeSettings,
        view: ClusterView,
        kube: Applier,
        kubelet: Kubelet,
        gpus: Gpus,
        sink: m.MetricsSink,
        clock_us: Callable[[], int],
        followed: bool,
        on_unknown_gpus: Callable[[], None],
    ) -> None:
        """`followed`: another agent acted on this node before. `on_unknown_gpus` is called, again and again, while the
        kubelet gives GPUs away that the driver did not list when this agent began.
        """
        node = view.node()
        assert node is not None, "the view is synced, and check() saw the Node"
        self._who, self._settings, self._view, self._clock_us = who, settings, view, clock_us
        self._gpus = gpus
        self._on_unknown_gpus = on_unknown_gpus
        self._sink = sink
        self._draining = False
        self._condition = NodeCondition(
            type="Ready", status="Unknown", reason="Starting", message="", last_transition_time=micro_time()
        )
        self._images: tuple[ImageStatus, ...] | None = None
        """None: to be made anew."""
        self._parts: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self._ticker = Background("node-ticker")
        grace_us = round(settings.plugin_grace_s * 1e6)
        self._devices = DeviceView(gpus.devices, cpu_of(node), plugin_grace_us=grace_us)
        self._told_devices = self._devices.devices()
        self.policy = AppliedPolicy()
        self.functions = AppliedFunctions()
        self.agent = Agent(devices=self._told_devices, clock_us=clock_us, metrics=sink, settings=node_settings)
        self.costs = NodeCosts(self.agent.metering, lambda: self._told_devices, clock_us)
        self.costs.set_labels(node.metadata.labels or {})
        self.grants = Grants()
        self.pods = PodSync(
            agent=self.agent,
            grants=self.grants,
            view=self._devices,
            pods=view.replica_pods,
            function_uids=lambda: self.functions.uids,
            cross_tenant=lambda namespace: self.policy.current.rule(namespace).cross_tenant,
            clock_us=clock_us,
            quiet_until_us=clock_us() + (round(settings.reservation_ttl_s * 1e6) if followed else 0),
            on_change=self._on_replicas,
            on_granted=lambda waited_us: sink.observe(m.GRANT_SECONDS, waited_us / 1e6),
        )
        self.memory = MemoryGuard(
            self.pods,
            devices=lambda: self._told_devices,
            enforced=lambda: not self.policy.current.waive_memory_enforcement,
            sink=sink,
        )
        told = Told(
            node=who.node,
            accepting=lambda: not self._draining,
            replicas=self.pods.reports,
            queued=self.agent.queued,
            start_ms=self._start_ms,
            profiles=self.agent.prediction().profiles,
            costs=self.costs.totals,
            spent=self.costs.spent,
        )
        self.control = Control(told, self.pods.drain)
        self.grant_listener = GrantListener(self.grants)
        self.kubelet = KubeletWatch(
            kubelet, on_list=self._on_list, on_allocatable=self._on_allocatable, waited_for=self.pods.waits_for_devices
        )
        self.ledger = Ledger(kube, who.node, self.status, clock_us=clock_us)
        self._figures = Figures(
            sink,
            pods=self.pods,
            grants=self.grants,
            ledger=self.ledger,
            problems=(
                (m.KUBELET_UP, lambda: self.kubelet.problem),
                (m.API_UP, lambda: self._view.unready(self._settings.api_stale_s)),
            ),
        )
        self.lease = NodeLease(kube, who.namespace, who.node, who.pod)
        self._sync_soon = Later(self._sync)
        self._functions_soon = Later(self._read_functions, after_s=_FUNCTIONS_S)
        self.agent.on_change(self._on_replicas)

    async def start(self, data_ssl: SSLContext | None, control_ssl: SSLContext | None) -> None:
        """Listen and act. OSError when an address cannot be had; stop() ends what was begun."""
        settings, view = self._settings, self._view
        host = "::" if ":" in self._who.address else "0.0.0.0"  # noqa: S104  a pod's own network
        self._read_policy()
        self._read_functions()
        view.on_pods(self._on_pods)
        view.on_functions(self._functions_soon.ask)
        view.on_policies(self._read_policy)
        view.on_node(self._on_node)
        view.on_function_node(self.ledger.object_is)
        self._begin("agent", lambda: self.agent.stop(drain_s=0))
        await self.agent.start(host, settings.data_port, data_ssl)
        self._begin("grants", self.grant_listener.stop)
        await self.grant_listener.start(host, settings.grant_port)
        self._begin("control", self.control.stop)
        await self.control.start(host, settings.control_port, control_ssl)
        self._begin("kubelet", self.kubelet.stop)
        self.kubelet.start()
        await self.kubelet.asked(_KUBELET_S)
        self._start_gpus()
        self._begin("ledger", self.ledger.stop)
        self.ledger.start()
        self._begin("lease", self.lease.stop)
        self.lease.start()
        self._begin("ticker", self._ticker.stop)
        self._ticker.start(self._tick_forever)

    async def stop(self, drain_s: float) -> None:
        """Take nothing new, finish what was accepted for `drain_s`, end all parts. Never raises."""
        self._draining = True
        self.pods.retire()
        self.control.changed()
        self.ledger.changed()
        await stop_part("grants", self.grant_listener.stop, _STOP_MARGIN_S)
        # Pods that go and drains that are asked for still count meanwhile.
        await stop_part("agent", lambda: self.agent.stop(drain_s=drain_s), drain_s + _STOP_MARGIN_S)
        for name, stop in reversed(self._parts):
            await stop_part(name, stop, _STOP_MARGIN_S)
        self._sync_soon.cancel()
        self._functions_soon.cancel()

    def unready(self) -> str | None:
        """Why no pod should count on this agent, in one sentence; None when all is well."""
        if self._draining:
            return "The agent drains: it finishes what it accepted and takes nothing new."
        return self._view.unready(self._settings.api_stale_s) or self.kubelet.problem or None

    def status(self) -> FunctionNodeStatus | None:
        """What the FunctionNode should say now; None while that is not known."""
        if not self.kubelet.has_offered:
            # No GPU seems to be offered yet. Told as a fact, that would keep placement off all of them.
            return None
        view, who = self._view, self._who
        return status_of(
            agent=AgentStatus(pod=who.pod, address=who.address, version=who.version),
            devices=device_statuses(self._devices.devices(), self.memory.used_mib),
            residents=residents(self.pods.tracked(), self.pods.reports()),
            images=self._present_images(),
            condition=self._ready_condition(),
            generation=next((one.metadata.generation for one in view.function_nodes.items()), 0),
        )

    def _present_images(self) -> tuple[ImageStatus, ...]:
        """Made anew only when pods, functions or the Node changed: it goes through all functions."""
        node = self._view.node()
        if self._images is None and node is not None:
            self._images = present_images(self.functions.functions, node, self._view.pods.items())
        return self._images or ()

    def _begin(self, name: str, stop: Callable[[], Awaitable[None]]) -> None:
        self._parts.append((name, stop))

    def _start_gpus(self) -> None:
        if self._gpus.watch is not None:
            watch = self._gpus.watch(self._on_gpus)
            self._begin("devices", watch.stop)
            watch.start()
        if self._gpus.telemetry is not None:
            host_pid = self._settings.host_pid
            memory = MemoryWatch(
                self._gpus.telemetry,
                self.memory.residents,
                on_readings=self.memory.on_readings,
                on_excess=self.memory.on_excess,
                pod_of=pod_of if host_pid else lambda _: None,
                clock_s=lambda: self._clock_us() / 1e6,
                slack_mib=self._settings.memory_slack_mib,
            )
            self._begin("memory", memory.stop)
            memory.start()

    # What the API server says.

    def _on_pods(self) -> None:
        self._images = None
        self.kubelet.poke()
        self._sync_soon.ask()
        self.ledger.changed()

    def _read_functions(self) -> None:
        if self.functions.put_all(self._view.functions.items()):
            self._images = None
            self.agent.set_functions(self.functions.functions)
            self.costs.set_functions(self.functions.functions)
            self.ledger.changed()
        self._sync_soon.ask()

    def _read_policy(self) -> None:
        if not self.policy.put(self._view.policies.get("", POLICY_NAME)):
            return
        queueing = self.policy.current.queueing
        self.agent.set_shares(self.policy.current)
        self.costs.set_policy(self.policy.current)
        try:
            self.agent.set_queueing(queueing)
        except UnknownName as err:
            log.warning("queueing_unknown", name=queueing, error=str(err))
        self._sync_soon.ask()

    def _on_node(self) -> None:
        self._images = None
        node = self._view.node()
        if node is not None:
            self._devices.set_node(node)
            self.costs.set_labels(node.metadata.labels or {})
            self._on_devices()

    # What the kubelet and the driver say.

    def _on_list(self, listing: Sequence[PodDevices]) -> None:
        self.pods.set_listing(listing)
        self._sync()

    def _on_allocatable(self, answer: Sequence[Allocatable]) -> None:
        node = self._view.node()
        labels = {} if node is None else node.metadata.labels or {}
        self._devices.set_allocatable(answer, labels, self._clock_us())
        self._on_devices()
        known = {device.id for device in self._gpus.devices}
        cards = cards_of([text for resource in answer for text in resource.device_ids])
        if any(card.startswith(_GPU_IDS) and card not in known for card in cards):
            self._on_unknown_gpus()

    def _on_gpus(self, devices: tuple[Device, ...]) -> None:
        self._devices.set_gpus(devices)
        self._on_devices()

    def _on_devices(self) -> None:
        devices = self._devices.devices()
        if devices == self._told_devices:
            return
        before = {device.id: device for device in self._told_devices}
        self._told_devices = devices
        for device in devices:
            if device.healthy != before[device.id].healthy:
                say = log.info if device.healthy else log.warning
                say("device_health", device=device.label, healthy=device.healthy, reason=device.reason)
        self.agent.set_devices(devices)
        self.costs.devices_changed()
        self._sync()
        self.ledger.changed()

    def _sync(self) -> None:
        self.pods.sync()

    def _on_replicas(self) -> None:
        self.control.changed()
        self.ledger.changed()

    # What is told.

    def _start_ms(self) -> dict[str, dict[Variant, int]]:
        """Measured start-ups of functions that had a replica here."""
        found: dict[str, dict[Variant, int]] = {}
        for key in self.pods.served:
            function = self.functions.functions.get(key)
            for variant in () if function is None else function.variants:
                assert function is not None
                start = self.agent.prediction().start_us(function, variant)
                if start.samples:
                    found.setdefault(key, {})[variant] = start.us // 1000
        return found

    def _ready_condition(self) -> NodeCondition:
        """Without the view of the API server: when that is away nothing can be written."""
        if self._draining:
            status, reason, message = "False", "Draining", "the agent is being replaced"
        elif self.kubelet.problem:
            status, reason, message = "False", "KubeletAway", self.kubelet.problem
        else:
            status, reason, message = "True", "Ready", ""
        now = self._condition
        if (status, reason) != (now.status, now.reason):
            since = now.last_transition_time if status == now.status else micro_time()
            self._condition = NodeCondition(
                type="Ready", status=status, reason=reason, message=message, last_transition_time=since
            )
        return self._condition

    async def _tick_forever(self) -> None:
        while True:
            try:
                self._tick()
            except Exception:
                # A mistake of ours must not end the resync.
                log.exception("tick_failed")
            await asyncio.sleep(_TICK_S)

    def _tick(self) -> None:
        self._sync()
        self.costs.tick()
        self._figures.show()
        self._forget_deleted()

    def _forget_deleted(self) -> None:
        """What was measured and counted of functions that are no more, once their last replica and request are gone."""
        for key in self.pods.served - self.functions.uids.keys():
            if self.agent.forget(key):
                self.pods.served.discard(key)
                self.agent.metering.forget(key)
                namespace, _, name = key.partition("/")
                self._sink.forget_function(namespace, name)
