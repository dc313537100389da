"""`python -m stoker_node.main`: the agent of one node as a pod of a DaemonSet, composed and run until SIGTERM.

The only module of stoker_node that chooses parts: the driver that GPUs are read from, the kubelet's socket, the API
server. Two of these processes stand side by side on a node during an upgrade; the file lock says which one acts.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pynvml
import structlog

from stoker.model.device import Device
from stoker.wire.cluster import COMPONENT_GATEWAY, COMPONENT_NODE, COMPONENT_OPERATOR, COMPONENT_SCHEDULER
from stoker_node.config import NodeSettings
from stoker_node.daemon_thread import in_daemon_thread
from stoker_node.devices import DevicesUnavailable, DeviceWatch
from stoker_node.gpu_events import GpuEvent, GpuEvents
from stoker_node.kubelet.pod_resources import PodResources
from stoker_node.kubernetes.cluster_view import CannotRun, ClusterView
from stoker_node.kubernetes.node_lock import NodeLock
from stoker_node.kubernetes.served_node import Gpus, ServedNode, Who
from stoker_node.kubernetes.settings import KubernetesNodeSettings
from stoker_node.nvml import NvmlProbe
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.event_loop import Signals, keep_what_start_up_made, unless
from stoker_runtime.identity import Identity
from stoker_runtime.internal import Internal
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeSettings, load_config
from stoker_runtime.kube.watch import Cache
from stoker_runtime.kube_metrics import KubeMetrics
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.process import Environment, clock_us, run_process
from stoker_runtime.settings import ProcessSettings

log = structlog.get_logger(__name__)

DRIVER_PATIENCE_S = 30.0
"""A driver that lists its GPUs later than this hangs: a cold one takes a few seconds."""
LOOK_AGAIN_S = 30.0
"""GPUs that the kubelet gives away and the driver did not list are looked for this often."""
_NO_GPUS = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
"""How a node without GPUs looks. Any other error is a driver that does not work: a fresh process tries again."""


class Process:
    """The agent's process, from nothing known to acting."""

    def __init__(self, kube: KubeClient, settings: Environment) -> None:
        place = settings.get(ClusterSettings)
        place.need("node_name", "pod_ip")
        self._settings = settings
        self._own = settings.get(KubernetesNodeSettings)
        self._kube = kube
        self._who = Who(
            node=place.node_name,
            namespace=place.namespace or kube.namespace,
            pod=place.pod,
            address=place.pod_ip,
            version=_version(),
        )
        self._sink = PrometheusSink(max_series=settings.get(ProcessSettings).max_series)
        self._view = view = ClusterView(kube, self._who.node)
        figures = KubeMetrics(self._sink, COMPONENT_NODE)
        caches: tuple[Cache[Any], ...] = (view.pods, view.nodes, view.functions, view.policies, view.function_nodes)
        for cache in caches:
            figures.add_cache(cache.resource.plural, cache)
        self._internal = Internal(
            metrics=self._sink.text,
            unready=self.unready,
            routes={"/v1/replicas": lambda _: None if self._served is None else self._served.pods.reports()},
            refresh=figures.refresh,
        )
        self._identity = Identity(kube, self._who.namespace, COMPONENT_NODE)
        self._lock = NodeLock(Path(self._own.state_dir), self._who.pod)
        self._kubelet = PodResources(Path(self._own.kubelet_socket))
        self._probe: NvmlProbe | None = None
        self.gpus: tuple[Device, ...] = ()
        self._events: GpuEvents | None = None
        self._served: ServedNode | None = None
        self._stage = "The agent begins."
        self._looked_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self.outdated = asyncio.Event()
        """The driver lists GPUs that it did not list at the start: a new process takes them in."""

    async def start(self) -> bool:
        """Everything, in an order in which nothing is decided before what it rests on is known."""
        await self._internal.start("::" if ":" in self._who.address else "0.0.0.0", self._own.internal_port)  # noqa: S104
        self._stage = "The driver is asked for its GPUs."
        await self._open_gpus()
        self._stage = ""
        await self._view.check()
        self._view.start()
        await self._identity.load()
        await self._view.synced()
        try:
            followed = await self._lock.acquire()
        except OSError as err:
            raise CannotRun(
                f"{self._own.state_dir} cannot be used for the lock of the node's agent: {err}. It must be a folder of "
                "the host, mounted into the pod."
            ) from err
        self._served = ServedNode(
            who=self._who,
            settings=self._own,
            node_settings=self._settings.get(NodeSettings),
            view=self._view,
            kube=self._kube,
            kubelet=self._kubelet,
            gpus=Gpus(self.gpus, self._probe, None if self._probe is None else self._watch),
            sink=self._sink,
            clock_us=clock_us,
            followed=followed,
            on_unknown_gpus=self._look_again,
        )
        try:
            await self._served.start(
                self._identity.server_context({COMPONENT_GATEWAY, COMPONENT_SCHEDULER}),
                self._identity.server_context({COMPONENT_OPERATOR}),
            )
        except OSError as err:
            raise CannotRun(f"The agent cannot listen: {err}.") from err
        return True

    async def stop(self, drain_s: float) -> None:
        """In the reverse order. What runs is finished for `drain_s`; then the node's next agent may act."""
        if self._looking is not None:
            self._looking.cancel()
        if self._served is not None:
            await self._served.stop(drain_s)
        self._lock.release()
        events = self._events
        if events is not None:
            await asyncio.to_thread(events.stop)
        await self._kubelet.close()
        await self._view.stop()
        await self._identity.stop()
        await self._internal.stop()
        if self._probe is not None:
            self._probe.close()

    def unready(self) -> str | None:
        """Why no pod should count on this agent, in one sentence; None when all is well."""
        if self._served is not None:
            return self._served.unready()
        if self._lock.waits:
            # Ready: else the DaemonSet would wait for this pod before it ends the one that holds the lock.
            return None
        return self._stage or self._view.problem or self._identity.problem or "The agent reads what there is."

    async def _open_gpus(self) -> None:
        try:
            async with asyncio.timeout(DRIVER_PATIENCE_S):
                self._probe, self.gpus = await in_daemon_thread(_open, "gpu-open")
        except TimeoutError:
            raise CannotRun(
                f"The NVIDIA driver has not listed its GPUs for {DRIVER_PATIENCE_S:g} s: reset it or reboot the node."
            ) from None
        except DevicesUnavailable as err:
            cause = err.__cause__
            if not (isinstance(cause, pynvml.NVMLError) and cause.value in _NO_GPUS):
                raise
            log.info("no_gpus", reason=str(err))
        log.info("devices_found", gpus=[gpu.label for gpu in self.gpus])

    def _watch(self, on_devices: Callable[[tuple[Device, ...]], None]) -> DeviceWatch:
        assert self._probe is not None
        settings = self._settings.get(NodeSettings)
        watch = DeviceWatch(
            self._probe, self.gpus, on_devices, poll_s=settings.device_poll_s, stale_s=settings.device_stale_s
        )
        loop = asyncio.get_running_loop()

        def on_event(_: GpuEvent) -> None:
            loop.call_soon_threadsafe(watch.poke)

        self._events = GpuEvents(self._probe, on_event)
        self._events.start()
        return watch

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._looking is None and loop.time() - self._looked_s >= LOOK_AGAIN_S:
            self._looked_s = loop.time()
            self._looking = loop.create_task(self._find_new_gpus())

    async def _find_new_gpus(self) -> None:
        known = {gpu.id for gpu in self.gpus}
        probe = self._probe
        try:
            listed = await in_daemon_thread(probe.list if probe is not None else _list_once, "gpu-look")
        except DevicesUnavailable as err:
            log.warning("gpus_not_listed", reason=str(err))
        else:
            new = [gpu.label for gpu in listed if gpu.id not in known]
            if new:
                log.warning("gpus_appeared", gpus=new)
                self.outdated.set()
            else:
                log.warning("gpus_unknown", detail="the kubelet gives GPUs away that the driver does not list here")
        finally:
            self._looking = None


def _open() -> tuple[NvmlProbe, tuple[Device, ...]]:
    probe = NvmlProbe()
    return probe, probe.list()


def _list_once() -> tuple[Device, ...]:
    probe, devices = _open()
    probe.close()
    return devices


def _version() -> str:
    try:
        return version("stoker")
    except PackageNotFoundError:
        return ""


async def serve(settings: Environment, signals: Signals) -> int:
    """Until SIGTERM, or until new GPUs appeared."""
    config = load_config(settings.get(KubeSettings))
    async with KubeClient(config, user_agent="stoker-node") as kube:
        process = Process(kube, settings)
        drain_s = 0.0
        try:
            if await unless(signals.asked, process.start()):
                keep_what_start_up_made()
                drain_s = settings.get(KubernetesNodeSettings).drain_s
                log.info("serving", gpus=len(process.gpus))
                await unless(signals.asked, process.outdated.wait())
                log.info("draining", drain_s=drain_s)
        finally:
            # A second signal ends it at once.
            await unless(signals.insisted, process.stop(drain_s))
        return 1 if process.outdated.is_set() and not signals.asked.is_set() else 0


def main() -> int:
    """The process."""
    return run_process(os.environ, (KubeSettings, ClusterSettings, NodeSettings, KubernetesNodeSettings), serve)


if __name__ == "__main__":
    sys.exit(main())
