"""Replays and simulations of the same cases, put together."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from bench.reality.arrivals import REPLAY_SEED, Trace, poisson
from bench.reality.calibration import Calibration
from bench.reality.cases import Case, Replay
from bench.reality.simulated import rate_factor, replayed
from bench.reality.world import KINDS, POLICIES, PROFILES, slots

DRAWS = 10
"""Simulations of each case, each with other draws from the calibration."""
STRETCH = 1.01


def trace_of(kind: str, load: float, calibration: Calibration, seconds: float) -> Trace:
    """What is played in all replays of a kind at a load: offered warm execution time over slots is about the load."""
    factor = rate_factor(load, slots(kind), calibration)
    return poisson([profile.per_second * factor for profile in PROFILES], seconds, REPLAY_SEED)


def compared(replays: Sequence[Replay], calibrations: Mapping[str, Calibration], seconds: float) -> list[Case]:
    """One case for each kind, load and policy that was replayed, in that order."""
    by_case: dict[tuple[str, float, str], list[Replay]] = {}
    for replay in replays:
        by_case.setdefault((replay.kind, replay.load, replay.policy), []).append(replay)
    keys = sorted(by_case, key=_order)
    with ProcessPoolExecutor() as pool:
        return list(
            pool.map(
                _case,
                [by_case[key] for key in keys],
                [calibrations[kind] for kind, _, _ in keys],
                [trace_of(kind, load, calibrations[kind], seconds) for kind, load, _ in keys],
            )
        )


def _order(key: tuple[str, float, str]) -> tuple[int, float, int, str]:
    kind, load, policy = key
    return KINDS.index(kind), load, POLICIES.index(policy) if policy in POLICIES else len(POLICIES), policy


def _case(replays: Sequence[Replay], calibration: Calibration, trace: Trace) -> Case:
    """Of replays of one case."""
    first = replays[0]
    expected_us = [
        calibration.mean_exec_us(function, units)
        for function, units in zip(trace.function.tolist(), trace.units.tolist(), strict=True)
    ]
    ran = [
        (took_us, expected_us[number])
        for replay in replays
        for number, took_us in enumerate(replay.took_us)
        if took_us is not None
    ]
    took_us, foreseen_us = np.array(ran, float).reshape(-1, 2).sum(axis=0)
    return Case(
        kind=first.kind,
        load=first.load,
        policy=first.policy,
        requests=len(trace),
        live=[replay.figures for replay in replays],
        simulated=[replayed(trace, first.policy, calibration, seed) for seed in range(DRAWS)],
        own=[replayed(trace, first.policy, calibration, replay.number, own_us=replay.took_us) for replay in replays],
        stretched=[replayed(trace, first.policy, calibration, seed, stretch=STRETCH) for seed in range(DRAWS)],
        longer=float(took_us / foreseen_us - 1) if foreseen_us else 0.0,
    )
