"""Every weight on time that an instance allows, and the least cost of each: by placing each request at every instant.

For two or three requests with small integer times. Slower and simpler than stoker_sim.bound.brute, which it checks too:
no state, no order of events, no argument about where something may begin.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product

from stoker_sim.bound.instance import Instance

Placed = tuple[int, int, int]
"""Request, begin, end."""
Block = tuple[int, int, int]
"""Begin and end of a residence, and what it holds."""


def frontier(instance: Instance) -> dict[int, int]:
    """By weight on time, the least cost of the schedules with that weight."""
    found: dict[int, int] = {}
    for places in product(*(list(_places(instance, r)) for r in range(len(instance.requests)))):
        cost: int | None = 0
        for device in range(len(instance.devices)):
            on_device = [
                (r, begin, end) for r, place in enumerate(places) if place for d, begin, end in [place] if d == device
            ]
            least = _device_cost(instance, device, on_device)
            cost = None if cost is None or least is None else cost + least
        if cost is not None:
            weight = sum(instance.requests[r].weight for r, place in enumerate(places) if place)
            found[weight] = min(cost, found.get(weight, cost))
    return found


def _places(instance: Instance, request: int) -> Iterator[tuple[int, int, int] | None]:
    yield None
    spec = instance.requests[request]
    for d, device in enumerate(instance.devices):
        exec_us = instance.exec_us(spec, device)
        if exec_us is not None:
            for begin in range(spec.arrival_us, spec.deadline_us - exec_us + 1):
                yield d, begin, begin + exec_us


def _device_cost(instance: Instance, device: int, placed: list[Placed]) -> int | None:
    """The least cost of residences that make it feasible; None where none do."""
    if _peak([(begin, end, 1) for _, begin, end in placed]) > instance.devices[device].slots:
        return None
    by_function = defaultdict(list)
    for one in placed:
        by_function[instance.requests[one[0]].function].append(one)
    choices = [list(_residences(instance, device, f, same)) for f, same in sorted(by_function.items())]
    costs = [
        sum(cost for cost, _ in choice)
        for choice in product(*choices)
        if _peak([block for _, blocks in choice for block in blocks]) <= instance.devices[device].capacity
    ]
    return min(costs, default=None)


def _residences(
    instance: Instance, device: int, function: int, placed: list[Placed]
) -> Iterator[tuple[int, list[Block]]]:
    """Every way to share residences: its cost and when it holds how much."""
    spec, name = instance.devices[device], instance.functions[function]
    start_us, holds = instance.start_us(name, spec), instance.holds(name, spec)
    assert start_us is not None
    for parts in _partitions(placed):
        if any(_peak([(b, e, 1) for _, b, e in part]) > instance.concurrency(name, spec) for part in parts):
            continue
        initials = [None, *range(len(parts))] if spec.id in name.resident_at_0 else [None]
        for initial in initials:
            blocks = [
                (0 if i == initial else min(b for _, b, _ in part) - start_us, max(e for _, _, e in part), holds)
                for i, part in enumerate(parts)
            ]
            firsts = [min(b for _, b, _ in part) for i, part in enumerate(parts) if i != initial]
            if all(begin >= 0 for begin, _, _ in blocks) and min(firsts, default=name.cold_us) >= name.cold_us:
                yield sum(end - begin for begin, end, _ in blocks) * instance.rate(name, spec), blocks


def _partitions(items: list[Placed]) -> Iterator[list[list[Placed]]]:
    if not items:
        yield []
        return
    for rest in _partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, part in enumerate(rest):
            yield [*rest[:i], [items[0], *part], *rest[i + 1 :]]


def _peak(blocks: list[tuple[int, int, int]]) -> int:
    times = {begin for begin, _, _ in blocks}
    return max((sum(amount for b, e, amount in blocks if b <= time < e) for time in times), default=0)
