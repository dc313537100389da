"""Serves an instance of the offline problem by a queueing policy: the policies' side of the yardstick.

Non-preemptive: at each event every device with a free slot asks the policy. What is not resident there is started in
its slot, and evicts what was idle for longest. Each device holds one residence of a function at most. The agent and
the simulator do more (replicas, admission, hibernation); this is the least that makes a schedule of a policy's order.
"""

from heapq import heappop, heappush

from stoker.model.function import Variant
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker_sim.bound.instance import Instance, InstanceRequest
from stoker_sim.bound.schedule import Execution, Residence, Schedule

FOR_EVER_US = 10**15


class Held:
    """A residence that is there."""

    def __init__(self, begin_us: int, ready_us: int, *, initial: bool) -> None:
        self.begin_us, self.ready_us, self.initial = begin_us, ready_us, initial
        self.running = 0
        self.idle_since_us = begin_us
        self.executions: list[Execution] = []


class ListScheduler:
    """One run of a policy over an instance."""

    def __init__(self, instance: Instance, policy: QueuePolicy) -> None:
        self.instance, self.policy = instance, policy
        self.now_us = 0
        self.held: list[dict[int, Held]] = [
            {
                f: Held(0, 0, initial=True)
                for f, function in enumerate(instance.functions)
                if d.id in function.resident_at_0
            }
            for d in instance.devices
        ]
        self.running = [0] * len(instance.devices)
        self.numbers = {request.id: index for index, request in enumerate(instance.requests)}
        self.flows = {function.key: index for index, function in enumerate(instance.functions)}
        self.ends: list[tuple[int, int, int, QueuedRequest, int]] = []
        self.residences: list[Residence] = []
        self.executions: list[Execution] = []

    def run(self) -> Schedule:
        arrivals = sorted(range(len(self.numbers)), key=lambda r: self.instance.requests[r].arrival_us)
        # A policy that waits for the last moment is asked then.
        alarms = sorted({time for r in self.instance.requests for time in self.moments(r)} | {0})
        while alarms or self.ends:
            following = [*alarms[:1], *(end[0] for end in self.ends[:1])]
            self.now_us = min(following)
            while alarms and alarms[0] <= self.now_us:
                alarms.pop(0)
            while self.ends and self.ends[0][0] <= self.now_us:
                self.finish(*heappop(self.ends))
            while arrivals and self.instance.requests[arrivals[0]].arrival_us <= self.now_us:
                self.policy.push(self.queued(arrivals.pop(0)))
            for device in range(len(self.held)):
                while self.dispatch(device):
                    pass
        for device, held in enumerate(self.held):
            for function in list(held):
                self.evict(device, function)
        return Schedule(residences=tuple(self.residences), executions=tuple(self.executions))

    def moments(self, request: InstanceRequest) -> list[int]:
        times = [request.deadline_us - us for us in request.exec_us.values()]
        return [request.arrival_us, *(time for time in times if time > request.arrival_us), request.deadline_us]

    def queued(self, index: int) -> QueuedRequest:
        request = self.instance.requests[index]
        function = self.instance.functions[request.function]
        return QueuedRequest(
            id=request.id,
            flow=function.key,
            variant=Variant.GPU,
            arrival_us=request.arrival_us,
            objective_us=request.deadline_us,
            timeout_us=FOR_EVER_US,
            predicted_exec_us=min(request.exec_us.values()),
            start_us=max(function.start_us.values(), default=0),
            memory_mib=function.memory_mib,
        )

    def dispatch(self, device: int) -> bool:
        """Let the policy fill one slot; False when it does not."""
        spec = self.instance.devices[device]
        if self.running[device] == spec.slots:
            return False
        eligible = {key for key, f in self.flows.items() if self.policy.queued(key) and self.could_run(f, device)}
        warm = {key for key in eligible if self.flows[key] in self.held[device]}
        request = self.policy.pop(SlotView(spec.id, eligible, warm), self.now_us) if eligible else None
        if request is None:
            return False
        function = self.flows[request.flow]
        if function not in self.held[device]:
            self.start(function, device)
        held, number = self.held[device][function], self.numbers[request.id]
        begin_us = max(self.now_us, held.ready_us)
        exec_us = self.instance.exec_us(self.instance.requests[number], spec)
        assert exec_us is not None
        held.executions.append(Execution(request=number, residence=-1, begin_us=begin_us))
        held.running += 1
        self.running[device] += 1
        heappush(self.ends, (begin_us + exec_us, number, device, request, self.now_us))
        return True

    def could_run(self, function: int, device: int) -> bool:
        spec, name = self.instance.devices[device], self.instance.functions[function]
        if self.instance.start_us(name, spec) is None:
            return False
        held = self.held[device].get(function)
        if held is not None:
            return held.running < self.instance.concurrency(name, spec)
        return self.holds(function, device) <= spec.capacity - sum(
            self.holds(f, device) for f, other in self.held[device].items() if other.running
        )

    def holds(self, function: int, device: int) -> int:
        return self.instance.holds(self.instance.functions[function], self.instance.devices[device])

    def start(self, function: int, device: int) -> None:
        spec = self.instance.devices[device]
        idle = sorted((held.idle_since_us, f) for f, held in self.held[device].items() if not held.running)
        while sum(self.holds(f, device) for f in (*self.held[device], function)) > spec.capacity:
            self.evict(device, idle.pop(0)[1])
        name = self.instance.functions[function]
        start_us = self.instance.start_us(name, spec)
        assert start_us is not None
        ready_us = max(self.now_us + start_us, name.cold_us)
        self.held[device][function] = Held(self.now_us, ready_us, initial=False)

    def finish(self, end_us: int, number: int, device: int, request: QueuedRequest, popped_us: int) -> None:
        held = self.held[device][self.instance.requests[number].function]
        held.running -= 1
        held.idle_since_us = end_us
        self.running[device] -= 1
        self.policy.done(request, end_us - popped_us)

    def evict(self, device: int, function: int) -> None:
        held = self.held[device].pop(function)
        assert not held.running
        for execution in held.executions:
            self.executions.append(
                Execution(request=execution.request, residence=len(self.residences), begin_us=execution.begin_us)
            )
        self.residences.append(
            Residence(
                function=function, device=device, begin_us=held.begin_us, end_us=self.now_us, initial=held.initial
            )
        )


def served_by(instance: Instance, policy: QueuePolicy) -> Schedule:
    """What the policy makes of the instance, late requests included."""
    return ListScheduler(instance, policy).run()
