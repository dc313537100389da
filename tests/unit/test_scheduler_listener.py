"""The extender's HTTP side against what a kube-scheduler may send, and against what it may not."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from stoker.placement.view import NodeView, Pace, Wanted
from stoker_runtime.metrics import PrometheusSink
from stoker_scheduler import listener as module
from stoker_scheduler.charges import Charges
from stoker_scheduler.explanations import Explanations
from stoker_scheduler.extender import Extender
from stoker_scheduler.listener import Listener

pytestmark = pytest.mark.unit


class Nobody:
    """A ledger that knows no node, and that may be broken."""

    broken = False

    def node(self, name: str) -> NodeView | None:
        if self.broken:
            raise RuntimeError("a defect")
        return None

    def pace(self, wanted: Wanted, node: str) -> Pace:
        return Pace(start_us=1)

    def objective_us(self, function: str) -> int:
        return 0

    def cross_tenant(self) -> frozenset[str]:
        return frozenset()


class Served:
    def __init__(self) -> None:
        self.ledger = Nobody()
        self.listen()
        self.session: aiohttp.ClientSession

    def listen(self) -> None:
        extender = Extender(self.ledger, Charges(), Explanations(), PrometheusSink(), lambda: 1)
        self.listener = Listener(extender, PrometheusSink(), lambda: 1)

    async def post(self, verb: str, body: bytes) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{self.listener.port}/{verb}"
        async with self.session.post(url, data=body) as answer:
            content = await answer.read()
            return answer.status, msgspec.json.decode(content) if content[:1] in (b"{", b"[") else content


@pytest_asyncio.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.listener.start()
    async with aiohttp.ClientSession() as made.session:
        yield made
    await made.listener.stop()


FOREIGN = b'{"Pod":{"metadata":{"name":"x"}},"Nodes":null,"NodeNames":["a","b"],"Later":{"field":1}}'
GARBAGE = (b"", b"{", b"null", b"[]", b'{"Pod":3}', b'{"NodeNames":["a"]}', b"\xff\xfe", b'{"Pod":{},"NodeNames":[1]}')


async def test_a_pod_of_somebody_else_passes_and_is_not_scored(served: Served) -> None:
    status, answer = await served.post("filter", FOREIGN)
    assert (status, answer["NodeNames"]) == (200, ["a", "b"])
    status, scores = await served.post("prioritize", FOREIGN)
    assert (status, [each["Score"] for each in scores]) == (200, [0, 0])


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_an_error_that_the_scheduler_shows_and_no_verdict(served: Served, body: bytes) -> None:
    status, answer = await served.post("filter", body)
    assert status == 200
    assert answer["Error"]
    assert (await served.post("prioritize", body))[0] == 400


async def test_a_body_that_is_too_large_is_refused_and_the_next_one_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.listener.stop()
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1024)
    served.listen()
    await served.listener.start()
    assert (await served.post("filter", b"[" + b" " * 4096))[0] == 413
    assert (await served.post("filter", FOREIGN))[0] == 200


async def test_a_defect_is_a_500_and_not_a_verdict(served: Served) -> None:
    served.ledger.broken = True
    annotation = (
        '{"id":"t/f-0123456789-0","function":"t/f","functionUid":"u","variant":"gpu","revision":"r","ordinal":0}'
    )
    pod = {"metadata": {"name": "p", "namespace": "t", "uid": "p", "annotations": {"stoker.dev/replica": annotation}}}
    body = msgspec.json.encode({"Pod": pod, "NodeNames": ["a"]})
    assert (await served.post("filter", body))[0] == 500
    served.ledger.broken = False
    status, answer = await served.post("filter", body)
    assert (status, list(answer["FailedNodes"])) == (200, ["a"])


async def test_many_at_once_are_each_answered(served: Served) -> None:
    answers = await asyncio.gather(*(served.post("filter", FOREIGN) for _ in range(50)))
    assert {status for status, _ in answers} == {200}
