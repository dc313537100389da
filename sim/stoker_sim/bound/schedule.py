"""A schedule of an instance, and the check that it is feasible: the one statement of the rules that solvers, brute
force and policies are all held to.

docs/concepts/yardstick.md has them in words. Knows nothing of how a schedule was found.
"""

from collections.abc import Iterable

from msgspec import Struct

from stoker.errors import StokerError
from stoker_sim.bound.instance import Instance


class Infeasible(StokerError):  # noqa: N818  the name states the fact
    """A schedule breaks a rule of its instance. The text says which."""


class Residence(Struct, frozen=True, kw_only=True):
    """A function on a device from the begin of its start-up until its eviction. Times are microseconds."""

    function: int
    device: int
    begin_us: int
    end_us: int
    initial: bool = False
    """One of those that are there at 0: it begins then and needs no start-up."""


class Execution(Struct, frozen=True, kw_only=True):
    """A request that runs without interruption."""

    request: int
    residence: int
    """Index into the schedule's residences."""
    begin_us: int


class Schedule(Struct, frozen=True, kw_only=True):
    """What runs where and when. A request that is not in it does not run."""

    residences: tuple[Residence, ...] = ()
    executions: tuple[Execution, ...] = ()


class Value(Struct, frozen=True):
    """What a feasible schedule is worth."""

    weight: int
    """Of the requests that end on time."""
    cost: int
    """Of all its residences, in 1e-12 of the currency."""


def value_of(instance: Instance, schedule: Schedule) -> Value:
    """The schedule's worth; raises Infeasible where it breaks a rule. O(n log n) in residences and executions."""
    cost = 0
    for residence in schedule.residences:
        function, device = instance.functions[residence.function], instance.devices[residence.device]
        if residence.initial and (device.id not in function.resident_at_0 or residence.begin_us != 0):
            raise Infeasible(f"{function.key} is not resident on {device.id} at 0")
        if not 0 <= residence.begin_us <= residence.end_us:
            raise Infeasible(f"a residence of {function.key} ends before it begins")
        if instance.start_us(function, device) is None:
            raise Infeasible(f"{function.key} can never be resident on {device.id}")
        cost += (residence.end_us - residence.begin_us) * instance.rate(function, device)
    initial = [(r.function, r.device) for r in schedule.residences if r.initial]
    if len(set(initial)) < len(initial):
        raise Infeasible("a residence that is there at 0 is there twice")
    return Value(weight=_check_executions(instance, schedule), cost=cost)


def _check_executions(instance: Instance, schedule: Schedule) -> int:
    """The weight on time; raises Infeasible."""
    weight = 0
    within: list[list[tuple[int, int, int]]] = [[] for _ in schedule.residences]
    on_slots: list[list[tuple[int, int, int]]] = [[] for _ in instance.devices]
    for execution in schedule.executions:
        request, residence = instance.requests[execution.request], schedule.residences[execution.residence]
        function, device = instance.functions[residence.function], instance.devices[residence.device]
        exec_us, start_us = instance.exec_us(request, device), instance.start_us(function, device)
        if residence.function != request.function or exec_us is None or start_us is None:
            raise Infeasible(f"request {request.id} runs where it cannot")
        ready_us = 0 if residence.initial else max(residence.begin_us + start_us, function.cold_us)
        end_us = execution.begin_us + exec_us
        if execution.begin_us < max(request.arrival_us, ready_us) or end_us > residence.end_us:
            raise Infeasible(f"request {request.id} runs before it came, or outside its residence")
        weight += request.weight if end_us <= request.deadline_us else 0
        within[execution.residence].append((execution.begin_us, end_us, 1))
        on_slots[residence.device].append((execution.begin_us, end_us, 1))
    if len({execution.request for execution in schedule.executions}) < len(schedule.executions):
        raise Infeasible("a request runs twice")
    for index, residence in enumerate(schedule.residences):
        function, device = instance.functions[residence.function], instance.devices[residence.device]
        if _peak(within[index]) > instance.concurrency(function, device):
            raise Infeasible(f"a residence of {function.key} runs more than its concurrency")
    for index, device in enumerate(instance.devices):
        held = [
            (r.begin_us, r.end_us, instance.holds(instance.functions[r.function], device))
            for r in schedule.residences
            if r.device == index
        ]
        if _peak(on_slots[index]) > device.slots or _peak(held) > device.capacity:
            raise Infeasible(f"device {device.id} has more in it than its slots or its capacity")
    return weight


def _peak(intervals: Iterable[tuple[int, int, int]]) -> int:
    """The most that half-open intervals (begin, end, amount) hold at once."""
    changes = [change for begin, end, amount in intervals for change in ((begin, amount), (end, -amount))]
    level = peak = 0
    for _, change in sorted(changes):
        level += change
        peak = max(peak, level)
    return peak
