"""Who of Stoker's own pods the leader listens to, and which agent of a node it asks, while they come and go."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from stoker.model.function import Variant
from stoker.wire.cluster import DemandFrame, ReplicaFrame, VariantDemandReport
from stoker_operator.ears import Ears
from stoker_runtime.peers import Peer, PeerPod

pytestmark = pytest.mark.unit

GPU = Variant.GPU


class Streams:
    def __init__(self) -> None:
        self.followed: list[str] = []

    def follow(self, peers: Mapping[str, Peer]) -> None:
        self.followed = sorted(peers)


class Calls:
    def __init__(self) -> None:
        self.addresses: dict[str, str] = {}

    def set_agents(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses

    def set_agent(self, node: str, address: str) -> None:
        self.addresses[node] = address


class World:
    """Ears whose streams and calls are the test's."""

    def __init__(self) -> None:
        kube: Any = None  # nothing is watched
        self.pokes = 0
        self.ears = Ears(
            kube,
            "stoker-system",
            on_report=lambda: None,
            on_agent=lambda _: None,
            poke=self.poke,
            clock_us=lambda: 1_000_000,
        )
        self.gateways, self.agents, self.calls = Streams(), Streams(), Calls()
        given: Any = self.ears
        given._gateway_streams, given._agent_streams, given._calls = self.gateways, self.agents, self.calls

    def poke(self) -> None:
        self.pokes += 1

    def speaks(self, agent: Peer) -> None:
        self.ears._on_replicas(agent, ReplicaFrame(seq=1, node=agent.node))

    def falls_silent(self, agent: Peer) -> None:
        self.ears._on_agent_lost(agent)

    def there_are(self, *agents: Peer) -> None:
        self.ears._on_agents({agent.pod: agent for agent in agents})


def agent(pod: str, *, ready: bool = True, ending: bool = False, node: str = "n") -> Peer:
    return Peer(pod, node, f"address of {pod}", ready, ending)


@pytest.fixture
def world() -> World:
    return World()


async def test_pods_that_are_asked_to_end_are_listened_to_until_they_have(world: World) -> None:
    manifest = {
        "metadata": {"name": "x", "uid": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "podIP": "10.0.0.1"},
    }
    for peers in (world.ears._gateways, world.ears._nodes):
        peers._see(None, msgspec.convert(manifest, PeerPod))
        assert set(peers.current) == {"x"}


def test_what_a_gateway_holds_counts_until_it_is_gone(world: World) -> None:
    gateway = Peer("gw", "n", "10.0.0.1", False, ending=True)
    held = DemandFrame(seq=1, gateway="gw", functions={"team/f": {GPU: VariantDemandReport(held=2)}})
    world.ears._on_gateways({"gw": gateway})
    world.ears._on_demand(gateway, held)
    assert world.gateways.followed == ["gw"]
    assert world.ears.demand.demand()["team/f"][GPU].held == 2
    world.ears._on_gateway_gone(gateway)
    assert world.ears.demand.demand() == {}


def test_the_agent_that_speaks_is_asked_although_another_one_is_ready(world: World) -> None:
    old, new = agent("old", ready=False, ending=True), agent("new", ready=True)
    world.there_are(old, new)
    world.speaks(old)
    assert world.calls.addresses == {"n": "address of old"}
    world.there_are(old, new)
    assert world.calls.addresses == {"n": "address of old"}


def test_when_another_agent_begins_to_speak_it_is_asked_at_once(world: World) -> None:
    old, new = agent("old", ready=True), agent("new", ready=False)
    world.there_are(new, old)
    world.speaks(old)
    world.speaks(new)
    assert world.calls.addresses == {"n": "address of new"}


def test_an_agent_that_does_not_speak_is_there_all_the_same(world: World) -> None:
    world.there_are(agent("a", ready=False))
    assert world.ears.has_agent("n")
    world.there_are()
    assert not world.ears.has_agent("n")


def test_where_nobody_speaks_the_ready_one_is_asked_and_one_that_ends_last(world: World) -> None:
    for agents, asked in (
        ((agent("a", ready=False), agent("b")), "b"),
        ((agent("b"), agent("a", ready=False)), "b"),
        # Readiness is told late: one that was deleted a moment ago still seems to be ready.
        ((agent("a", ready=False), agent("b", ending=True)), "a"),
        ((agent("b", ending=True),), "b"),
    ):
        world.there_are(*agents)
        assert world.calls.addresses == {"n": f"address of {asked}"}


def test_when_the_one_that_spoke_falls_silent_the_ready_one_is_asked(world: World) -> None:
    old, new = agent("old", ready=False, ending=True), agent("new")
    world.there_are(old, new)
    world.speaks(old)
    world.falls_silent(old)
    assert world.calls.addresses == {"n": "address of new"}


def test_a_node_that_is_gone_stays_gone_whatever_its_agent_still_says(world: World) -> None:
    last = agent("last")
    world.there_are(last)
    world.speaks(last)
    world.ears.agents.gone("n")
    world.speaks(last)
    world.falls_silent(last)
    assert not world.ears.agents.knows("n")
    world.there_are()
    # One of that name that comes later is another node.
    world.there_are(agent("next"))
    world.speaks(agent("next"))
    assert world.ears.agents.is_speaking("n")


def test_an_agent_that_drains_is_not_silent_while_it_speaks(world: World) -> None:
    old, new = agent("old", ready=False, ending=True), agent("new", ready=False)
    world.there_are(old, new)
    world.speaks(old)
    world.falls_silent(new)
    assert world.ears.agents.is_speaking("n")
    world.there_are(new)
    world.falls_silent(old)
    world.speaks(new)
    assert world.ears.agents.is_speaking("n")
