"""Which pods are peers, and that everybody who wants to know is told once per turn."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from stoker_runtime.peers import Peer, PeerPod, Peers, peer_of

pytestmark = pytest.mark.unit


def pod(name: str = "gateway-a", **changes: Any) -> PeerPod:
    manifest = {
        "metadata": {"name": name, "namespace": "stoker-system", "uid": name, "resourceVersion": "1"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "x"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    }
    for path, value in changes.items():
        section, _, field = path.partition("__")
        manifest[section][field] = value  # type: ignore[index]
    return msgspec.convert(manifest, PeerPod)


def test_a_running_pod_is_a_peer() -> None:
    assert peer_of(pod()) == Peer("gateway-a", "node-1", "10.0.0.1", True)


def test_a_pod_that_is_not_ready_is_a_peer_that_says_so() -> None:
    assert peer_of(pod(status__conditions=[{"type": "Ready", "status": "False"}])) == Peer(
        "gateway-a", "node-1", "10.0.0.1", False
    )
    assert peer_of(pod(status__conditions=None)) == Peer("gateway-a", "node-1", "10.0.0.1", False)


@pytest.mark.parametrize(
    "changes",
    [
        {"status__podIP": ""},
        {"status__phase": "Failed"},
        {"status__phase": "Succeeded"},
        {"metadata__deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_pod_without_an_address_or_a_future_is_none(changes: dict[str, Any]) -> None:
    assert peer_of(pod(**changes)) is None


def test_a_pod_that_ends_is_a_peer_to_those_who_ask_for_it_until_it_has_ended() -> None:
    going = pod(metadata__deletionTimestamp="2026-01-01T00:00:00Z")
    assert peer_of(going, ending=True) == Peer("gateway-a", "node-1", "10.0.0.1", True, ending=True)
    assert peer_of(pod(), ending=True) == Peer("gateway-a", "node-1", "10.0.0.1", True)
    gone = pod(metadata__deletionTimestamp="2026-01-01T00:00:00Z", status__phase="Succeeded")
    assert peer_of(gone, ending=True) is None


async def test_peers_that_end_are_kept_where_they_are_asked_for() -> None:
    told: list[Mapping[str, Peer]] = []
    peers = Peers(None, "stoker-system", "gateway", told.append, ending=True)  # type: ignore[arg-type]
    here, going = pod("a"), pod("a", metadata__deletionTimestamp="2026-01-01T00:00:00Z")
    peers._see(None, here)
    peers._see(here, going)
    await asyncio.sleep(0)
    assert told == [{"a": Peer("a", "node-1", "10.0.0.1", True, ending=True)}]
    peers._see(going, None)
    await asyncio.sleep(0)
    assert told[-1] == {}


async def test_changes_are_told_together_once_per_turn() -> None:
    told: list[Mapping[str, Peer]] = []
    peers = Peers(None, "stoker-system", "gateway", told.append)  # type: ignore[arg-type]  # never started
    first, second = pod("a"), pod("b")
    peers._see(None, first)
    peers._see(None, second)
    await asyncio.sleep(0)
    assert [set(mapping) for mapping in told] == [{"a", "b"}]

    peers._see(first, pod("a", metadata__resourceVersion="2"))
    await asyncio.sleep(0)
    assert len(told) == 1  # nothing of it matters to a peer

    moved = pod("a", status__podIP="10.0.0.9")
    peers._see(first, moved)
    peers._see(second, pod("b", metadata__deletionTimestamp="2026-01-01T00:00:00Z"))
    await asyncio.sleep(0)
    assert told[-1] == {"a": Peer("a", "node-1", "10.0.0.9", True)}
    peers._see(moved, None)
    await asyncio.sleep(0)
    assert told[-1] == {} == peers.current
