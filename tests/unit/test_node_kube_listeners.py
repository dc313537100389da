"""The node agent's ports on Kubernetes: grants to init containers, the operator's stream and drains."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import msgspec
import pytest

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.wire.cluster import DrainAnswer, ReplicaFrame, ReplicaReport
from stoker_node.kubernetes.control import Control, Told
from stoker_node.kubernetes.grants import GrantListener, Grants

pytestmark = pytest.mark.unit

Listen = Callable[..., Awaitable[GrantListener]]


@pytest.fixture
def grants() -> Grants:
    return Grants()


@pytest.fixture
async def listen(grants: Grants) -> AsyncIterator[Listen]:
    listeners: list[GrantListener] = []

    async def start(**options: Any) -> GrantListener:
        listener = GrantListener(grants, **({"wait_s": 5.0} | options))
        await listener.start("127.0.0.1", 0)
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        await listener.stop()


async def ask(listener: GrantListener, request: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request.encode("latin-1"))
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.transport.abort()


def get(target: str) -> str:
    return f"GET {target} HTTP/1.1\r\nhost: agent\r\n\r\n"


async def waiting(grants: Grants, count: int) -> None:
    async with asyncio.timeout(5):
        while grants.waiting != count:
            await asyncio.sleep(0.002)


async def test_a_pod_that_is_granted_goes_on_at_once(grants: Grants, listen: Listen) -> None:
    grants.grant("a")
    answer = await ask(await listen(), get("/v1/grant?pod=a"))
    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_pod_that_nobody_knows_yet_waits_until_it_is_granted(grants: Grants, listen: Listen) -> None:
    listener = await listen()
    asking = asyncio.ensure_future(ask(listener, get("/v1/grant?pod=a")))
    await waiting(grants, 1)
    grants.grant("b")
    await asyncio.sleep(0.01)
    assert not asking.done()
    grants.grant("a")
    assert (await asking).startswith(b"HTTP/1.1 200 ")
    assert grants.waiting == 0


async def test_the_wait_ends_with_not_yet(grants: Grants, listen: Listen) -> None:
    answer = await ask(await listen(wait_s=0.02), get("/v1/grant?pod=a"))
    assert answer.startswith(b"HTTP/1.1 204 ")
    grants.grant("a")
    grants.forget("a")
    assert (await ask(await listen(wait_s=0.02), get("/v1/grant?pod=a"))).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (get("/"), 404),
        (get("/v1/grant"), 404),
        (get("/v1/grant?pod=a&pod=b"), 404),
        (get("/v1/replicas?pod=a"), 404),
        (get("/v1/grant?pod=a").replace("GET", "POST"), 404),
        ("nonsense\r\n\r\n", 400),
        ("GET /v1/grant?pod=a SPDY/3\r\n\r\n", 400),
        (get("/v1/grant?" + "&".join(f"x{n}=1" for n in range(9))), 400),
        (get("/v1/grant?pod=\xff"), 400),
    ],
)
async def test_nothing_else_is_answered_there(listen: Listen, request_text: str, status: int) -> None:
    assert (await ask(await listen(), request_text)).startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_head_without_an_end_is_cut_off(listen: Listen) -> None:
    assert await ask(await listen(), "GET /" + "x" * 20000) == b""


async def test_one_address_cannot_take_all_the_connections(grants: Grants, listen: Listen) -> None:
    listener = await listen(max_per_address=2)
    asking = [asyncio.ensure_future(ask(listener, get("/v1/grant?pod=a"))) for _ in range(2)]
    await waiting(grants, 2)
    assert await ask(listener, get("/v1/grant?pod=a")) == b""
    grants.grant("a")
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in await asyncio.gather(*asking))
    assert (await ask(listener, get("/v1/grant?pod=a"))).startswith(b"HTTP/1.1 200 ")


async def test_a_pod_that_hangs_up_waits_no_more(grants: Grants, listen: Listen) -> None:
    listener = await listen()
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(get("/v1/grant?pod=a").encode())
    await waiting(grants, 1)
    writer.close()
    await waiting(grants, 0)


async def test_a_stop_hangs_up_on_all_who_wait(grants: Grants, listen: Listen) -> None:
    listener = await listen()
    asking = asyncio.ensure_future(ask(listener, get("/v1/grant?pod=a")))
    await waiting(grants, 1)
    await listener.stop()
    assert await asking == b""


class Operator:
    """The operator's end, and what the agent would tell it."""

    def __init__(self) -> None:
        self.replicas: tuple[ReplicaReport, ...] = ()
        self.in_flight: dict[str, int] = {}
        self.waited: list[float] = []
        told = Told(
            node="n",
            accepting=lambda: True,
            replicas=lambda: self.replicas,
            queued=lambda: {"ns/f": {Variant.GPU: 2}},
            start_ms=lambda: {"ns/f": {Variant.GPU: 300}},
            profiles=dict,
        )
        self.control = Control(told, self.drain, drain_wait_s=0.5)

    async def drain(self, uid: str, wait_s: float) -> int | None:
        self.waited.append(wait_s)
        return self.in_flight.get(uid)


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    operator = Operator()
    await operator.control.start("127.0.0.1", 0, None)
    yield operator
    await operator.control.stop()


async def test_the_operator_gets_whole_frames_at_once_and_after_changes(operator: Operator) -> None:
    url = f"http://127.0.0.1:{operator.control.port}/v1/replicas"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        first = msgspec.json.decode(await response.content.readline(), type=ReplicaFrame)
        assert (first.node, first.accepting, first.replicas) == ("n", True, ())
        assert first.queued == {"ns/f": {Variant.GPU: 2}}
        assert first.start_ms == {"ns/f": {Variant.GPU: 300}}
        operator.replicas = (ReplicaReport(id="r", pod_uid="u", state=ReplicaState.WARM),)
        operator.control.changed()
        second = msgspec.json.decode(await response.content.readline(), type=ReplicaFrame)
        assert [one.pod_uid for one in second.replicas] == ["u"]
        assert second.seq > first.seq


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        (b'{"podUid": "idle"}', 200, DrainAnswer(drained=True)),
        (b'{"podUid": "busy"}', 200, DrainAnswer(drained=False, in_flight=3)),
        (b'{"podUid": "stranger"}', 404, None),
        (b"{}", 400, None),
        (b"\xff", 400, None),
    ],
)
async def test_a_drain_is_answered_with_what_is_still_in_flight(
    operator: Operator, body: bytes, status: int, answer: DrainAnswer | None
) -> None:
    operator.in_flight = {"idle": 0, "busy": 3}
    url = f"http://127.0.0.1:{operator.control.port}/v1/drain"
    async with aiohttp.ClientSession() as session, session.post(url, data=body) as response:
        assert response.status == status
        if answer is not None:
            assert msgspec.json.decode(await response.read(), type=DrainAnswer) == answer
