"""What an operation costs at 1,000 flows, counted in comparisons and look-ups: never in time."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from random import Random

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import SlotView
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_request

pytestmark = pytest.mark.unit

FLOWS = 1_000
FEW = 12 * 10  # a dozen bisections of 1,000 entries, some comparing two parts of a rank


class Meter:
    count = 0


class CountedInt(int):
    """An instant that counts its comparisons; equality is compared before order in tuples, so both count."""

    __slots__ = ()

    def __lt__(self, other: int) -> bool:
        Meter.count += 1
        return int.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        Meter.count += 1
        return int.__eq__(self, other)

    def __sub__(self, other: int) -> "CountedInt":
        return CountedInt(int.__sub__(self, other))

    __hash__ = int.__hash__


class CountedSet(AbstractSet[str]):
    """Eligible flows that count their look-ups."""

    def __init__(self, flows: set[str]) -> None:
        self.flows = flows

    def __contains__(self, flow: object) -> bool:
        Meter.count += 1
        return flow in self.flows

    def __iter__(self) -> Iterator[str]:
        for flow in self.flows:
            Meter.count += 1
            yield flow

    def __len__(self) -> int:
        return len(self.flows)


def counted(action: Callable[[], object]) -> int:
    Meter.count = 0
    action()
    return Meter.count


def make_counted(index: int, random: Random) -> QueuedRequest:
    arrival_us = random.randrange(10**6)
    return make_request(
        f"r{index}",
        flow=f"default/f{index % FLOWS}",
        arrival_us=CountedInt(arrival_us),
        objective_us=CountedInt(10**7 + random.randrange(10**6)),
        timeout_us=CountedInt(10**8 + random.randrange(10**6)),
        predicted_exec_us=1_000,
    )


@pytest.mark.parametrize("name", POLICIES)
def test_push_pop_and_cancel_stay_logarithmic_at_a_thousand_flows(name: str) -> None:
    random = Random(7)
    policy = make_queueing(name)
    requests = [make_counted(index, random) for index in range(3 * FLOWS)]
    for request in requests[:-100]:
        policy.push(request)
    everyone = SlotView("sim-0", CountedSet({f"default/f{index}" for index in range(FLOWS)}))
    costs = [counted(lambda request=request: policy.push(request)) for request in requests[-100:]]  # type: ignore[misc]
    costs += [counted(lambda: policy.pop(everyone, 0)) for _ in range(100)]
    costs += [counted(lambda index=index: policy.cancel(f"r{index}")) for index in range(0, 2_000, 20)]  # type: ignore[misc]
    assert max(costs) <= FEW
    assert policy.queued() == len(list(policy.schedule(0)))


@pytest.mark.parametrize("eligible", [1, 5, 100, 500, 999, 1_000])
@pytest.mark.parametrize("name", POLICIES)
def test_a_pop_looks_at_few_flows_whether_few_or_many_are_eligible(name: str, eligible: int) -> None:
    random = Random(7)
    policy = make_queueing(name)
    for index in range(FLOWS):
        policy.push(make_counted(index, random))
    flows = CountedSet({f"default/f{index}" for index in random.sample(range(FLOWS), eligible)})
    slot = SlotView("sim-0", flows)
    # Whoever is eligible: at worst three steps of the walk and one comparison for each.
    assert counted(lambda: policy.pop(slot, 0)) <= min(7 * eligible, FLOWS) + FEW


def test_a_hundred_thousand_cancels_leave_nothing_behind() -> None:
    policy = make_queueing("least-slack")
    for index in range(20_000):
        policy.push(make_request(f"r{index}", flow=f"default/f{index}"))
        assert policy.cancel(f"r{index}") is not None
    inner = policy._inner._inner if hasattr(policy._inner, "_inner") else policy._inner  # type: ignore[attr-defined]
    assert (inner._flows, inner._heads, inner._head_of, inner._entries) == ({}, [], {}, {})
    assert len(inner._expiries._heap) <= 64
    assert len(policy._turning._heap) <= 64  # type: ignore[attr-defined]
    assert policy._on_time_us == {}  # type: ignore[attr-defined]
