"""Weights of namespaces in a working agent: device time under backlog follows them, whatever policy was there before.

The clock of the agent stands still but for what each request is said to have run, so the counts are exact.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping

import msgspec
import pytest
from agent_under_test import AgentUnderTest, FakeReplica, Gate, Request, Sent, function, gpu

from stoker.model.function import Priority, Sharing
from stoker.model.policy import NamespaceRule, Policy, default_policy
from stoker.policies.queueing.registry import POLICIES

pytestmark = pytest.mark.unit

RUNS_US = 4_000_000
RUN = 16
"""Requests that run one at a time; at weights 3:1 the share of the heavier is 12, and policies lead by a few."""


class Line(Gate):
    """Replicas on one slot whose requests take RUNS_US each."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1_000_000

    async def __call__(self, request: Request) -> None:
        await super().__call__(request)
        self.now_us += RUNS_US

    def clock_us(self) -> int:
        return self.now_us

    def of_namespaces(self) -> Counter[str]:
        """Requests that were dispatched, by what their path begins with."""
        return Counter(target.split("/")[1] for target in self.waiting)


def policy(weights: Mapping[str, int], *, others: int = 1) -> Policy:
    rules = {namespace: NamespaceRule(weight=weight) for namespace, weight in weights.items()}
    return msgspec.structs.replace(default_policy(), namespaces=rules, others=NamespaceRule(weight=others))


class Teams:
    """Two namespaces that want one slot."""

    def __init__(self) -> None:
        self.line = Line()
        self.agent = AgentUnderTest(gpu(slots=1), queueing="mqfq", clock_us=self.line.clock_us)
        self.sent: list[Sent] = []

    async def warm(self, *names: str) -> None:
        self.agent.apply(*(function(name) for name in names))
        for name in names:
            await self.agent.warm(name, FakeReplica(self.line), sharing=Sharing.SHARED)

    async def backlog(self, count: int, *names: str) -> None:
        """So many requests of each, in turn, behind one that holds the slot already."""
        for number in range(count):
            for name in names:
                self.sent.append(
                    await self.agent.send(f"/{name}/{number}", name=name, objective_ms=900_000, timeout_ms=990_000)
                )
        await self.agent.until(lambda: sum(map(self.agent.queued, names)) + len(self.line.waiting) == len(self.sent))

    async def run(self, count: int) -> Counter[str]:
        """The next so many end; how many of each namespace began meanwhile."""
        before = self.line.of_namespaces()
        begun = len(self.line.waiting)
        for ended in range(1, count + 1):
            self.line.let()
            await self.agent.until(lambda ended=ended: len(self.line.waiting) == begun + ended)  # type: ignore[misc]
        return self.line.of_namespaces() - before


@pytest.fixture
async def teams() -> AsyncIterator[Teams]:
    under_test = Teams()
    await under_test.agent.start()
    yield under_test
    await under_test.agent.close()


def in_proportion(served: int) -> bool:
    """Of RUN requests; half of them would be no weight at all."""
    return 10 <= served <= 14


FAIR = sorted(name for name, make in POLICIES.items() if make().guarantees.weight_respecting)


@pytest.mark.parametrize("queueing", FAIR)
async def test_namespaces_get_device_time_by_the_weights_of_the_policy(teams: Teams, queueing: str) -> None:
    teams.agent.agent.set_queueing(queueing)
    teams.agent.agent.set_shares(policy({"team-a": 3}))
    await teams.warm("team-a/f", "team-b/f")
    await teams.backlog(20, "team-a/f", "team-b/f")
    served = await teams.run(RUN)
    assert in_proportion(served["team-a"]), served


async def test_a_namespace_gains_nothing_by_splitting_its_function(teams: Teams) -> None:
    teams.agent.agent.set_shares(policy({"team-a": 3}))
    split = [f"team-b/f{number}" for number in range(4)]
    await teams.warm("team-a/f", *split)
    for _ in range(15):
        await teams.backlog(1, "team-a/f", *split)
    served = await teams.run(16)
    assert served["team-a"] >= 10, served


async def test_weights_stay_when_the_policy_is_exchanged(teams: Teams) -> None:
    teams.agent.agent.set_shares(policy({"team-a": 3}))
    await teams.warm("team-a/f", "team-b/f")
    for name in ("fcfs", "mqfq-sticky", "mqfq"):
        teams.agent.agent.set_queueing(name)
    await teams.backlog(20, "team-a/f", "team-b/f")
    served = await teams.run(RUN)
    assert in_proportion(served["team-a"]), served


async def test_a_changed_weight_acts_on_what_is_queued_already(teams: Teams) -> None:
    await teams.warm("team-a/f", "team-b/f")
    await teams.backlog(24, "team-a/f", "team-b/f")
    before = await teams.run(12)
    assert abs(before["team-a"] - before["team-b"]) <= 4, before
    teams.agent.agent.set_shares(policy({"team-b": 3}))
    after = await teams.run(RUN)
    assert in_proportion(after["team-b"]), after


async def test_a_namespace_that_appears_later_has_the_weight_of_its_entry_or_of_the_others(teams: Teams) -> None:
    teams.agent.agent.set_shares(policy({"team-b": 1}, others=3))
    await teams.warm("team-b/f", "team-a/f")
    await teams.backlog(20, "team-a/f", "team-b/f")
    served = await teams.run(RUN)
    assert in_proportion(served["team-a"]), served


async def test_a_bound_of_priority_acts_on_the_requests_that_come_after_it_was_changed(teams: Teams) -> None:
    agent = teams.agent
    await agent.warm("team-a/f", FakeReplica(teams.line))
    agent.apply(function("team-a/f", priority=Priority.CRITICAL))
    bounded = msgspec.structs.replace(default_policy(), others=NamespaceRule(max_priority=Priority.BATCH))
    seen = Counter[Priority]()
    for applied in (default_policy(), bounded, default_policy()):
        agent.agent.set_shares(applied)
        await teams.backlog(2, "team-a/f")
        new = Counter(call.request.priority for call in agent.agent._dispatcher.active) - seen
        assert set(new) == {Priority.BATCH if applied is bounded else Priority.CRITICAL}
        seen += new
