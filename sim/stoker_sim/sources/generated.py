"""Workloads of the generators that a scenario names: functions that are all alike but for their time, and a law."""

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from stoker_sim.assumptions import Assumptions, declared
from stoker_sim.generate.closed_loop import closed_loop
from stoker_sim.generate.exec_times import ExecTimes, Fixed, Lognormal
from stoker_sim.generate.mmpp import Bursts, mmpp
from stoker_sim.generate.periodic import Period, periodic
from stoker_sim.generate.poisson import poisson
from stoker_sim.generate.zipf import zipf_rates
from stoker_sim.sources import forms
from stoker_sim.workload import ANY, Behaviour, ClosedLoop, SimFunction, Workload


def generated(source: forms.Generated, given: Assumptions, factor: float) -> Workload:
    """At `factor` times the rate that the source names; closed loops have none. Raises BadWorkload."""
    functions = _functions(source, given)
    horizon_us, seed, law = source.duration, given.seed, _law(source)
    match source:
        case forms.Poisson():
            work = poisson(functions, _rates(source, factor), horizon_us, seed, law)
        case forms.Bursts():
            bursts = [
                Bursts.of_mean(rate, source.ratio, quiet_us=source.quiet, burst_us=source.burst)
                for rate in _rates(source, factor)
            ]
            work = mmpp(functions, bursts, horizon_us, seed, law)
        case forms.Periodic():
            periods = [
                Period(period_us=max(1, round(period / factor)), jitter=source.jitter)
                for period in _in_turn(source.period, len(functions))
            ]
            work = periodic(functions, periods, horizon_us, seed, law)
        case forms.ClosedLoops():
            loops = [
                ClosedLoop(
                    function=index,
                    clients=source.clients,
                    think_us=source.think,
                    p99_over_p50=source.p99_over_p50,
                    seed=seed,
                )
                for index in range(len(functions))
            ]
            work = closed_loop(functions, loops, horizon_us)
        case _:
            raise AssertionError(f"there is no generator for {type(source).__name__}")
    return _noted(work, source, given)


def _functions(source: forms.Generated, given: Assumptions) -> list[SimFunction]:
    return [
        declared(
            f"{source.name}-{index % source.tenants}",
            f"f-{index}",
            Behaviour(
                exec_us={ANY: exec_us},
                cold_us=given.start_us,
                resume_us=given.resume_us,
                swap_mib=given.device_memory_mib,
            ),
            given,
            priority=source.priority,
        )
        for index, exec_us in enumerate(_in_turn(source.exec, source.functions))
    ]


def _in_turn(values: Sequence[int], count: int) -> list[int]:
    return [int(value) for value in np.resize(np.array(values, np.int64), count)]


def _rates(source: forms.Rated, factor: float) -> Sequence[float]:
    rates: list[float] = zipf_rates(source.functions, source.per_second * factor, source.zipf).tolist()
    return rates


def _law(source: forms.Generated) -> ExecTimes:
    return Fixed() if source.p99_over_p50 == 1 else Lognormal(source.p99_over_p50)


def _noted(work: Workload, source: forms.Generated, given: Assumptions) -> Workload:
    spread = f", lognormal with a 99th percentile of {source.p99_over_p50:g} times the median"
    return replace(
        work,
        function_notes=(
            *work.function_notes,
            *given.notes(memory=source.memory is None),
            f"{source.functions} functions of {source.tenants} tenants are made up"
            + (spread if source.p99_over_p50 > 1 else ""),
        ),
    )
