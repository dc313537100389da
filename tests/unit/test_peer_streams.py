"""Streams to peers that come and go: what is still on the way of one that was hung up is not listened to."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from stoker_runtime import peer_streams
from stoker_runtime.peer_streams import PeerStreams
from stoker_runtime.peers import Peer

pytestmark = pytest.mark.unit


class Frame(Struct):
    seq: int


class Line:
    """A stream that says what the test wants, also after it was asked to stop."""

    made: ClassVar[dict[str, "Line"]] = {}

    def __init__(
        self, host: str, *_: object, on_line: Callable[[bytes], None], on_lost: Callable[[], None], **__: object
    ) -> None:
        self.on_line, self.on_lost = on_line, on_lost
        self.made[host] = self

    def start(self) -> None:
        pass

    async def stop(self) -> None:
        await asyncio.sleep(0)


def peer(address: str, *, ready: bool = True) -> Peer:
    return Peer("gw", "n", address, ready)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(peer_streams, "LineStream", Line)
        Line.made.clear()
        self.told: list[Any] = []
        self.streams: PeerStreams[Frame] = PeerStreams(
            "/x",
            Frame,
            ssl=None,  # type: ignore[arg-type]  # nobody is dialled
            server_hostname="x",
            on_frame=lambda who, frame: self.told.append((who.address, frame.seq)),
            on_lost=lambda who: self.told.append(("lost", who.address)),
            on_gone=lambda who: self.told.append(("gone", who.address)),
            port=1,
        )


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


async def test_a_line_of_a_stream_that_was_hung_up_is_not_heard(world: World) -> None:
    world.streams.follow({"gw": peer("10.0.0.1")})
    line = Line.made["10.0.0.1"]
    line.on_line(b'{"seq":1}')
    world.streams.follow({})
    line.on_line(b'{"seq":2}')
    line.on_lost()
    assert world.told == [("10.0.0.1", 1), ("gone", "10.0.0.1")]
    await world.streams.stop()


async def test_a_peer_at_a_new_address_is_another_one_and_the_old_stream_is_not_heard(world: World) -> None:
    world.streams.follow({"gw": peer("10.0.0.1")})
    world.streams.follow({"gw": peer("10.0.0.2")})
    Line.made["10.0.0.1"].on_line(b'{"seq":1}')
    Line.made["10.0.0.2"].on_line(b'{"seq":2}')
    Line.made["10.0.0.2"].on_lost()
    assert world.told == [("gone", "10.0.0.1"), ("10.0.0.2", 2), ("lost", "10.0.0.2")]
    await world.streams.stop()


async def test_a_peer_that_only_changes_its_state_keeps_its_stream(world: World) -> None:
    world.streams.follow({"gw": peer("10.0.0.1")})
    world.streams.follow({"gw": peer("10.0.0.1", ready=False)})
    Line.made["10.0.0.1"].on_line(b'{"seq":1}')
    assert world.told == [("10.0.0.1", 1)]
    await world.streams.stop()
