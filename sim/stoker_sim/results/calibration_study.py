"""What `calibration` is made of: one function on a shared GPU whose execution time doubles in mid-run, and beside which
another one begins to run later, under margins of two kinds. Plain figures; stoker_sim.results.calibration makes the
page of them.

The platform is that of the simulator (form replicas, execution times learned, every predicted miss refused). A margin
is exchanged by giving the agent other Predictions; all else is the same. Constants are ours.
"""

from bisect import insort
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from stoker.calibration import FIRST, MOST, ONE, POOL_BELOW, bound_ppm
from stoker.model.container import ContainerSpec
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, FunctionSpec, GpuOption, OnMiss, Scaling, Sharing, Slo
from stoker.prediction import WINDOW, Predictions
from stoker_sim.engine.setup import Form, Knowledge, Setup, Slowdowns
from stoker_sim.engine.simulate import simulate
from stoker_sim.generate.exec_times import Lognormal
from stoker_sim.generate.poisson import from_times, stepped
from stoker_sim.outcomes import Outcomes
from stoker_sim.workload import ANY, Behaviour, SimFunction, Workload

S, MS = 1_000_000, 1_000
SEEDS = (1, 2, 3)
PERCENTILES = (90.0, 99.0)
PHASES = ("as at first", "execution takes twice as long", "another function runs beside it")
_EXEC_US, _OBJECTIVE_US, _OTHER_US = 20 * MS, 400 * MS, 30 * MS
_SPREAD = 1.6
"""99th percentile of an execution over its median."""
_RATE, _OTHER_RATE = 80.0, 25.0
"""Requests a second. Two slots serve about 100 of the first kind at first, and half as many later: most are refused
then.
"""
_SLOWED = 1.4
"""How much longer an execution takes beside one of the other function."""
_SLOTS = 2


class Shift(Struct, frozen=True, kw_only=True):
    """When what happens."""

    phase_us: int
    """Of each of the three phases."""

    @property
    def horizon_us(self) -> int:
        return len(PHASES) * self.phase_us


class Watched(Predictions):
    """As the live ones, and writes down what is scored."""

    def __init__(self) -> None:
        super().__init__()
        self.returned: dict[str, list[tuple[int, int]]] = {}
        """By function, of each that came back: the margin then, and its score."""

    def observe_finish(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        """As Predictions.observe_finish()."""
        score = min(MOST, (actual_us - predicted_us) * ONE // max(1, predicted_us))
        self.returned.setdefault(key, []).append((self.margin_ppm(key, percentile), score))
        return super().observe_finish(key, percentile, predicted_us, actual_us)


class WindowMargins(Watched):
    """In the calibration's place: that percentile (nearest rank) of the last `size` scores is the margin."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._sorted: dict[str, list[int]] = {}
        """By function, its last scores from the least on."""

    def observe_finish(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        """As Predictions.observe_finish()."""
        covered = super().observe_finish(key, percentile, predicted_us, actual_us)
        scores, kept = self.returned[key], self._sorted.setdefault(key, [])
        insort(kept, scores[-1][1])
        if len(kept) > self._size:
            kept.remove(scores[-1 - self._size][1])
        return covered

    def margin_ppm(self, key: str, percentile: float) -> int:
        """As Predictions.margin_ppm()."""
        kept = self._sorted.get(key)
        return kept[ceil(percentile / 100 * len(kept)) - 1] if kept else FIRST


TRACKING = "quantile tracking"
WINDOWS = {f"window of {size:,}": size for size in (WINDOW, 1_000)}
"""As long as those of the execution times, and long enough for a 99th percentile."""
MARGINS: Mapping[str, Callable[[], Watched]] = MappingProxyType(
    {TRACKING: Watched, **{name: partial(WindowMargins, size) for name, size in WINDOWS.items()}}
)


class Count(Struct, frozen=True, kw_only=True):
    """Scores of a part of a run, and how many of them were above the margin that they found."""

    scores: int
    misses: int

    @property
    def share(self) -> float:
        return self.misses / max(1, self.scores)


class Moment(Struct, frozen=True, kw_only=True):
    """A margin, and what was counted so far."""

    second: int
    margin: float
    so_far: Count


class Told(Struct, frozen=True, kw_only=True):
    """What one run came to, of the function that shifts."""

    whole: Count
    """Finish times beyond the margin at which they came back: what the theorem counts."""
    phases: tuple[Count, ...]
    """The same of each phase, by when they came back."""
    at_admission: int
    """Finish times beyond the margin of their admission."""
    under_way: int
    """The most requests that were admitted and not back at one time."""
    largest: float
    """The largest score, at least 0."""
    promised: int
    late: int
    """Promised requests that ended after their objective, or were dropped."""
    offered: int
    on_time: int
    moments: tuple[Moment, ...]
    """One each second."""

    def bound(self, phase: int | None = None) -> float:
        """How far the share of misses of the whole run or of a phase may be from alpha, whatever was scored
        (docs/concepts/theory.md, Theorem 11).
        """
        return _bound(self.whole if phase is None else self.phases[phase], self.largest, begins=not phase)

    def bound_at(self, second: int) -> float:
        """The same of all that was scored by then."""
        return _bound(self.moments[second - 1].so_far, self.largest, begins=True)


def _bound(count: Count, largest: float, *, begins: bool) -> float:
    """The theorem's bound for scores that follow on one another. Where they are a function's first (`begins`),
    POOL_BELOW of them were held against the margin of all functions.
    """
    scores = max(1, count.scores)
    return bound_ppm(scores, round(largest * ONE)) / ONE + (POOL_BELOW / scores if begins else 0)


def description(shift: Shift) -> str:
    """What is played."""
    phase_s = shift.phase_us // S
    return f"""simulated (form replicas, execution times learned, every predicted miss refused): one GPU of {_SLOTS}
    slots, order least-slack. A function of {_EXEC_US // MS} ms in the median (lognormal, 99th percentile {_SPREAD}
    times that), objective {_OBJECTIVE_US // MS} ms, gets {_RATE:g} requests/s for {len(PHASES) * phase_s} s (Poisson).
    From {phase_s} s on its executions take twice as long; from {2 * phase_s} s on another one of {_OTHER_US // MS} ms
    and {_OTHER_RATE:g} requests/s runs beside it, and each slows the other down {_SLOWED} times"""


def play(margins: str, percentile: float, seed: int, shift: Shift) -> Told:
    """One run with the margins of that name."""
    work, setup = _workload(percentile, seed, shift), _setup()
    made: list[Watched] = []

    def watched() -> Watched:
        made.append(MARGINS[margins]())
        return made[-1]

    result = simulate(work, setup, predictions=watched)
    (agent,) = made
    return _told(result, agent, shift)


def _told(result: Outcomes, agent: Watched, shift: Shift) -> Told:
    mine = result.function == 0
    ran = np.flatnonzero(mine & (result.dispatch_us >= 0))
    back_us = result.dispatch_us[ran] + result.occupied_us[ran]
    order = np.argsort(back_us, kind="stable")
    ran, back_us = ran[order], back_us[order]
    returned = agent.returned[result.functions[0]]
    assert len(returned) == len(ran), "each run that ended is scored once"
    margins, scores = (np.array(column, np.int64) for column in zip(*returned, strict=True))
    missed = scores > margins
    # As many as had come back when one was admitted made its margin: the one that the next of them found.
    before = np.minimum(np.searchsorted(back_us, result.arrival_us[ran]), len(ran) - 1)
    admitted_us = result.arrival_us[np.sort(ran)]
    under_way = np.searchsorted(admitted_us, back_us, side="right") - np.arange(len(ran))
    phase = np.minimum(back_us // shift.phase_us, len(PHASES) - 1)
    so_far = np.searchsorted(back_us, np.arange(1, shift.horizon_us // S + 1) * S)
    misses = np.concatenate(([0], np.cumsum(missed)))
    promised = mine & result.promised
    return Told(
        whole=_count(missed),
        phases=tuple(_count(missed[phase == one]) for one in range(len(PHASES))),
        at_admission=int((scores > margins[before]).sum()),
        under_way=int(under_way.max()),
        largest=max(0, int(scores.max())) / ONE,
        promised=int(promised.sum()),
        late=int((promised & ~result.on_time).sum()),
        offered=int(mine.sum()),
        on_time=int((mine & result.on_time).sum()),
        moments=tuple(
            Moment(
                second=second,
                margin=int(margins[min(scored, len(ran) - 1)]) / ONE,
                so_far=Count(scores=scored, misses=int(misses[scored])),
            )
            for second, scored in enumerate(so_far.tolist(), 1)
        ),
    )


def _count(missed: NDArray[np.bool_]) -> Count:
    return Count(scores=len(missed), misses=int(missed.sum()))


def _workload(percentile: float, seed: int, shift: Shift) -> Workload:
    functions = [_function("shifts", _EXEC_US, percentile), _function("beside", _OTHER_US, percentile)]
    begins_us = (len(PHASES) - 1) * shift.phase_us
    times = [
        stepped(functions[0].key, [0, shift.horizon_us], [_RATE], seed),
        stepped(functions[1].key, [0, begins_us, shift.horizon_us], [0.0, _OTHER_RATE], seed),
    ]
    work = from_times(
        functions, times, shift.horizon_us, seed=seed, law=Lognormal(_SPREAD), note=f"Poisson arrivals (seed {seed})"
    )
    doubled = (work.function == 0) & (work.time_us >= shift.phase_us)
    return replace(work, exec_us=np.where(doubled, 2 * work.exec_us, work.exec_us))


def _function(name: str, exec_us: int, percentile: float) -> SimFunction:
    spec = FunctionSpec(
        container=ContainerSpec(image=name),
        gpu=(GpuOption(memory_mib=1_000, sharing=Sharing.SHARED),),
        slo=Slo(latency_us=_OBJECTIVE_US, percentile=percentile),
        timeout_us=60 * S,
        on_predicted_miss=(OnMiss.REFUSE,),
        scaling=Scaling(min_replicas=1, max_replicas=1, concurrency=_SLOTS),
    )
    definition = Function(namespace="study", name=name, uid=name, generation=1, revision="0000000001", spec=spec)
    return SimFunction(definition=definition, behaviour=Behaviour(exec_us={ANY: exec_us}, cold_us=S, interference=name))


def _setup() -> Setup:
    return Setup(
        devices=(Device(id="gpu", kind=DeviceKind.GPU, product="any", memory_mib=8_000, slots=_SLOTS),),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
        slowdowns=Slowdowns({"shifts": {"beside": _SLOWED}, "beside": {"shifts": _SLOWED}}),
    )
