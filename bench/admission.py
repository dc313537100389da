"""What one verdict costs at an agent with 1,000 requests queued (DESIGN section 11: at most 50 us).

The real table, lookout, policy and verdict: three functions on two shared GPUs, all slots busy, in an overload: most
requests are refused. `python -m bench.admission`.
"""

import random
import statistics
import time

from stoker.model.function import GpuOption, OnMiss, Sharing, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.registry import make_queueing
from stoker.prediction import Predictions
from stoker.slots.forecast import Lookout
from stoker.slots.table import Replica, ReplicaTable
from stoker.slots.verdict import bind, judge
from stoker.testing.builders import make_function, make_gpu

QUEUED = 1_000
VERDICTS = 4_000
MS = 1_000
GPU = (GpuOption(memory_mib=1_024, sharing=Sharing.SHARED),)


class Run:
    """What holds a slot."""

    def __init__(self, request: QueuedRequest) -> None:
        self.request = request
        self.dispatched_us = 0


class World:
    """Functions f0, f1, f2, of which requests take 20, 30 and 40 ms, on two GPUs of one slot each."""

    def __init__(self, queueing: str) -> None:
        self.table: ReplicaTable[Replica[Run]] = ReplicaTable([make_gpu("g0"), make_gpu("g1")])
        self.predictions = Predictions()
        self.lookout = Lookout(self.predictions)
        self.policy = make_queueing(queueing)
        self.functions = [
            make_function(f"f{n}", gpu=GPU, latency_us=(10 + 5 * n) * 1_000 * MS, on_predicted_miss=(OnMiss.REFUSE,))
            for n in range(3)
        ]
        self.chance = random.Random(1)
        self.count = 0
        for number, function in enumerate(self.functions):
            for _ in range(70):
                self.predictions.observe_exec(function.key, Variant.GPU, "A100-40GB", (20 + 10 * number) * MS)
            for ordinal, device in enumerate(("g0", "g1")):
                self._add(function.key, ordinal, device)
        for slots in self.table.devices.values():
            self.table.occupy(slots.residents[0], Run(self.request(0)[0]))
        self.lookout.arrangement.renew(self.table.flows.values())
        self.policy.arrange(self.lookout.arrangement.lanes)

    def _add(self, key: str, ordinal: int, device: str) -> None:
        spec = ReplicaSpec(
            id=f"{key}-{ordinal}", function=key, variant=Variant.GPU, revision="0", ordinal=ordinal, devices=(device,)
        )
        flow = self.table.flow(key, key, Variant.GPU)
        replica: Replica[Run] = Replica(spec, flow, self.table.devices[device], exclusive=False, now_us=0)
        self.table.add(replica)
        replica.state = ReplicaState.WARM
        self.table.state_changed(replica)

    def request(self, now_us: int) -> tuple[QueuedRequest, int]:
        number = self.chance.randrange(3)
        function = self.functions[number]
        self.count += 1
        request = QueuedRequest(
            id=str(self.count),
            flow=function.key,
            variant=Variant.GPU,
            arrival_us=now_us,
            objective_us=now_us + function.spec.slo.latency_us,
            timeout_us=now_us + function.spec.timeout_us,
            predicted_exec_us=(20 + 10 * number) * MS,
            late_ok=False,
        )
        return request, number

    def ask(self, now_us: int) -> tuple[float, bool]:
        """Seconds of one verdict with all that it looks at; whether it was taken (and queued)."""
        request, number = self.request(now_us)
        function = self.functions[number]
        begin = time.perf_counter()
        flow = self.table.flows[request.flow]
        sight = self.lookout.sight(request, flow, function, policy=self.policy, takes_late=False, now_us=now_us)
        verdict = judge(request, sight, policy=self.policy, accepting=True)
        took_s = time.perf_counter() - begin
        if verdict.refusal is None:
            bind(request, verdict)
            self.policy.push(request)
        return took_s, verdict.refusal is None


def measure(queueing: str) -> str:
    """One row."""
    world = World(queueing)
    now_us = 0
    while world.policy.queued() < QUEUED:
        # The slots are taken to be as good as their predictions: a run ends, another begins.
        _, taken = world.ask(now_us)
        if not taken:
            break
        now_us += 10
    queued = world.policy.queued()
    times_us: list[float] = []
    refused = 0
    for _ in range(VERDICTS):
        took_s, taken = world.ask(now_us)
        times_us.append(took_s * 1e6)
        refused += not taken
        if taken:
            assert world.policy.cancel(str(world.count)) is not None
    times_us.sort()
    p50, p99 = statistics.median(times_us), times_us[-VERDICTS // 100]
    return f"{queueing:12} {queued:7} {refused / VERDICTS:8.0%} {p50:9.1f} {p99:9.1f}"


def main() -> None:
    print("queueing      queued  refused    p50 us    p99 us   (budget 50 us)")
    for queueing in ("least-slack", "edf", "fcfs", "mqfq-sticky", "lean-slack"):
        print(measure(queueing))


if __name__ == "__main__":
    main()
