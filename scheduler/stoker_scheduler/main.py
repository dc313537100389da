"""`python -m stoker_scheduler.main`: the extender beside a kube-scheduler, composed and run until SIGTERM.

The only module here that chooses parts. Everything else is told what it needs.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import structlog
from msgspec import Meta, Struct

from stoker.metrics import AGENTS_CONNECTED, AGENTS_KNOWN, CHARGES
from stoker.wire.cluster import (
    COMPONENT_NODE,
    COMPONENT_SCHEDULER,
    L_ROLE,
    PORT_DATA,
    PORT_EXTENDER,
    PORT_INTERNAL,
    ROLE_REPLICA,
)
from stoker_runtime.applied_policy import AppliedPolicy
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.event_loop import Signals, keep_what_start_up_made, unless
from stoker_runtime.identity import Identity
from stoker_runtime.internal import Internal
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeSettings, load_config
from stoker_runtime.kube.watch import Cache
from stoker_runtime.kube_metrics import KubeMetrics
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.own_kinds import FUNCTION_NODES, POLICIES, Applied, FunctionNode
from stoker_runtime.peers import Peer, Peers
from stoker_runtime.process import Environment, clock_us, run_process
from stoker_runtime.settings import ProcessSettings
from stoker_scheduler.bound_pods import BoundPods
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import Explanations
from stoker_scheduler.extender import Extender
from stoker_scheduler.kinds import FUNCTIONS, PODS, GpuFunction
from stoker_scheduler.ledger import ClusterLedger
from stoker_scheduler.listener import HOST, Listener
from stoker_scheduler.load_board import LoadBoard
from stoker_scheduler.load_streams import LoadStreams

log = structlog.get_logger(__name__)


FIRST_WORDS_S = 3.0


class SchedulerSettings(Struct, frozen=True, kw_only=True):
    """What the extender reads besides the settings of every process."""

    extender_port: Annotated[int, Meta(ge=0, le=65535)] = PORT_EXTENDER
    internal_port: Annotated[int, Meta(ge=0, le=65535)] = PORT_INTERNAL
    agent_port: Annotated[int, Meta(ge=1, le=65535)] = PORT_DATA
    """Data port of the agents."""
    explanations_kept: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    """Newest pods whose placement can be explained; a few KiB each in a large cluster."""


class Platform:
    """The parts of one extender, wired."""

    def __init__(
        self, kube: KubeClient, settings: SchedulerSettings, process: ProcessSettings, place: ClusterSettings
    ) -> None:
        namespace = place.namespace or kube.namespace
        self.sink = PrometheusSink(max_series=process.max_series)
        self.loads = LoadBoard()
        self.ledger = ClusterLedger(self.loads)
        self.charges = Charges()
        self.explanations = Explanations(settings.explanations_kept)
        self.extender = Extender(self.ledger, self.charges, self.explanations, self.sink, clock_us)
        self.listener = Listener(self.extender, self.sink, clock_us)
        self.identity = Identity(kube, namespace, COMPONENT_SCHEDULER)
        bound = BoundPods(self.ledger.set_pod, self.charges.settle)
        self.pods = Cache(kube, PODS, label_selector=f"{L_ROLE}={ROLE_REPLICA}")
        self.pods.on_change(bound.see)
        self.functions = Cache(kube, FUNCTIONS)
        self.functions.on_change(self._on_function)
        self._policy = AppliedPolicy()
        self.policies = Cache(kube, POLICIES)
        self.policies.on_change(self._on_policy)
        self.function_nodes = Cache(kube, FUNCTION_NODES)
        self.function_nodes.on_change(self._on_node)
        self.peers = Peers(kube, namespace, COMPONENT_NODE, self._on_peers)
        self.caches: tuple[Cache[Any], ...] = (self.pods, self.functions, self.policies, self.function_nodes)
        self.internal = Internal(
            metrics=self.sink.text,
            unready=self.unready,
            routes={
                "/v1/explain/{namespace}/{pod}": lambda path: self.explanations.get(
                    f"{path['namespace']}/{path['pod']}"
                )
            },
            refresh=self._refresh,
        )
        self._figures = KubeMetrics(self.sink, COMPONENT_SCHEDULER)
        for cache in self.caches:
            self._figures.add_cache(cache.resource.plural, cache)
        self._settings = settings
        self._streams: LoadStreams | None = None

    async def start(self) -> bool:
        """Everything, in an order in which nothing is asked that cannot be answered."""
        await self.internal.start("0.0.0.0", self._settings.internal_port)  # noqa: S104  a pod's own network
        for cache in self.caches:
            cache.start()
        await self.identity.load()
        self._streams = LoadStreams(
            self.loads, self.ledger.load_changed, self.identity.client_context(), port=self._settings.agent_port
        )
        self.peers.start()
        await asyncio.gather(*(cache.synced.wait() for cache in self.caches), self.peers.synced.wait())
        self._streams.follow(self.peers.current)
        await self._streams.first_words(FIRST_WORDS_S)
        await self.listener.start(HOST, self._settings.extender_port)
        return True

    async def stop(self) -> None:
        """In the reverse order. kube-scheduler, whose extender is away, waits or goes on without, as it was told."""
        await self.listener.stop()
        await self.peers.stop()
        if self._streams is not None:
            await self._streams.stop()
        for cache in self.caches:
            await cache.stop()
        await self.identity.stop()
        await self.internal.stop()

    def unready(self) -> str | None:
        """Why nothing should be placed by this extender now, in one sentence."""
        for cache in self.caches:
            if (problem := cache.unready()) is not None:
                return problem
        if problem := self.peers.unready() or self.identity.problem:
            return problem
        return None if self.listener.port else "The extender does not listen yet."

    def _refresh(self) -> None:
        """What a scrape shows is as of now."""
        self._figures.refresh()
        self.charges.expire(clock_us())
        self.sink.set(CHARGES, len(self.charges))
        self.sink.set(AGENTS_KNOWN, 0 if self._streams is None else len(self._streams), COMPONENT_SCHEDULER)
        self.sink.set(AGENTS_CONNECTED, self.loads.heard_of(), COMPONENT_SCHEDULER)

    def _on_function(self, before: GpuFunction | None, after: GpuFunction | None) -> None:
        meta = (after or before).metadata  # type: ignore[union-attr]  # one of the two is given
        latency = None if after is None else after.spec.slo.latency
        self.ledger.set_objective(meta.key, latency)

    def _on_policy(self, _: Applied | None, after: Applied | None) -> None:
        if self._policy.put(after):
            self.ledger.set_policy(self._policy.current)

    def _on_node(self, before: FunctionNode | None, after: FunctionNode | None) -> None:
        name = (after or before).metadata.name  # type: ignore[union-attr]  # one of the two is given
        document = None if after is None else {"status": after.status}
        self.ledger.set_node(name, document)

    def _on_peers(self, peers: Mapping[str, Peer]) -> None:
        if self._streams is not None:
            self._streams.follow(peers)


async def serve(settings: Environment, signals: Signals) -> int:
    """Until SIGTERM."""
    config = load_config(settings.get(KubeSettings))
    async with KubeClient(config, user_agent="stoker-scheduler") as kube:
        platform = Platform(
            kube, settings.get(SchedulerSettings), settings.get(ProcessSettings), settings.get(ClusterSettings)
        )
        try:
            if await unless(signals.asked, platform.start()):
                keep_what_start_up_made()
                log.info("serving", port=platform.listener.port)
                await signals.asked.wait()
        finally:
            await platform.stop()
    return 0


def main() -> int:
    """The process."""
    return run_process(os.environ, (KubeSettings, ClusterSettings, SchedulerSettings), serve)


if __name__ == "__main__":
    sys.exit(main())
