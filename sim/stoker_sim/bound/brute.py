"""The most weight on time, by trying everything: for a handful of requests, and independent of every solver.

There is an optimum in which an execution begins at an arrival or when something ends, and a start-up at 0 or when an
execution on its device ends: otherwise it could begin a little earlier. So the search goes from one such instant to
the next, and tries at each every set of start-ups with the evictions that make room for them, and every set of
dispatches. The answer for a state that it has seen it takes from memory. Exponential in the requests. Knows no cost.
"""

from collections.abc import Iterator
from itertools import combinations

from stoker.errors import StokerError
from stoker_sim.bound.instance import Instance

MOST_REQUESTS = 8

Resident = tuple[int, int, tuple[int, ...]]
"""Function; -1, or when it is ready where nothing ran in it since it was started (0: it is); and when each of its
executions ends, none of them before now."""
State = tuple[tuple[Resident, ...], ...]
"""By device, its residents in the order of their tuples."""
Waiting = frozenset[int]
"""Indices of the requests that could still be on time and do not run yet."""


def most_weight_by_force(instance: Instance) -> int:
    """The largest weight on time of any feasible schedule. Raises StokerError above MOST_REQUESTS requests."""
    if len(instance.requests) > MOST_REQUESTS:
        raise StokerError(f"trying everything ends at {MOST_REQUESTS} requests")
    begin = tuple(
        tuple((f, -1, ()) for f, function in enumerate(instance.functions) if device.id in function.resident_at_0)
        for device in instance.devices
    )
    return _Search(instance).most(0, begin, frozenset(range(len(instance.requests))))


class _Search:
    def __init__(self, instance: Instance) -> None:
        self._devices = instance.devices
        self._functions = instance.functions
        self._requests = instance.requests
        self._exec_us = [[instance.exec_us(r, d) for d in instance.devices] for r in instance.requests]
        self._start_us = [[instance.start_us(f, d) for d in instance.devices] for f in instance.functions]
        self._holds = [[instance.holds(f, d) for d in instance.devices] for f in instance.functions]
        self._concurrency = [[instance.concurrency(f, d) for d in instance.devices] for f in instance.functions]
        self._known: dict[tuple[int, State, Waiting], int] = {}

    def most(self, now_us: int, state: State, waiting: Waiting) -> int:
        """The most weight that dispatches from now on can bring on time."""
        waiting = frozenset(r for r in waiting if self._in_time(r, now_us, state))
        hope = self._weight(waiting)
        if not hope:
            return 0
        key = (now_us, state, waiting)
        known = self._known.get(key)
        if known is not None:
            return known
        changed = [not now_us or any(now_us in ends for _, _, ends in residents) for residents in state]
        best = 0
        for started in self._with_starts(now_us, _at(now_us, state), waiting, changed, 0):
            for after, left in self._with_dispatches(now_us, started, waiting, sorted(waiting)):
                now_on = self._weight(waiting - left)
                following = self._following_us(now_us, after, left)
                if following is not None and now_on + self._weight(left) > best:
                    now_on += self.most(following, after, left)
                best = max(best, now_on)
                if best == hope:
                    self._known[key] = best
                    return best
        self._known[key] = best
        return best

    def _weight(self, requests: Waiting) -> int:
        return sum(self._requests[r].weight for r in requests)

    def _in_time(self, request: int, now_us: int, state: State) -> bool:
        """Whether it could be on time on some device, were it alone from now on."""
        function = self._requests[request].function
        for device, residents in enumerate(state):
            started_us = self._ready_us(function, device, now_us)
            if started_us is not None:
                ready = [max(now_us, ready_us) for f, ready_us, _ in residents if f == function]
                if self._fits(request, device, min([started_us, *ready])):
                    return True
        return False

    def _following_us(self, now_us: int, state: State, waiting: Waiting) -> int | None:
        times = [time for residents in state for _, ready_us, ends in residents for time in (ready_us, *ends)]
        times += [self._requests[r].arrival_us for r in waiting]
        return min((time for time in times if time > now_us), default=None)

    def _with_starts(
        self, now_us: int, state: State, waiting: Waiting, changed: list[bool], pair: int
    ) -> Iterator[State]:
        """Every state after start-ups at this instant, of the pairs of device and function from this one on."""
        device, function = divmod(pair, len(self._functions))
        if device == len(self._devices):
            yield state
            return
        if changed[device] and self._worth_starting(now_us, state, waiting, device, function):
            ready_us = self._ready_us(function, device, now_us)
            assert ready_us is not None
            for room in self._with_room(state[device], device, self._holds[function][device]):
                residents = tuple(sorted((*room, (function, ready_us, ()))))
                after = (*state[:device], residents, *state[device + 1 :])
                yield from self._with_starts(now_us, after, waiting, changed, pair)
        yield from self._with_starts(now_us, state, waiting, changed, pair + 1)

    def _worth_starting(self, now_us: int, state: State, waiting: Waiting, device: int, function: int) -> bool:
        """Whether one more could be of use. It is of none beside as many on its device as that has slots, nor where
        as many were started in vain so far as wait: each of them needs another request as its first.
        """
        ready_us = self._ready_us(function, device, now_us)
        if ready_us is None or sum(f == function for f, _, _ in state[device]) >= self._devices[device].slots:
            return False
        unused = sum(f == function and since_us >= 0 for residents in state for f, since_us, _ in residents)
        mine = [r for r in waiting if self._requests[r].function == function]
        return unused < len(mine) and any(self._fits(r, device, ready_us) for r in mine)

    def _ready_us(self, function: int, device: int, now_us: int) -> int | None:
        """When a start-up that begins now is over; None where there can be none."""
        start_us = self._start_us[function][device]
        return None if start_us is None else max(now_us + start_us, self._functions[function].cold_us)

    def _fits(self, request: int, device: int, begin_us: int) -> bool:
        exec_us = self._exec_us[request][device]
        begin_us = max(begin_us, self._requests[request].arrival_us)
        return exec_us is not None and begin_us + exec_us <= self._requests[request].deadline_us

    def _with_room(self, residents: tuple[Resident, ...], device: int, amount: int) -> Iterator[tuple[Resident, ...]]:
        """What may stay when `amount` is to fit: idle residents go, no more of them than must."""
        held = sum(self._holds[f][device] for f, _, _ in residents)
        over = held + amount - self._devices[device].capacity
        idle = [i for i, (_, ready_us, ends) in enumerate(residents) if ready_us < 0 and not ends]
        for count in range(len(idle) + 1):
            for gone in combinations(idle, count):
                freed = [self._holds[residents[i][0]][device] for i in gone]
                if sum(freed) >= over and all(sum(freed) - one < over for one in freed):
                    yield tuple(r for i, r in enumerate(residents) if i not in gone)

    def _with_dispatches(
        self, now_us: int, state: State, waiting: Waiting, candidates: list[int]
    ) -> Iterator[tuple[State, Waiting]]:
        """Every state after dispatches at this instant of some of the candidates, and who waits then."""
        if not candidates:
            yield state, waiting
            return
        request, rest = candidates[0], candidates[1:]
        if self._requests[request].arrival_us <= now_us:
            for device, residents in enumerate(state):
                exec_us = self._exec_us[request][device]
                running = sum(len(ends) for _, _, ends in residents)
                if exec_us is None or running == self._devices[device].slots or not self._fits(request, device, now_us):
                    continue
                for resident in sorted(set(residents)):
                    function, ready_us, ends = resident
                    full = len(ends) == self._concurrency[function][device]
                    if function != self._requests[request].function or ready_us > now_us or full:
                        continue
                    others = list(residents)
                    others.remove(resident)
                    busy = (function, -1, tuple(sorted((*ends, now_us + exec_us))))
                    after = (*state[:device], tuple(sorted((*others, busy))), *state[device + 1 :])
                    yield from self._with_dispatches(now_us, after, waiting - {request}, rest)
        yield from self._with_dispatches(now_us, state, waiting, rest)


def _at(now_us: int, state: State) -> State:
    """The state at a later instant: what is over is forgotten."""
    return tuple(
        tuple(
            sorted(
                (
                    function,
                    ready_us if ready_us > now_us else min(ready_us, 0),
                    tuple(end for end in ends if end > now_us),
                )
                for function, ready_us, ends in residents
            )
        )
        for residents in state
    )
