"""One agent in miniature: the real table, lookout, verdict and policy, on slots that are driven event by event.

What runs takes at most what was predicted of it, so nothing that was promised may ever be late. Requests are given up
while they wait. Replicas stay as they are: a new one may let what waits for another one come before what was promised
its slots. No clock, no connection: time jumps from event to event.
"""

import random
from heapq import heappop, heappush

from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, OnMiss, Priority, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import Lookout
from stoker.slots.offering import least_loaded_first, pop_for
from stoker.slots.table import Replica, ReplicaTable
from stoker.slots.verdict import Verdict, bind, judge
from stoker.testing.builders import make_cpu, make_function, make_gpu


class Ran:
    """One dispatched request."""

    def __init__(self, request: QueuedRequest, dispatched_us: int) -> None:
        self.request = request
        self.dispatched_us = dispatched_us


AnyReplica = Replica[Ran]


class AdmissionWorld:
    """See the module. `run(steps)` plays; `late` holds what broke a promise."""

    def __init__(self, seed: int, queueing: str = "least-slack") -> None:
        self.chance = random.Random(seed)
        self.now_us = 0
        self.devices = self._devices()
        self.table: ReplicaTable[AnyReplica] = ReplicaTable(self.devices)
        self.policy = make_queueing(queueing)
        self.lookout = Lookout(Predictions())
        self.functions = [self._function(number) for number in range(self.chance.randint(1, 5))]
        self.queued: dict[str, QueuedRequest] = {}
        self.ends: list[tuple[int, int, AnyReplica, Ran]] = []
        self.late: list[tuple[QueuedRequest, int]] = []
        self.promised = self.kept = self.refused = self.shed = self.given_up = 0
        self.most_queued = 0
        self._count = 0
        self._ordinals = 0
        for function in self.functions:
            for _ in range(self.chance.randint(1, 3)):
                self._add_replica(function)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self._step()
        while self.ends:
            self._advance()

    def _devices(self) -> list[Device]:
        kinds = [make_gpu(f"g{number}", slots=self.chance.randint(1, 3)) for number in range(2)]
        return [*kinds, make_gpu("alone"), make_cpu(millicores=8_000)]

    def _function(self, number: int) -> Function:
        return make_function(
            f"f{number}",
            namespace=f"team-{number % 2}",
            latency_us=self.chance.choice((40, 120, 400, 1_500)),
            timeout_us=5_000,
            concurrency=self.chance.randint(1, 3),
            priority=self.chance.choice((Priority.BATCH, Priority.STANDARD, Priority.STANDARD, Priority.CRITICAL)),
            on_predicted_miss=self.chance.choice(((OnMiss.REFUSE,), (OnMiss.SERVE_LATE,))),
        )

    def _add_replica(self, function: Function) -> None:
        """One more warm replica, on any device that holds none of the function."""
        held = {replica.device.device.id for replica in self.table.by_id.values() if replica.flow.key == function.key}
        alone = {replica.device.device.id for replica in self.table.by_id.values() if replica.exclusive}
        free = [device for device in self.devices if device.id not in held | alone]
        if not free:
            return
        device = self.chance.choice(free)
        exclusive = device.id == "alone"
        variant = Variant.CPU if device.kind is DeviceKind.CPU else Variant.GPU
        self._ordinals += 1
        spec = ReplicaSpec(
            id=f"{function.name}-{self._ordinals}",
            function=function.key,
            variant=variant,
            revision=function.revision,
            ordinal=self._ordinals,
            devices=(device.id,),
        )
        flow = self.table.flow(function.key, function.key, Variant.GPU)
        slots = self.table.devices[device.id]
        replica: AnyReplica = Replica(spec, flow, slots, exclusive=exclusive, now_us=self.now_us)
        replica.concurrency = function.concurrency_of(Variant.GPU)
        self.table.add(replica)
        replica.state = ReplicaState.WARM
        self.table.state_changed(replica)
        if self.lookout.arrangement.renew(self.table.flows.values()):
            self.policy.arrange(self.lookout.arrangement.lanes)

    def _step(self) -> None:
        dice = self.chance.random()
        if dice < 0.6:
            self._arrive(self.chance.choice(self.functions))
        elif dice < 0.97:
            self._advance()
        elif self.queued:
            request = self.queued.pop(self.chance.choice(list(self.queued)))
            assert self.policy.cancel(request.id) is request
            self.given_up += 1

    def _arrive(self, function: Function) -> None:
        self._count += 1
        flow = self.table.flows[function.key]
        latency_us = function.spec.slo.latency_us
        request = QueuedRequest(
            id=f"r{self._count}",
            flow=flow.key,
            variant=Variant.GPU,
            arrival_us=self.now_us,
            objective_us=self.now_us + latency_us,
            timeout_us=self.now_us + function.spec.timeout_us,
            predicted_exec_us=self.chance.randint(1, max(2, latency_us // 3)),
            priority=function.spec.priority,
            late_ok=function.serves_late,
        )
        verdict = self._judge(request, function)
        if verdict.refusal is not None:
            self.refused += 1
            return
        bind(request, verdict)
        for shed in verdict.shed:
            assert self.queued[shed].priority.level < request.priority.level
            assert self.policy.cancel(shed) is self.queued.pop(shed)
            self.shed += 1
        self.promised += bool(request.promise_us)
        self.queued[request.id] = request
        self.policy.push(request)
        self.most_queued = max(self.most_queued, len(self.queued))
        for device in least_loaded_first(flow.devices):
            self._offer(device.device.id)
            if request.id not in self.queued:
                break

    def _judge(self, request: QueuedRequest, function: Function) -> Verdict:
        sight = self.lookout.sight(
            request,
            self.table.flows[function.key],
            function,
            policy=self.policy,
            takes_late=function.serves_late,
            now_us=self.now_us,
        )
        assert sight is not None
        # What is predicted is a bound here, so no margin is needed.
        return judge(request, replace(sight, margin_ppm=0), policy=self.policy, accepting=True)

    def _offer(self, device_id: str) -> None:
        device = self.table.devices[device_id]
        while (popped := pop_for(self.policy, device, self.now_us)) is not None:
            request, replica = popped
            del self.queued[request.id]
            if replica is None:
                if request.promise_us:
                    self.late.append((request, self.now_us))
                continue
            took_us = request.predicted_exec_us
            if self.chance.random() < 0.5:
                took_us = self.chance.randint(0, took_us)
            run = Ran(request, self.now_us)
            self.table.occupy(replica, run)
            self._ordinals += 1
            heappush(self.ends, (self.now_us + took_us, self._ordinals, replica, run))

    def _advance(self) -> None:
        """To the next end of a run, or half way there."""
        if not self.ends:
            self.now_us += self.chance.randint(0, 20)
            return
        if self.chance.random() < 0.3:
            self.now_us += (self.ends[0][0] - self.now_us) // 2
            return
        self.now_us, _, replica, run = heappop(self.ends)
        self.table.vacate(replica, run, self.now_us)
        request = run.request
        self.policy.done(request, self.now_us - run.dispatched_us)
        if request.promise_us:
            if self.now_us > request.objective_us:
                self.late.append((request, self.now_us))
            else:
                self.kept += 1
        self._offer(replica.device.device.id)
