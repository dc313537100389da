"""What an agent charges: by phase from reservation to the end, to the request that ran; and what its operator hears."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, function, gpu
from gateway_fake_agent import CountingSink
from msgspec.structs import replace

from stoker.cost.meter import Account
from stoker.metrics import COST
from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import CostBounds, Sharing, Variant
from stoker.model.policy import default_policy
from stoker.model.replica import ReplicaSpec
from stoker_node.kubernetes.node_costs import NodeCosts

pytestmark = pytest.mark.unit

MS, S = 1_000, 1_000_000
PAIR = ("ns/f", Variant.GPU)
POLICY = replace(default_policy(), prices={"A100": 3.6})
"""One micro-unit each millisecond."""


class Clock:
    """Stands still unless it is told to go on."""

    now_us = 1000 * S

    def __call__(self) -> int:
        return self.now_us

    def go(self, us: int) -> None:
        self.now_us += us


@pytest.fixture
def clock() -> Iterator[Clock]:
    return Clock()  # type: ignore[return-value]


@pytest.fixture
async def agent(clock: Clock) -> AsyncIterator[AgentUnderTest]:
    under_test = await AgentUnderTest(gpu(slots=2), metrics=CountingSink(), clock_us=clock).start()
    under_test.agent.metering.set_prices({"sim-0": 3_600_000})
    under_test.apply(function())
    yield under_test
    await under_test.close()


def account(agent: AgentUnderTest) -> Account:
    return agent.agent.metering.accounts()[PAIR]


async def test_starting_idle_and_busy_time_are_told_apart_and_the_request_is_told_its_part(
    agent: AgentUnderTest, clock: Clock
) -> None:
    gate = Gate()
    server = FakeReplica(gate)
    agent.servers.append(server)
    await server.start()
    replica = agent.reserve()
    clock.go(40 * MS)
    agent.agent.attach(replica, "127.0.0.1", server.port, function().spec.container.readiness)
    await agent.until(lambda: agent.status(replica).ready_us is not None)
    clock.go(30 * MS)
    sent = await agent.send("/")
    await sent.dispatched()
    clock.go(20 * MS)
    gate.let()
    final = await sent.final()
    clock.go(5 * MS)
    assert final.headers["stoker-cost-micro"] == "20"
    await agent.until(lambda: agent.status(replica).in_flight == 0)
    assert account(agent) == Account(starting=40, idle=35, busy=20, runs=1)
    agent.agent.detach(replica)
    clock.go(100 * MS)
    assert account(agent).total == 95
    assert agent.agent.metering.unallocated() == 100
    agent.agent.metering.export()
    sink: Any = agent.agent._sink
    assert [sink.values[COST.name, "ns", "f", phase] for phase in ("starting", "idle", "busy")] == [40, 35, 20]


async def test_two_on_a_shared_device_pay_for_their_slots_while_they_run_and_for_memory_before(
    agent: AgentUnderTest, clock: Clock
) -> None:
    agent.apply(function("g"))
    gate = Gate()
    for name in ("f", "g"):
        await agent.warm(name, FakeReplica(gate), sharing=Sharing.SHARED, memory_mib=4096)
    clock.go(100 * MS)
    assert account(agent).idle == 10
    sent = await agent.send("/", name="f")
    await sent.dispatched()
    clock.go(100 * MS)
    gate.let()
    assert (await sent.final()).headers["stoker-cost-micro"] == "50"
    other = agent.agent.metering.accounts()["ns/g", Variant.GPU]
    assert (other.idle, other.busy) == (20, 0)
    assert agent.agent.metering.unallocated() == 200 - 60 - 20


async def test_without_a_price_no_answer_speaks_of_cost(agent: AgentUnderTest, clock: Clock) -> None:
    agent.agent.metering.set_prices({})
    await agent.warm()
    final = await agent.call()
    assert "stoker-cost-micro" not in final.headers


async def test_a_replica_cannot_say_what_its_request_cost(agent: AgentUnderTest) -> None:
    agent.agent.metering.set_prices({})

    async def lies(request: Any) -> None:
        await request.answer(b"ok", headers="Stoker-Cost-Micro: 1\r\n")

    await agent.warm("f", FakeReplica(lies))
    assert "stoker-cost-micro" not in (await agent.call()).headers


async def test_a_pod_that_blocks_its_device_is_charged_until_it_gives_it_back(
    agent: AgentUnderTest, clock: Clock
) -> None:
    spec = ReplicaSpec(
        id="ns/f-0123456789-3",
        function="ns/f",
        variant=Variant.GPU,
        revision="0123456789",
        ordinal=3,
        devices=("sim-0",),
    )
    part = Reservation(replica_id=spec.id, device_id="sim-0", memory_mib=1024, sharing=Sharing.EXCLUSIVE)
    agent.agent.hold(spec, (part,))
    clock.go(10 * MS)
    agent.agent.detach(spec.id)
    clock.go(10 * MS)
    assert account(agent).starting == 10


async def test_an_operator_hears_totals_and_the_last_hour_of_those_with_a_bound(
    agent: AgentUnderTest, clock: Clock
) -> None:
    bounded = function()
    slo = replace(bounded.spec.slo, cost=CostBounds(per_hour=1.0))
    bounded = replace(bounded, spec=replace(bounded.spec, slo=slo))
    costs = NodeCosts(agent.agent.metering, agent.agent.devices, clock)
    assert costs.totals() == {}
    costs.set_policy(POLICY)
    costs.set_functions({bounded.key: bounded})
    agent.reserve()
    clock.go(20 * S)
    costs.tick()
    clock.go(20 * S)
    assert costs.totals()["ns/f"][Variant.GPU].starting == 40_000
    told = costs.spent()["ns/f"]
    assert sum(part.micro for part in told) == 40_000
    assert all(0 <= part.age_ms <= 40_000 for part in told)
    costs.set_labels({"stoker.dev/price-per-hour": "0"})
    clock.go(20 * S)
    assert costs.totals()["ns/f"][Variant.GPU].starting == 40_000


async def test_the_cores_of_a_node_cost_what_they_are_now(agent: AgentUnderTest, clock: Clock) -> None:
    cpu = Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=1024, millicores=4000)
    devices = [cpu]
    costs = NodeCosts(agent.agent.metering, lambda: devices, clock)
    costs.set_policy(replace(default_policy(), prices={"cpu": 3.6}))
    clock.go(1000 * MS)
    assert agent.agent.metering.unallocated() == 4 * 1000
    devices[:] = [replace(cpu, millicores=1000)]
    costs.devices_changed()
    clock.go(1000 * MS)
    assert agent.agent.metering.unallocated() == (4 + 1) * 1000
