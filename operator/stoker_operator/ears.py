"""What the leader hears of agents and gateways, and the one thing that it tells an agent: to drain a replica.

Follows the pods of both components, keeps one stream to each, fills the boards and says when there is news. Decides
nothing.
"""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from stoker.wire.cluster import (
    COMPONENT_GATEWAY,
    COMPONENT_NODE,
    DEMAND_PATH,
    PORT_CONTROL,
    REPLICAS_PATH,
    ROLES,
    DemandFrame,
    ReplicaFrame,
)
from stoker_operator.agent_board import AgentBoard
from stoker_operator.agent_calls import AgentCalls, Drained
from stoker_operator.demand_board import DemandBoard
from stoker_operator.news import demand_news, replica_news
from stoker_operator.slo_board import SloBoard
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.peer_streams import PeerStreams
from stoker_runtime.peers import Peer, Peers

log = structlog.get_logger(__name__)


class Ears:
    """`await listen(...)` once the identity is loaded, `await stop()`."""

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        *,
        on_report: Callable[[], None],
        on_agent: Callable[[str], None],
        poke: Callable[[], None],
        clock_us: Callable[[], int],
        port: int = PORT_CONTROL,
    ) -> None:
        """`on_report` is called after every word of an agent, `on_agent` with the node of every agent that is there,
        `poke` when there is something that a plan should answer.
        """
        self.agents = AgentBoard()
        self.demand = DemandBoard()
        self.slo = SloBoard()
        self._on_report = on_report
        self._on_agent = on_agent
        self._poke = poke
        self._clock_us = clock_us
        self._port = port
        # Those that end still hold requests and finish what they run: what they say counts until they are gone.
        self._gateways = Peers(kube, namespace, COMPONENT_GATEWAY, self._on_gateways, ending=True)
        self._nodes = Peers(kube, namespace, COMPONENT_NODE, self._on_agents, ending=True)
        self._gateway_streams: PeerStreams[DemandFrame] | None = None
        self._agent_streams: PeerStreams[ReplicaFrame] | None = None
        self._calls: AgentCalls | None = None
        self._on_node: dict[str, list[Peer]] = {}
        self._all_spoken = asyncio.Event()

    async def listen(self, identity: Identity, first_word_s: float) -> None:
        """Dial everybody, and wait until all have spoken or for `first_word_s`: who waits and what runs must be known
        before anything is planned, or a new leader would end what is in use.
        """
        context = identity.client_context()
        node_name, gateway_name = ROLES[COMPONENT_NODE].dns_name, ROLES[COMPONENT_GATEWAY].dns_name
        self._calls = AgentCalls(context, node_name, port=self._port)
        self._agent_streams = PeerStreams(
            REPLICAS_PATH,
            ReplicaFrame,
            ssl=context,
            server_hostname=node_name,
            on_frame=self._on_replicas,
            on_lost=self._on_agent_lost,
            on_gone=self._on_agent_lost,
            port=self._port,
        )
        self._gateway_streams = PeerStreams(
            DEMAND_PATH,
            DemandFrame,
            ssl=context,
            server_hostname=gateway_name,
            on_frame=self._on_demand,
            on_lost=lambda peer: self.demand.lost(peer.pod),
            on_gone=self._on_gateway_gone,
            port=self._port,
        )
        for peers in (self._gateways, self._nodes):
            peers.start()
            await peers.synced.wait()
        self._on_gateways(self._gateways.current)
        self._on_agents(self._nodes.current)
        self._count_words()
        try:
            async with asyncio.timeout(first_word_s):
                await self._all_spoken.wait()
        except TimeoutError:
            log.warning("planning_without_all_words", after_s=first_word_s)

    def agents_heard(self) -> tuple[int, int]:
        """How many agents there are, and how many of them speak."""
        nodes = {peer.node for peer in self._nodes.current.values()}
        return len(nodes), sum(self.agents.is_speaking(node) for node in nodes)

    def has_agent(self, node: str) -> bool:
        """Whether an agent is there, speaking or not."""
        return node in self._on_node

    @property
    def problem(self) -> str:
        """Why it cannot be relied on who speaks here, in one sentence; empty when it can."""
        return self._gateways.unready() or self._nodes.unready() or ""

    async def ask_to_drain(self, node: str, pod_uid: str) -> Drained:
        """Ask the agent of a node once. Never raises."""
        return Drained.NO_ANSWER if self._calls is None else await self._calls.drain(node, pod_uid)

    async def stop(self) -> None:
        """Hang up on everybody."""
        for peers in (self._gateways, self._nodes):
            await peers.stop()
        for streams in (self._gateway_streams, self._agent_streams):
            if streams is not None:
                await streams.stop()
        if self._calls is not None:
            await self._calls.stop()

    def _on_gateways(self, peers: Mapping[str, Peer]) -> None:
        if self._gateway_streams is not None:
            self._gateway_streams.follow(peers)

    def _on_agents(self, peers: Mapping[str, Peer]) -> None:
        if self._agent_streams is None or self._calls is None:
            return
        self._agent_streams.follow(peers)
        self.agents.keep_only(peer.node for peer in peers.values())
        self._on_node = {}
        for peer in peers.values():
            self._on_node.setdefault(peer.node, []).append(peer)
        self._calls.set_agents({node: self._acting(node) for node in self._on_node})
        for peer in peers.values():
            self._on_agent(peer.node)
        self._poke()

    def _acting(self, node: str) -> str:
        """The address of the agent that is asked. Of two, as during an upgrade, the one that speaks acts."""

        def rank(peer: Peer) -> tuple[bool, bool, bool]:
            # Readiness is told late: one that was deleted a moment ago still seems to be ready.
            return self.agents.speaker(node) == peer.pod, peer.ready and not peer.ending, not peer.ending

        return max(self._on_node[node], key=rank).address

    def _see_who_acts(self, node: str) -> None:
        if self._calls is not None and node in self._on_node:
            self._calls.set_agent(node, self._acting(node))

    def _on_replicas(self, peer: Peer, frame: ReplicaFrame) -> None:
        before, spoke = self.agents.last(peer.node), self.agents.speaker(peer.node)
        self.agents.heard(peer.node, frame, self._clock_us(), peer.pod)
        if spoke != self.agents.speaker(peer.node):
            self._see_who_acts(peer.node)
        self._on_report()
        self._count_words()
        if replica_news(before, frame):
            self._poke()

    def _on_agent_lost(self, peer: Peer) -> None:
        self.agents.lost(peer.node, self._clock_us(), peer.pod)
        self._see_who_acts(peer.node)
        self._poke()

    def _on_gateway_gone(self, peer: Peer) -> None:
        self.demand.lost(peer.pod)
        self.slo.gone(peer.pod)

    def _on_demand(self, peer: Peer, frame: DemandFrame) -> None:
        before = self.demand.last(peer.pod)
        self.demand.heard(peer.pod, frame, self._clock_us())
        self.slo.heard(peer.pod, frame, self._clock_us())
        self._count_words()
        if demand_news(before, frame):
            self._poke()

    def _count_words(self) -> None:
        spoken = all(self.demand.knows(pod) for pod in self._gateways.current)
        if spoken and all(self.agents.knows(peer.node) for peer in self._nodes.current.values()):
            self._all_spoken.set()
