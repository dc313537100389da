"""The offline problem as a constraint model of optional intervals (OR-Tools CP-SAT).

A request has one start and, for each device that it could be on time on, an optional interval there. Where memory can
be short a residence is an optional interval too. The residences of a function on a device are named by their members:
residence k is the one whose first member (in the order of requests) is request k, so that no two names mean the same
and none is missing. Where all residences that could be of use fit at once, or only one function runs, nobody is ever
evicted: there a request needs no residence, only to wait for the first start-up. Times are in ticks of the instance.
Knows no objective.
"""

from collections.abc import Sequence
from itertools import combinations, groupby
from typing import Any

from ortools.sat.python import cp_model

from stoker_sim.bound.instance import Instance
from stoker_sim.bound.schedule import Execution, Residence, Schedule


class Member:
    """A request that may run on a device."""

    __slots__ = ("exec", "interval", "on", "request")

    def __init__(self, request: int, on: Any, exec_ticks: int, interval: Any) -> None:
        self.request = request
        self.on = on
        """Whether it runs there."""
        self.exec = exec_ticks
        self.interval = interval


class Stay:
    """A residence that may be."""

    __slots__ = ("begin", "device", "end", "function", "initial", "members", "present")

    def __init__(self, function: int, device: int, present: Any, begin: Any, end: Any, *, initial: bool) -> None:
        self.function = function
        self.device = device
        self.present = present
        self.begin = begin
        self.end = end
        self.initial = initial
        self.members: dict[int, Any] = {}
        """By request, whether it runs in it."""


class IntervalModel:
    """The model of one instance. `cp` is ready but for its objective; `weight` and `cost` are what it may be about.

    With `priced` every residence is modelled, also where memory is plenty, and `cost` is in 1e-12 of the currency for
    each tick; else it is 0.
    """

    def __init__(self, instance: Instance, *, priced: bool) -> None:
        self.instance = instance
        self.tick_us = instance.tick_us()
        self.cp = cp_model.CpModel()
        self.weight: Any = 0
        self.cost: Any = 0
        self._priced = priced
        self._starts: dict[int, Any] = {}
        self._runs: dict[int, Any] = {}
        self._stays: list[Stay] = []
        self._roomy: dict[tuple[int, int], list[Member]] = {}
        """By function and device, who runs there without a residence."""
        members = self._requests()
        self._in_order()
        for device, on_device in enumerate(members):
            if on_device:
                self._device(device, on_device)

    def schedule(self, solver: Any) -> Schedule:
        """What the solver found."""
        residences: list[Residence] = []
        executions: list[Execution] = []
        for stay in self._stays:
            if solver.boolean_value(stay.present):
                executions += (
                    Execution(request=r, residence=len(residences), begin_us=self._begin_us(solver, r))
                    for r, within in stay.members.items()
                    if solver.boolean_value(within)
                )
                begin, end = (solver.value(time) * self.tick_us for time in (stay.begin, stay.end))
                residences.append(
                    Residence(
                        function=stay.function, device=stay.device, begin_us=begin, end_us=end, initial=stay.initial
                    )
                )
        for (function, device), members in self._roomy.items():
            ran = sorted(
                (self._begin_us(solver, m.request), m.exec * self.tick_us, m.request)
                for m in members
                if solver.boolean_value(m.on)
            )
            self._settle(function, device, ran, residences, executions)
        return Schedule(residences=tuple(residences), executions=tuple(executions))

    def _begin_us(self, solver: Any, request: int) -> int:
        begin_us: int = solver.value(self._starts[request]) * self.tick_us
        return begin_us

    def _requests(self) -> list[list[Member]]:
        """Who may run, by device: their starts, intervals and choice of device, and the weight."""
        by_device: list[list[Member]] = [[] for _ in self.instance.devices]
        weights: list[Any] = []
        for index, request in enumerate(self.instance.requests):
            options = []
            for device, spec in enumerate(self.instance.devices):
                earliest_us = self.instance.earliest_us(request, spec)
                exec_us = self.instance.exec_us(request, spec)
                if earliest_us is not None and exec_us is not None:
                    options.append((device, earliest_us // self.tick_us, exec_us // self.tick_us))
            if not options:
                continue
            deadline = request.deadline_us // self.tick_us
            start = self.cp.new_int_var(
                min(earliest for _, earliest, _ in options), deadline - min(took for *_, took in options), f"s{index}"
            )
            self._starts[index] = start
            for device, earliest, took in options:
                on = self.cp.new_bool_var(f"on{index}_{device}")
                interval = self.cp.new_optional_fixed_size_interval_var(start, took, on, f"i{index}_{device}")
                self.cp.add(start >= earliest).only_enforce_if(on)
                self.cp.add(start <= deadline - took).only_enforce_if(on)
                by_device[device].append(Member(index, on, took, interval))
            runs = self._runs[index] = self.cp.new_bool_var(f"runs{index}")
            self.cp.add_exactly_one([~runs, *(by_device[device][-1].on for device, _, _ in options)])
            weights.append(request.weight * runs)
        self.weight = sum(weights)
        return by_device

    def _in_order(self) -> None:
        """Two requests that differ in nothing but their windows, the second's being later at both ends: if both run,
        then the first before the second, or they might change places.
        """
        requests = self.instance.requests
        alike: dict[tuple[int, tuple[tuple[str, int], ...]], list[int]] = {}
        for index in self._starts:
            request = requests[index]
            alike.setdefault((request.function, tuple(sorted(request.exec_us.items()))), []).append(index)
        for same in alike.values():
            same.sort(key=lambda r: (requests[r].arrival_us, requests[r].deadline_us))
            for first, second in combinations(same, 2):
                if requests[first].deadline_us <= requests[second].deadline_us:
                    self.cp.add(self._starts[first] <= self._starts[second]).only_enforce_if(
                        self._runs[first], self._runs[second]
                    )

    def _device(self, device: int, members: list[Member]) -> None:
        spec = self.instance.devices[device]
        by_function = [
            (function, list(same))
            for function, same in groupby(sorted(members, key=self._function_of), key=self._function_of)
        ]
        slots = min(spec.slots, self._most_at_once(device, by_function))
        self._at_most(slots, [m.interval for m in members])
        if self._nobody_is_evicted(device, by_function):
            for function, same in by_function:
                self._roomy[function, device] = same
                self._first_start(function, device, same)
            return
        stays: list[Stay] = []
        for function, same in by_function:
            stays += self._residences(function, device, same)
        self._memory(device, stays)
        self._stays += stays

    def _most_at_once(self, device: int, by_function: Sequence[tuple[int, Sequence[Member]]]) -> int:
        """Executions that memory lets run at once on the device: known where only one function runs there."""
        spec = self.instance.devices[device]
        name = self.instance.functions[by_function[0][0]]
        holds = self.instance.holds(name, spec)
        if len(by_function) > 1 or not holds:
            return spec.slots
        return spec.capacity // holds * self.instance.concurrency(name, spec)

    def _nobody_is_evicted(self, device: int, by_function: Sequence[tuple[int, Sequence[Member]]]) -> bool:
        """Whether all residences that could be of use fit at once. What they cost must not matter."""
        if self._priced:
            return False
        spec = self.instance.devices[device]
        most = 0
        for function, same in by_function:
            name = self.instance.functions[function]
            at_once = min(spec.slots, len(same), self._most_at_once(device, by_function))
            most += self.instance.holds(name, spec) * -(-at_once // self.instance.concurrency(name, spec))
        return most <= spec.capacity

    def _function_of(self, member: Member) -> int:
        return self.instance.requests[member.request].function

    def _first_start(self, function: int, device: int, members: Sequence[Member]) -> None:
        """Nobody is ever evicted: before the first start-up is over, only a residence that is there at 0 runs any."""
        spec, name = self.instance.devices[device], self.instance.functions[function]
        if spec.id not in name.resident_at_0:
            return  # The domain of the start says it.
        ready_us = max(self.instance.start_us(name, spec) or 0, name.cold_us)
        concurrency = self.instance.concurrency(name, spec)
        if not ready_us or concurrency >= min(spec.slots, len(members)):
            return
        early = []
        for member in members:
            start = self._starts[member.request]
            before = self.cp.new_bool_var("")
            self.cp.add_implication(before, member.on)
            self.cp.add(start >= ready_us // self.tick_us).only_enforce_if(member.on, ~before)
            early.append(self.cp.new_optional_fixed_size_interval_var(start, member.exec, before, ""))
        self._at_most(concurrency, early)

    def _residences(self, function: int, device: int, members: Sequence[Member]) -> list[Stay]:
        spec, name = self.instance.devices[device], self.instance.functions[function]
        start_us = self.instance.start_us(name, spec)
        assert start_us is not None
        start_up = start_us // self.tick_us
        ends = [self.instance.requests[m.request].deadline_us // self.tick_us for m in members]
        stays: list[Stay] = []
        if spec.id in name.resident_at_0:
            end = self.cp.new_int_var(0, max(ends), "")
            stays.append(Stay(function, device, self.cp.new_constant(1), self.cp.new_constant(0), end, initial=True))
            self._fill(stays[-1], members, 0)
        for first, leader in enumerate(members):
            latest = ends[first] - leader.exec - start_up
            if latest < 0:
                continue
            present = self.cp.new_bool_var("")
            begin, end = self.cp.new_int_var(0, latest, ""), self.cp.new_int_var(0, max(ends[first:]), "")
            stays.append(Stay(function, device, present, begin, end, initial=False))
            self._fill(stays[-1], members[first:], start_up)
            self.cp.add(stays[-1].members[leader.request] == present)
            for within in stays[-1].members.values():
                self.cp.add_implication(within, present)
        for member in members:
            self.cp.add(
                sum(stay.members[member.request] for stay in stays if member.request in stay.members) == member.on
            )
        return stays

    def _fill(self, stay: Stay, members: Sequence[Member], start_up: int) -> None:
        """Let each of the members run in the residence, as many at once as its concurrency."""
        spec, name = self.instance.devices[stay.device], self.instance.functions[stay.function]
        concurrency = self.instance.concurrency(name, spec)
        intervals = []
        for member in members:
            start, within = self._starts[member.request], self.cp.new_bool_var("")
            stay.members[member.request] = within
            self.cp.add(start >= stay.begin + start_up).only_enforce_if(within)
            if name.cold_us and not stay.initial:
                self.cp.add(start >= name.cold_us // self.tick_us).only_enforce_if(within)
            self.cp.add(start + member.exec <= stay.end).only_enforce_if(within)
            if concurrency < spec.slots:
                intervals.append(self.cp.new_optional_fixed_size_interval_var(start, member.exec, within, ""))
        self._at_most(concurrency, intervals)

    def _memory(self, device: int, stays: Sequence[Stay]) -> None:
        spec = self.instance.devices[device]
        intervals, amounts, costs = [], [], []
        for stay in stays:
            function = self.instance.functions[stay.function]
            size = self.cp.new_int_var(0, max(1, self._horizon()), "")
            intervals.append(self.cp.new_optional_interval_var(stay.begin, size, stay.end, stay.present, ""))
            amounts.append(self.instance.holds(function, spec))
            if self._priced:
                if not stay.initial:
                    self.cp.add(size == 0).only_enforce_if(~stay.present)
                costs.append(self.instance.rate(function, spec) * size)
        if sum(sorted(amounts)[:2]) > spec.capacity:
            self.cp.add_no_overlap(intervals)
        else:
            self.cp.add_cumulative(intervals, amounts, spec.capacity)
        self.cost += sum(costs)

    def _horizon(self) -> int:
        return max((r.deadline_us for r in self.instance.requests), default=0) // self.tick_us

    def _at_most(self, count: int, intervals: Sequence[Any]) -> None:
        """No more than `count` of the intervals at any time."""
        if count < len(intervals):
            if count == 1:
                self.cp.add_no_overlap(intervals)
            else:
                self.cp.add_cumulative(intervals, [1] * len(intervals), count)

    def _settle(
        self,
        function: int,
        device: int,
        ran: Sequence[tuple[int, int, int]],
        residences: list[Residence],
        executions: list[Execution],
    ) -> None:
        """Spread executions over residences that stay for ever: each takes the first that is ready and has room."""
        spec, name = self.instance.devices[device], self.instance.functions[function]
        concurrency = self.instance.concurrency(name, spec)
        start_us = self.instance.start_us(name, spec)
        assert start_us is not None
        initial = spec.id in name.resident_at_0
        ends: list[list[int]] = []
        chosen: list[tuple[int, int, int]] = []
        for begin_us, exec_us, request in ran:
            at = next(
                (i for i, taken in enumerate(ends) if sum(end > begin_us for end in taken) < concurrency),
                len(ends),
            )
            if at == len(ends):
                ends.append([])
            ends[at].append(begin_us + exec_us)
            chosen.append((request, at, begin_us))
        first = len(residences)
        residences += (
            Residence(function=function, device=device, begin_us=0, end_us=max(taken), initial=initial and not index)
            for index, taken in enumerate(ends)
        )
        executions += (
            Execution(request=request, residence=first + at, begin_us=begin_us) for request, at, begin_us in chosen
        )
