"""Outcomes written out by hand, for tests of figures: what became of each request, and who was resident."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Variant
from stoker.reasons import Outcome, Reason
from stoker.testing.builders import make_function
from stoker_sim.arrangement import arranged
from stoker_sim.evaluate.sample import Sample, sample_of
from stoker_sim.outcomes import OUTCOMES, REASONS, VARIANTS, Outcomes, Residence
from stoker_sim.workload import ANY, CPU, Behaviour, SimFunction, Workload

GPU = Device(id="gpu-0", kind=DeviceKind.GPU, product="A100", memory_mib=16_384)
CORES = Device(id="cpu-0", kind=DeviceKind.CPU, product=CPU, memory_mib=1 << 20, millicores=4000)
SLO_US = 100


class Row(Struct, frozen=True, kw_only=True):
    """One request; by default served at once on device 0. Times are microseconds, None: never."""

    at: int
    function: int = 0
    exec: int = 10
    slo: int = SLO_US
    dispatch: int | None = -1
    """-1: on arrival."""
    start: int = 0
    finish: int | None = None
    """None: when its execution ends."""
    held: int = 0
    device: int = 0
    outcome: Outcome = Outcome.SERVED
    reason: Reason | None = None
    cold: bool = False
    promised: bool = False


def refused(at: int, function: int = 0, exec_us: int = 10) -> Row:
    return Row(
        at=at,
        function=function,
        exec=exec_us,
        dispatch=None,
        finish=at,
        outcome=Outcome.REFUSED,
        reason=Reason.QUEUE_FULL,
    )


def expired(at: int, finish: int, function: int = 0) -> Row:
    return Row(at=at, function=function, dispatch=None, finish=finish, outcome=Outcome.EXPIRED, reason=Reason.TIMEOUT)


def function(name: str, *, percentile: float = 99.0, **definition: Any) -> SimFunction:
    """`tenant/name`; it takes 10 us on any GPU and twice as long on cores."""
    namespace, _, own = name.partition("/")
    made = make_function(own, namespace=namespace, **definition)
    spec = replace(made.spec, slo=replace(made.spec.slo, percentile=percentile))
    return SimFunction(
        definition=replace(made, spec=spec), behaviour=Behaviour(exec_us={ANY: 10, CPU: 20}, cold_us=1000)
    )


THREE = (function("a/f"), function("a/g"), function("b/h"))


def stay(
    begin: int,
    end: int,
    *,
    function: int = 0,
    device: int = 0,
    memory_mib: int = 4096,
    exclusive: bool = False,
    variant: Variant = Variant.GPU,
) -> tuple[int, ...]:
    """One residence."""
    return (function, VARIANTS.index(variant), device, begin, begin, end, memory_mib, int(exclusive))


def sampled(
    rows: Sequence[Row],
    owners: tuple[SimFunction, ...] = THREE,
    *,
    devices: tuple[Device, ...] = (GPU,),
    stays: Sequence[tuple[int, ...]] = (),
    horizon: int = 1000,
    warm_up: int = 0,
    weights: Mapping[str, int] | None = None,
) -> Sample:
    """The measured part of these requests, in the order of their arrival."""
    work = workload_of(rows, owners, horizon)
    return sample_of(work, devices, outcomes_of(rows, stays, horizon), warm_up_us=warm_up, namespace_weights=weights)


def workload_of(rows: Sequence[Row], owners: tuple[SimFunction, ...], horizon: int) -> Workload:
    return arranged(
        owners,
        np.array([row.at for row in rows], np.int64),
        np.array([row.function for row in rows], np.int32),
        np.array([row.exec for row in rows], np.int64),
        horizon_us=horizon,
    )


def outcomes_of(rows: Sequence[Row], stays: Sequence[tuple[int, ...]] = (), horizon: int = 1000) -> Outcomes:
    dispatches = [-1 if row.dispatch is None else row.at if row.dispatch == -1 else row.dispatch for row in rows]
    occupied = [0 if at < 0 else row.start + row.exec for row, at in zip(rows, dispatches, strict=True)]
    ends = [at + took for at, took in zip(dispatches, occupied, strict=True)]
    kept = np.array(list(stays), np.int64).reshape(-1, 8)
    return Outcomes(
        functions=(),
        devices=(),
        end_us=horizon,
        function=np.array([row.function for row in rows], np.int32),
        arrival_us=np.array([row.at for row in rows], np.int64),
        exec_us=np.array([row.exec for row in rows], np.int64),
        slo_us=np.array([row.slo for row in rows], np.int64),
        dispatch_us=np.array(dispatches, np.int64),
        finish_us=np.array(
            [end if row.finish is None else row.finish for row, end in zip(rows, ends, strict=True)], np.int64
        ),
        start_us=np.array([row.start for row in rows], np.int64),
        occupied_us=np.array(occupied, np.int64),
        held_us=np.array([row.held for row in rows], np.int64),
        device=np.array([-1 if at < 0 else row.device for row, at in zip(rows, dispatches, strict=True)], np.int16),
        variant=np.zeros(len(rows), np.int8),
        outcome=np.array([OUTCOMES.index(row.outcome) for row in rows], np.int8),
        reason=np.array([-1 if row.reason is None else REASONS.index(row.reason) for row in rows], np.int8),
        cold=np.array([row.cold for row in rows], np.bool_),
        promised=np.array([row.promised for row in rows], np.bool_),
        residence=Residence(
            kept[:, 0].astype(np.int32),
            kept[:, 1].astype(np.int8),
            kept[:, 2].astype(np.int32),
            kept[:, 3],
            kept[:, 4],
            kept[:, 5],
            kept[:, 6],
            kept[:, 7].astype(np.bool_),
        ),
    )
