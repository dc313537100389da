"""What `calibration` is made of: one function on a shared GPU whose execution time doubles in mid-run, and beside which
another one begins to run later, under margins of two kinds. Plain figures; stoker_sim.results.calibration makes the
page of them.

The platform is that of the simulator (form replicas, execution times learned, every predicted miss refused). A margin
is exchanged by giving the agent other Predictions; all else is the same. Constants are ours.
"""

from collections.abc import Callable, Mapping
from math import ceil
from types import MappingProxyType

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

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
    """What stands in the calibration's place: that percentile of the last WINDOW scores is the margin."""

    def __init__(self) -> None:
        super().__init__()
        self._margins: dict[str, int] = {}

    def observe_finish(self, key: str, percentile: float, predicted_us: int, actual_us: int) -> bool:
        """As Predictions.observe_finish()."""
        covered = super().observe_finish(key, percentile, predicted_us, actual_us)
        scores = sorted(score for _, score in self.returned[key][-WINDOW:])
        self._margins[key] = scores[ceil(percentile / 100 * len(scores)) - 1]
        return covered

    def margin_ppm(self, key: str, percentile: float) -> int:  # noqa: ARG002  each function has one
        """As Predictions.margin_ppm()."""
        return self._margins.get(key, FIRST)


TRACKING, WINDOWED = "quantile tracking", f"window of {WINDOW}"
MARGINS: Mapping[str, Callable[[], Watched]] = MappingProxyType({TRACKING: Watched, WINDOWED: WindowMargins})


class Told(Struct, frozen=True, kw_only=True):
    """What one run came to, of the function that shifts."""

    scores: int
    misses: int
    """Finish times beyond the margin at which they came back: what the theorem counts."""
    at_admission: int
    """Finish times beyond the margin of their admission."""
    under_way: int
    """The most requests that were admitted and not back at one time."""
    largest: float
    """The largest score, of any function."""
    bound: float
    """How far the share of misses may be from alpha, whatever was scored (docs/concepts/theory.md)."""
    promised: int
    late: int
    """Promised requests that ended after their objective, or were dropped."""
    offered: int
    on_time: int
    phases: tuple[tuple[int, int], ...]
    """Scores and misses of each phase."""
    margins: tuple[tuple[float, float], ...]
    """Time in seconds and margin, once a second."""


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
    # How many had come back when each was admitted: the margin was the one that the next of them found.
    before = np.searchsorted(back_us, result.arrival_us[ran])
    admitted = result.arrival_us[np.sort(ran)]
    under_way = np.searchsorted(admitted, back_us, side="right") - np.arange(len(ran))
    phase = np.minimum(back_us // shift.phase_us, len(PHASES) - 1)
    largest = max(score for scored in agent.returned.values() for _, score in scored)
    seconds = np.searchsorted(back_us, np.arange(1, shift.horizon_us // S) * S)
    promised = mine & result.promised
    return Told(
        scores=len(ran),
        misses=int(missed.sum()),
        at_admission=int((scores > margins[np.minimum(before, len(ran) - 1)]).sum()),
        under_way=int(under_way.max()),
        largest=largest / ONE,
        bound=bound_ppm(len(ran), largest) / ONE + POOL_BELOW / len(ran),
        promised=int(promised.sum()),
        late=int((promised & ~result.on_time).sum()),
        offered=int(mine.sum()),
        on_time=int((mine & result.on_time).sum()),
        phases=tuple((int((phase == one).sum()), int(missed[phase == one].sum())) for one in range(len(PHASES))),
        margins=tuple(
            (second, int(margins[index]) / ONE)
            for second, index in enumerate(seconds.tolist(), 1)
            if index < len(margins)
        ),
    )


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
