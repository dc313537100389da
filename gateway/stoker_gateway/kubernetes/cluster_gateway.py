"""The gateway in a cluster, wired and ordered: what it knows comes from watches, what it wants goes to the operator.

Whatever was known keeps serving when the API server is away: only what is new, and callers that have to be proved, need
it. Knows how the parts are started, fed and ended, and nothing of the process around it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from msgspec import Struct

from stoker.errors import StokerError
from stoker.metrics import AGENTS_CONNECTED, AGENTS_KNOWN, DEMAND_READERS
from stoker.model.function import Function
from stoker.wire.cluster import COMPONENT_GATEWAY, COMPONENT_NODE, COMPONENT_OPERATOR, PORT_DATA, ROLES
from stoker_gateway.config import AgentAddress, GatewaySettings
from stoker_gateway.gateway import Gateway
from stoker_gateway.kubernetes.api_tokens import asking
from stoker_gateway.kubernetes.control import Control
from stoker_gateway.kubernetes.cost_bounds import bounds_of
from stoker_gateway.kubernetes.demand_frame import demand_frame
from stoker_gateway.kubernetes.device_book import DeviceBook
from stoker_gateway.kubernetes.function_book import FunctionBook, why_waiting
from stoker_gateway.kubernetes.hosts import own_hosts
from stoker_gateway.kubernetes.objects import FUNCTIONS
from stoker_gateway.kubernetes.settings import ClusterGatewaySettings
from stoker_gateway.kubernetes.ticket_keys import TicketKeyReader
from stoker_gateway.kubernetes.token_reviews import TokenReviews
from stoker_gateway.record_ring import RecordRing
from stoker_runtime.background import Background
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.internal import Internal
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.watch import Cache
from stoker_runtime.kube_metrics import KubeMetrics
from stoker_runtime.metrics import PrometheusSink
from stoker_runtime.own_kinds import FUNCTION_NODES, POLICIES
from stoker_runtime.peers import Peer, Peers
from stoker_runtime.process import wall_us
from stoker_runtime.settings import ProcessSettings

APPLY_PAUSE_S = 0.05
"""Changes of so long are taken over together: five hundred functions applied at once are a few changes."""
SWEEP_S = 5.0
KIND_PATIENCE_S = 10.0
"""A new kind takes the API server seconds to serve."""

log = structlog.get_logger(__name__)


class KindMissing(StokerError):  # noqa: N818  the name states the fact
    """A CRD of Stoker is not installed."""


class _Source(Protocol):
    """Something that is kept current by a watch."""

    @property
    def synced(self) -> asyncio.Event: ...
    def unready(self) -> str | None: ...


class Parts(Struct, frozen=True, kw_only=True):
    """The settings of the parts."""

    process: ProcessSettings
    place: ClusterSettings
    cluster: ClusterGatewaySettings
    gateway: GatewaySettings


class ClusterGateway:
    """Built, started once, drained, stopped once. stop() ends what start() began, also after one that failed."""

    def __init__(
        self, kube: KubeClient, settings: Parts, clock_us: Callable[[], int], *, data_port: int = PORT_DATA
    ) -> None:
        place = settings.place
        namespace = place.namespace or kube.namespace
        self._settings = settings
        self._clock_us = clock_us
        self._data_port = data_port
        self._host = "::" if ":" in place.pod_ip else "0.0.0.0"  # noqa: S104  a pod's own network
        self._begun_us = clock_us()
        self._serving = self._ending = False
        self._functions: dict[str, Function] = {}
        self._deleted: set[str] = set()
        self._applying: asyncio.TimerHandle | None = None
        self._sweeper = Background("sweep")
        self.sink = PrometheusSink(max_series=settings.process.max_series)
        self.records = RecordRing(settings.cluster.records_kept)
        self.reviews = TokenReviews(asking(kube), time.time, self.sink)
        self.gateway = Gateway(
            clock_us=clock_us,
            metrics=self.sink,
            settings=settings.gateway,
            on_record=self.records.add,
            why_waiting=self._why_waiting,
            prover=self.reviews,
            by_path=own_hosts(namespace, settings.gateway.cluster_domain, settings.cluster.path_hosts),
        )
        self.control = Control(
            lambda seq: demand_frame(seq, place.pod, self.gateway.demand(), self.gateway.attained(), clock_us())
        )
        self.gateway.on_demand(self.control.woken, self.control.loaded)
        self.book = FunctionBook(self._changed)
        self.devices = DeviceBook(self._changed)
        self.functions = Cache(kube, FUNCTIONS)
        self.functions.on_change(self.book.see_function)
        self.policies = Cache(kube, POLICIES)
        self.policies.on_change(self.book.see_policy)
        self.nodes = Cache(kube, FUNCTION_NODES)
        self.nodes.on_change(self.devices.see_node)
        self._caches: tuple[Cache[Any], ...] = (self.functions, self.policies, self.nodes)
        self.agents = Peers(kube, namespace, COMPONENT_NODE, self._on_agents)
        self.gateways = Peers(kube, namespace, COMPONENT_GATEWAY, self._on_gateways)
        self._sources: tuple[_Source, ...] = (*self._caches, self.agents, self.gateways)
        self.identity = Identity(kube, namespace, COMPONENT_GATEWAY)
        self.ticket_keys = TicketKeyReader(kube, namespace, self.gateway.set_ticket_keys)
        self.internal = Internal(
            metrics=self.sink.text,
            unready=self.unready,
            routes={"/v1/requests/{id}": lambda path: self.records.get(path["id"])},
            refresh=self._refresh,
        )
        self._figures = KubeMetrics(self.sink, COMPONENT_GATEWAY)
        for cache in self._caches:
            self._figures.add_cache(cache.resource.plural, cache)

    async def start(self) -> bool:
        """Listen once everything is known that an answer may rest on. Raises KindMissing, and OSError for an address
        that cannot be had.
        """
        cluster = self._settings.cluster
        await self.internal.start(self._host, cluster.internal_port)
        for cache in self._caches:
            cache.start()
        self.agents.start()
        self.gateways.start()
        await self._synced()
        await self.identity.load()
        self.ticket_keys.start()
        self._apply()
        await self.gateway.start(
            self._host,
            cluster.public_port,
            self._addresses(self.agents.current),
            agent_ssl=self.identity.client_context(),
            agent_name=ROLES[COMPONENT_NODE].dns_name,
        )
        self._begun_us = self._clock_us()
        self._serving = True
        # What changed while the listener was opened.
        self.gateway.set_agents(self._addresses(self.agents.current))
        self._changed()
        await self.control.start(self._host, cluster.control_port, self.identity.server_context({COMPONENT_OPERATOR}))
        self._sweeper.start(self._sweep_forever)
        return True

    async def drain(self) -> bool:
        """Be sent nobody any more, then finish what was accepted; to the end the operator hears of those who wait."""
        self._ending = True
        cluster = self._settings.cluster
        log.info("draining", endpoints_grace_s=cluster.endpoints_grace_s, drain_s=cluster.drain_s)
        await asyncio.sleep(cluster.endpoints_grace_s)
        await self.gateway.stop(drain_s=cluster.drain_s)
        self._serving = False
        return True

    async def stop(self) -> None:
        """End at once what is left."""
        self._ending = True
        if self._serving:
            self._serving = False
            await self.gateway.stop(drain_s=0)
        if self._applying is not None:
            self._applying.cancel()
        await self._sweeper.stop()
        await self.control.stop()
        await self.reviews.stop()
        await asyncio.gather(self.agents.stop(), self.gateways.stop(), *(cache.stop() for cache in self._caches))
        await self.identity.stop()
        await self.ticket_keys.stop()
        await self.internal.stop()

    def unready(self) -> str | None:
        """Why no request should be sent here now, in one sentence; None when all is well.

        An API server or agents that are lost later make it no less ready: the other gateways lost them too.
        """
        if self._ending:
            return "The gateway is shutting down: it finishes what it accepted."
        if not self._serving:
            for source in self._sources:
                if (problem := source.unready()) is not None:
                    return problem
            return self.identity.problem or "The gateway does not listen yet."
        patience_us = self._settings.gateway.control_plane_grace_s * 1_000_000
        if not self.gateway.settled and self._clock_us() - self._begun_us < patience_us:
            return "The gateway has not heard of every agent yet."
        return None

    def _refresh(self) -> None:
        """What a scrape shows is as of now."""
        self._figures.refresh()
        known, connected = self.gateway.agents
        self.sink.set(AGENTS_KNOWN, known, COMPONENT_GATEWAY)
        self.sink.set(AGENTS_CONNECTED, connected, COMPONENT_GATEWAY)
        self.sink.set(DEMAND_READERS, self.control.readers)

    async def _synced(self) -> None:
        begin_us = self._clock_us()
        while not all(source.synced.is_set() for source in self._sources):
            for cache in self._caches:
                if cache.stats().kind_missing and self._clock_us() - begin_us > KIND_PATIENCE_S * 1_000_000:
                    raise KindMissing(cache.unready() or "A CRD is missing.")
            await asyncio.sleep(0.05)

    def _changed(self) -> None:
        if self._serving and self._applying is None:
            self._applying = asyncio.get_running_loop().call_later(APPLY_PAUSE_S, self._apply)

    def _apply(self) -> None:
        """The policy and the functions as they are now act, all in one turn of the loop."""
        self._applying = None
        self.gateway.set_policy(self.book.policy)
        before, self._functions = self._functions, dict(self.book.functions)
        self.gateway.set_unplaceable(self.devices.unplaceable(self._functions.values()))
        now_us, at_us = self._clock_us(), wall_us()
        said = {key: bounds_of(refused, now_us, at_us) for key, refused in self.book.refused.items()}
        self.gateway.set_bounds({key: bounds for key, bounds in said.items() if bounds})
        self.gateway.set_functions(self._functions, self.book.hostnames())
        added, removed = self._functions.keys() - before.keys(), before.keys() - self._functions.keys()
        self._deleted = (self._deleted | removed) - added
        if added or removed:
            log.info(
                "functions_changed", functions=len(self._functions), added=len(added), removed=sorted(removed)[:20]
            )

    def _on_agents(self, peers: Mapping[str, Peer]) -> None:
        if self._serving:
            self.gateway.set_agents(self._addresses(peers))

    def _on_gateways(self, peers: Mapping[str, Peer]) -> None:
        ready = {peer.pod for peer in peers.values() if peer.ready}
        self.gateway.set_gateways(len(ready | {self._settings.place.pod}))

    def _addresses(self, peers: Mapping[str, Peer]) -> list[AgentAddress]:
        return [AgentAddress(peer.address, self._data_port) for peer in peers.values()]

    def _why_waiting(self, key: str) -> str:
        namespace, _, name = key.partition("/")
        return why_waiting(self.functions.get(namespace, name))

    async def _sweep_forever(self) -> None:
        """Drop the series of deleted functions once their last request is gone."""
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                for key in self._deleted - set(self.gateway.live):
                    namespace, _, name = key.partition("/")
                    self.sink.forget_function(namespace, name)
                    self._deleted.discard(key)
            except Exception:
                # A mistake of ours must not end the sweeping: series of deleted functions would pile up unseen.
                log.exception("sweep_failed")
