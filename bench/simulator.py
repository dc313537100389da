"""`python -m bench.simulator`: how fast the simulator is, what a pop costs, and how much memory a request takes.

Figures, not tests. SimPy's M/M/c (a process for each request, one Resource) is measured in the same alternating
rounds on the same arrivals and services, because only ratios within a run mean much; of each target the fastest round
counts. `as live` is the policy in ServeLate, as the agent runs it.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simpy

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.testing.builders import make_function, make_gpu, make_request
from stoker_sim.engine.setup import Form, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import ANY, Behaviour, SimFunction, Workload

SERVERS = 4
LOAD = 0.85
MEAN_US = 10_000
ELIGIBLE = {"all": 1.0, "half": 0.5, "100": 100, "5": 5}
"""How many flows a slot may use: a share of them (up to 1.0), or a number."""
REPLICAS = "least-slack as live, replicas of 100 functions on 4 GPUs"


def workload(requests: int, flows: int, mean_us: int = MEAN_US) -> Workload:
    """Poisson arrivals and exponential services at LOAD of SERVERS slots, spread evenly over the flows."""
    draws = np.random.default_rng(1)
    time_us = np.cumsum(draws.exponential(mean_us / SERVERS / LOAD, requests)).astype(np.int64)
    return Workload(
        functions=tuple(
            SimFunction(
                definition=make_function(f"f{index}"),
                behaviour=Behaviour(exec_us={ANY: mean_us}, cold_us=100_000, resume_us=20_000, swap_mib=200),
            )
            for index in range(flows)
        ),
        time_us=time_us,
        function=draws.integers(0, flows, requests).astype(np.int32),
        exec_us=np.maximum(1, draws.exponential(mean_us, requests)).astype(np.int64),
        horizon_us=int(time_us[-1]) + 1,
    )


def with_simpy(work: Workload) -> None:
    """The same M/M/c as its documentation would write it."""
    arrivals: list[int] = work.time_us.tolist()
    services: list[int] = work.exec_us.tolist()
    environment = simpy.Environment()
    servers = simpy.Resource(environment, SERVERS)
    waits = [0.0] * len(arrivals)

    def request(index: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
        came = environment.now
        with servers.request() as turn:
            yield turn
            waits[index] = environment.now - came
            yield environment.timeout(services[index])

    def source():  # type: ignore[no-untyped-def]  # noqa: ANN202
        last = 0
        for index, at in enumerate(arrivals):
            yield environment.timeout(at - last)
            last = at
            environment.process(request(index))

    environment.process(source())  # type: ignore[no-untyped-call]
    environment.run()


def speeds(requests: int, rounds: int) -> dict[str, float]:
    """Requests per second of CPU time by target, SimPy among them; the best of the rounds."""
    one, many = workload(requests, 1), workload(requests, 1_000)
    device = (make_gpu(slots=SERVERS, memory_mib=1 << 20),)
    targets: dict[str, Callable[[], object]] = {"simpy, M/M/c": lambda: with_simpy(one)}
    for name in sorted(POLICIES):
        for label, serve_late in (("as published", False), ("as live", True)):
            setup = Setup(devices=device, queueing=name, serve_late=serve_late)
            targets[f"{name} {label}, 1 flow"] = lambda setup=setup: simulate(one, setup)  # type: ignore[misc]
            targets[f"{name} {label}, 1,000 flows"] = lambda setup=setup: simulate(many, setup)  # type: ignore[misc]
    late = Setup(devices=device, queueing="fcfs", form=Form.LATE_BINDING)
    targets["fcfs as live, late binding, 1,000 flows"] = lambda: simulate(many, late)
    gpus = tuple(make_gpu(f"sim-{index}") for index in range(SERVERS))
    tight = Setup(devices=gpus, queueing="mqfq-sticky", form=Form.LATE_BINDING)
    targets["mqfq-sticky as live, late binding, memory for 40 of 1,000 flows"] = lambda: simulate(many, tight)
    few = workload(max(1, requests // 60), 100, mean_us=20 * MEAN_US)
    replicas = Setup(devices=gpus, queueing="least-slack", form=Form.REPLICAS)
    targets[REPLICAS] = lambda: simulate(few, replicas)
    best: dict[str, float] = {}
    for number in range(rounds):
        for name, target in targets.items():
            print(f"  round {number + 1}/{rounds}: {name}", file=sys.stderr)
            begin = time.process_time()
            target()
            took = time.process_time() - begin
            count = len(few) if name == REPLICAS else requests
            best[name] = max(best.get(name, 0.0), count / took)
    return best


def pop_us(make: Callable[[], QueuePolicy], flows: int, eligible: float) -> float:
    """Median microseconds of one pop: two requests queued in every flow, each pop made good in a flow that is eligible.

    So flows that are not eligible come to stand first, and are passed over each time; half of those that are eligible
    are resident.
    """
    policy, draws = make(), random.Random(1)
    names = [f"n{index % 50}/f{index}" for index in range(flows)]
    some = draws.sample(names, int(eligible * flows) if eligible <= 1 else int(eligible))
    slot = SlotView("sim-0", frozenset(some), frozenset(some[::2]))
    now_us = 0

    def fresh(number: int, flow: str) -> QueuedRequest:
        work_us = draws.randrange(1_000, 100_000)
        objective_us = now_us + draws.randrange(10**9, 2 * 10**9)
        return make_request(
            f"r{number}",
            flow=flow,
            arrival_us=now_us,
            objective_us=objective_us,
            timeout_us=10**12,
            predicted_exec_us=work_us,
            start_us=50_000,
        )

    for number in range(2 * flows):
        policy.push(fresh(number, names[number % flows]))
    count = 1_000
    took_ns = []
    spare = [fresh(2 * flows + number, draws.choice(some)) for number in range(count)]
    for request in spare:
        now_us += 1_000
        begin_ns = time.perf_counter_ns()
        popped = policy.pop(slot, now_us)
        took_ns.append(time.perf_counter_ns() - begin_ns)
        if popped is not None:
            policy.done(popped, popped.predicted_exec_us)
        policy.push(request)
    return statistics.median(took_ns) / 1000


def peak_mib(requests: int) -> float:
    """Peak resident memory of a process that simulates so many requests."""
    code = f"from bench.simulator import resident; print(resident({requests}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def resident(requests: int) -> float:
    """Run one simulation here; MiB at the peak."""
    simulate(workload(requests, 100), Setup(devices=(make_gpu(slots=SERVERS),)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.simulator", description=__doc__)
    parser.add_argument("--requests", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    speed = speeds(arguments.requests, arguments.rounds)
    yardstick = speed["simpy, M/M/c"]
    print(f"Python {sys.version.split()[0]}; {arguments.requests} requests; best of {arguments.rounds} rounds")
    print("| simulated | requests/s | times simpy |\n|---|---|---|")
    for name, value in speed.items():
        print(f"| {name} | {value:.0f} | {value / yardstick:.2f} |")
    columns = [f"{flows:,} flows, {name} eligible" for flows in (1_000, 10_000) for name in ELIGIBLE]
    print(f"\n| one pop, us | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    pops: dict[str, list[float]] = {}
    for name in sorted(POLICIES):
        for label, make in (
            ("as published", lambda name=name: POLICIES[name]()),
            ("as live", lambda name=name: make_queueing(name)),
        ):
            print(f"  pops: {name} {label}", file=sys.stderr)
            found = [pop_us(make, flows, some) for flows in (1_000, 10_000) for some in ELIGIBLE.values()]
            pops[f"{name} {label}"] = found
            print(f"| {name} {label} | {' | '.join(f'{us:.1f}' for us in found)} |")
    small, large = peak_mib(100_000), peak_mib(1_100_000)
    print(f"\nmemory: {large - small:.0f} MiB per million requests, the workload's own columns included")
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {
                    "requests_per_s": speed,
                    "pop_us": {name: dict(zip(columns, found, strict=True)) for name, found in pops.items()},
                    "mib_per_million": large - small,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
