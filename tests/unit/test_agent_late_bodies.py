"""What an agent promises of requests whose bodies take a while: nothing before they are here, and nothing of others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, function

from stoker.model.function import OnMiss, Sharing, Variant

pytestmark = pytest.mark.unit

SIZE = 2_000


@pytest.fixture
async def agent() -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest().start()
    under_test.apply(
        function("slow", on_predicted_miss=(OnMiss.REFUSE,)), function("quick", on_predicted_miss=(OnMiss.REFUSE,))
    )
    yield under_test
    await under_test.close()


async def share(agent: AgentUnderTest, gate: Gate) -> None:
    """Both functions live on one slot, and take two seconds."""
    server = FakeReplica(gate)
    for name in ("slow", "quick"):
        await agent.warm(name, server=server, sharing=Sharing.SHARED)
        for _ in range(70):
            agent.agent.prediction().observe_exec(f"ns/{name}", Variant.GPU, "A100-40GB", 2_000_000)
            agent.agent.prediction().observe_finish(f"ns/{name}", 99.0, 2_000_000, 2_000_000)


@pytest.mark.parametrize("by", ["a grant", "its head"])
async def test_a_body_that_comes_late_does_not_push_what_was_promised_meanwhile_behind_itself(
    agent: AgentUnderTest, by: str
) -> None:
    gate = Gate()
    await share(agent, gate)
    asked: dict[str, Any] = {"name": "slow", "objective_ms": 5_600, "late_ok": False, "request_id": "slow"}
    head = agent.head("/slow", extra={"content-length": str(SIZE)}, **asked)
    if by == "a grant":
        status, connection = await agent.admit(**asked)
        assert status == 200
    else:
        connection = await agent.pool.connect()
        connection.start(head, b"x")
        await agent.until(lambda: bool(agent.agent._table.flows["ns/slow"].promised_us))
    running = await agent.send("/running", name="quick", objective_ms=7_800, late_ok=False)
    await running.dispatched()
    # Fits behind what runs; with the slow one before it, it would not.
    promised = await agent.send("/promised", name="quick", objective_ms=5_800, late_ok=False)
    await agent.until(lambda: agent.queued("quick") == 1)
    if by == "a grant":
        connection.start(head, b"x" * SIZE)
    else:
        await connection.send(b"x" * (SIZE - 1))
    await agent.until(lambda: agent.queued("slow") == 1)
    gate.let(3)
    assert (await running.final()).status == 200
    answer = await promised.final()
    assert (answer.status, "stoker-promised" in answer.headers) == (200, True)
    while (end := await connection.head()).status < 200:
        pass
    assert end.status == 200, "it was taken"
    assert end.get(b"stoker-promised") is None
    assert gate.waiting == ["/running", "/promised", "/slow"]
