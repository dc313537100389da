"""What an operation costs at 1,000 flows, counted in comparisons and look-ups: never in time."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from random import Random

import pytest

from stoker.model.request import QueuedRequest
from stoker.policies.queueing import flow_memory
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_request

pytestmark = pytest.mark.unit

FLOWS = 1_000
NAMESPACES = 40
NOW_US = 10**7
"""Every request is on time still, and none is held back any more."""

FEW = 12 * 10
"""A dozen bisections of 1,000 entries, some comparing two parts of a rank."""
LISTS = 2
"""Sorted lists as long as that which a change of a flow's head moves it in: where resident, and where not."""
MORE_LISTS = {"lean-slack": 4, "cfs-affinity": 3}
"""By start tag and by settled tag beside them; and a walk over a set, whose order is another one in each process."""


class Meter:
    count = 0


class CountedInt(int):
    """A number that counts its comparisons, and what is computed from it does so too.

    Equality is compared before order in tuples, so both count.
    """

    __slots__ = ()

    def __lt__(self, other: int) -> bool:
        Meter.count += 1
        return int.__lt__(self, other)

    def __eq__(self, other: object) -> bool:
        Meter.count += 1
        return int.__eq__(self, other)

    def __add__(self, other: int) -> "CountedInt":
        return CountedInt(int.__add__(self, other))

    __radd__ = __add__

    def __sub__(self, other: int) -> "CountedInt":
        return CountedInt(int.__sub__(self, other))

    def __mul__(self, other: int) -> "CountedInt":
        return CountedInt(int.__mul__(self, other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> "CountedInt":
        return CountedInt(int.__floordiv__(self, other))

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


def flow(index: int) -> str:
    return f"ns{index % FLOWS % NAMESPACES}/f{index % FLOWS}"


def make_counted(index: int, random: Random) -> QueuedRequest:
    return make_request(
        f"r{index}",
        flow=flow(index),
        arrival_us=CountedInt(random.randrange(10**6)),
        objective_us=CountedInt(2 * NOW_US + random.randrange(10**6)),
        timeout_us=CountedInt(10**8 + random.randrange(10**6)),
        predicted_exec_us=CountedInt(random.randrange(8 * 10**6, 9 * 10**6)),
        start_us=CountedInt(random.randrange(10**6)),
    )


def loaded(name: str, requests: list[QueuedRequest]) -> QueuePolicy:
    policy = make_queueing(name)
    for request in requests:
        policy.push(request)
    return policy


@pytest.mark.parametrize("name", POLICIES)
def test_push_pop_done_and_cancel_stay_logarithmic_at_a_thousand_flows(name: str) -> None:
    random = Random(7)
    requests = [make_counted(index, random) for index in range(FLOWS + 60)]
    policy = loaded(name, requests[:FLOWS])
    all_flows = {flow(index) for index in range(FLOWS)}
    everywhere = SlotView("sim-0", CountedSet(all_flows))
    here = SlotView("sim-0", CountedSet(all_flows), CountedSet(set(random.sample(sorted(all_flows), 300))))
    popped: list[QueuedRequest] = []

    def pop(slot: SlotView) -> None:
        request = policy.pop(slot, NOW_US)
        assert request is not None
        popped.append(request)

    costs = [counted(lambda request=request: policy.push(request)) for request in requests[FLOWS:]]  # type: ignore[misc]
    costs += [counted(lambda slot=slot: pop(slot)) for slot in (everywhere, here) for _ in range(30)]  # type: ignore[misc]
    costs += [counted(lambda request=request: policy.done(request, 5)) for request in popped]  # type: ignore[misc]
    left = list({request.id for request in requests} - {request.id for request in popped})
    costs += [counted(lambda one=one: policy.cancel(one)) for one in sorted(left)[:60]]  # type: ignore[misc]
    assert max(costs) <= MORE_LISTS.get(name, LISTS) * FEW
    assert sum(costs) / len(costs) <= FEW


@pytest.mark.parametrize("name", POLICIES)
def test_a_pop_looks_at_few_flows_whether_few_or_many_are_eligible(name: str) -> None:
    random = Random(7)
    policy = loaded(name, [make_counted(index, random) for index in range(FLOWS)])
    for eligible in (1, 5, 100, 500, 999, 1_000):
        flows = {flow(index) for index in random.sample(range(FLOWS), eligible)}
        warm = set(random.sample(sorted(flows), eligible // 3))
        slots = SlotView("sim-0", CountedSet(flows)), SlotView("sim-0", CountedSet(flows), CountedSet(warm))
        for slot in slots:
            # Whoever is eligible: at worst three steps of the walk and one comparison for each.
            most = min(7 * eligible, FLOWS) + LISTS * FEW
            assert counted(lambda slot=slot: policy.pop(slot, NOW_US)) <= most  # type: ignore[misc]


@pytest.mark.parametrize("name", POLICIES)
def test_functions_that_come_and_go_leave_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_memory, "MOST", 100)
    policy = make_queueing(name)
    for index in range(2_000):
        request = make_request(f"r{index}", flow=f"ns{index}/f", objective_us=10**9)
        policy.push(request)
        if index % 2:
            assert policy.cancel(request.id) is request
        else:
            assert policy.pop(SlotView(f"sim-{index % 8}", {request.flow}), 10**9 - 10_000) is request
            policy.done(request, 5)
    assert max(sizes(policy).values()) <= 200


def sizes(policy: object, path: str = "") -> dict[str, int]:
    """Every container inside, and how much it holds."""
    found: dict[str, int] = {}
    names = [name for kind in type(policy).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in [*names, *getattr(policy, "__dict__", {})]:
        value = getattr(policy, name)
        if isinstance(value, (list, dict, set)):
            found[f"{path}.{name}"] = len(value)
        elif type(value).__module__.startswith("stoker.policies"):
            found |= sizes(value, f"{path}.{name}")
    return found
