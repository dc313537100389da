"""The same trace in the simulator, with what the calibration measured and nothing that the replays did."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.reality.arrivals import Trace
from bench.reality.calibration import Calibration
from bench.reality.figures import Figures, figures
from bench.reality.world import PROFILES, devices, functions, plan_params
from stoker.model.function import Function
from stoker_sim.draws import key_of, uniforms
from stoker_sim.engine.setup import Delays, Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import Behaviour, SimFunction, Workload


def rate_factor(load: float, slots: int, calibration: Calibration) -> float:
    """By how much the rates of PROFILES are to be multiplied for a load: offered warm execution time over slots."""
    offered_us = sum(
        profile.per_second * calibration.mean_exec_us(index, profile.mean_units)
        for index, profile in enumerate(PROFILES)
    )
    return load * slots * 1e6 / offered_us


def replayed(
    trace: Trace,
    policy: str,
    calibration: Calibration,
    seed: int,
    *,
    own_us: Sequence[int | None] = (),
    stretch: float = 1.0,
) -> Figures:
    """One run. `own_us`: what each execution took in a replay, to tell wrong inputs from a wrong model; `stretch`: by
    what all executions are multiplied, to see how much hangs on them.
    """
    outcomes = simulate(workload(trace, calibration, seed, own_us, stretch), setup(policy, calibration, seed))
    latency_us = outcomes.finish_us - outcomes.arrival_us + calibration.overhead_us
    return figures(
        wait_us=outcomes.wait_us[outcomes.dispatch_us >= 0],
        on_time=np.logical_and(outcomes.served, latency_us <= outcomes.slo_us),
        cold=outcomes.cold,
        starts=int(np.count_nonzero(outcomes.residence.warm_us >= 0)),
    )


def workload(
    trace: Trace, calibration: Calibration, seed: int, own_us: Sequence[int | None] = (), stretch: float = 1.0
) -> Workload:
    """Drawn by the seed: how far each execution is off the calibrated line, a start-up for each function, how late each
    request is sent, and when the trace begins between two plans. All but the last are measured values.
    """
    exec_us = np.array([calibration.exec_us(units) for units in trace.units.tolist()])
    for index, measured in enumerate(calibration.functions):
        mine = np.flatnonzero(trace.function == index)
        exec_us[mine] += _drawn(measured.rest_us, seed, f"rest {measured.name}", len(mine))
    for number, took_us in enumerate(own_us):
        if took_us is not None:
            exec_us[number] = took_us
    phase_us = int(uniforms(key_of(seed, "reality", "phase"), np.arange(1))[0] * calibration.plan_us)
    time_us = trace.time_us + phase_us + _drawn(calibration.late_us, seed, "late", len(trace))
    order = np.argsort(time_us, kind="stable")
    return Workload(
        functions=tuple(
            _function(index, definition, trace, calibration, seed)
            for index, definition in enumerate(functions(calibration.kind))
        ),
        time_us=time_us[order],
        function=trace.function[order],
        exec_us=np.maximum(1, np.rint(stretch * exec_us[order])).astype(np.int64),
        horizon_us=trace.horizon_us + phase_us + max(calibration.late_us, default=0),
        source="bench.reality",
    )


def setup(policy: str, calibration: Calibration, seed: int) -> Setup:
    return Setup(
        devices=devices(calibration.kind),
        form=Form.REPLICAS,
        queueing=policy,
        knowledge=Knowledge.LEARNED,
        plan=plan_params(),
        delays=Delays(
            probe_us=calibration.probe_us,
            create_us=calibration.attach_us,
            stop_us=calibration.stop_us,
            plan_us=calibration.plan_us,
        ),
        seed=seed,
    )


def _function(index: int, definition: Function, trace: Trace, calibration: Calibration, seed: int) -> SimFunction:
    measured, mine = calibration.functions[index], trace.units[trace.function == index]
    # Only the ratio between products would depend on it, and there is one.
    typical = float(np.median(mine)) if len(mine) else PROFILES[index].units
    listens_us = int(_drawn(measured.load_us, seed, f"start {measured.name}", 1)[0])
    return SimFunction(
        definition=definition,
        behaviour=Behaviour(
            exec_us={devices(calibration.kind)[0].product: max(1, round(calibration.exec_us(typical)))},
            cold_us=max(0, listens_us - calibration.attach_us),
            resume_us=0,
            swap_mib=0,
        ),
    )


def _drawn(samples: Sequence[int], seed: int, what: str, count: int) -> NDArray[np.int64]:
    """So many of the samples, with replacement; zeros where there are none."""
    if not samples:
        return np.zeros(count, np.int64)
    places = uniforms(key_of(seed, "reality", what), np.arange(count)) * len(samples)
    return np.array(samples, np.int64)[places.astype(np.int64)]
