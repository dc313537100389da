"""The answer to a what-if: figures with the policy of the log and after the change, an interval, and what is doubtful.

First the log is simulated as it was, and held against what was measured (calibration): where the simulation does not
meet what happened, what it says of what did not happen is doubtful too. The interval is over replications: blocks of
the log drawn anew, and draws for what the log does not say. Both sides see the same replications, so the interval of
the difference is of the change. Deterministic: equal logs and arguments give equal answers.
"""

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Variant
from stoker.policies.queueing.registry import make_queueing
from stoker.reasons import Outcome
from stoker_sim.engine.setup import Delays, Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import Outcomes
from stoker_sim.whatif.change import Change, Ratios, changed, ratios
from stoker_sim.whatif.logged import Logged
from stoker_sim.whatif.rebuilt import Rebuilt
from stoker_sim.workload import Workload

REPLICATIONS = 20
CONFIDENCE = 0.95
LOAD_WINDOW_US = 1_000_000
"""The load is taken in windows of a twentieth of the log, and no shorter ones."""
_NEAR_MS, _NEAR_SHARE, _NEAR_MISSES = 2.0, 0.1, 0.01
"""How near the simulation has to come to what was measured: waits by 2 ms or a tenth, shares by a point."""

FIGURES = {
    "attainment": "share on time",
    "cold_ratio": "share that waited for a start",
    "refused_ratio": "share refused or expired",
    "wait_mean_ms": "mean wait",
    "wait_p99_ms": "99th percentile of the wait",
}
"""Waits are from arrival to dispatch, of those that were dispatched."""


class Span(Struct, frozen=True):
    """A figure of the log as it was, and the range of it and CONFIDENCE of the replications."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    """One figure."""

    name: str
    measured: float | None
    simulated: Span
    """With the policy and the devices of the log."""
    changed: Span
    difference: Span
    """Changed less simulated."""
    calibrated: bool
    """Whether `simulated` comes near `measured`."""


class Answer(Struct, frozen=True, kw_only=True):
    policy_before: str
    policy: str
    devices_before: tuple[str, ...]
    devices: tuple[str, ...]
    """Products of the GPUs."""
    requests: int
    seconds: float
    replications: int
    load_before: float
    load: float
    """Highest offered execution time over GPU time of any window."""
    rows: tuple[Row, ...]
    extrapolates: tuple[str, ...]
    """Where the answer goes beyond what the log has seen, one sentence each."""
    notes: tuple[str, ...]
    """What was assumed and left out."""


def answer(
    logged: Logged,
    change: Change,
    replications: int = REPLICATIONS,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Answer:
    """Raises BadChange, UnknownName for a policy that does not exist, BadSetup for devices that nothing fits on."""
    policy = change.policy or logged.policy
    make_queueing(policy)
    devices, was = changed(logged.devices, change)
    compared = {new: (old, ratios(old, new)) for new, old in was.items()}
    rebuilt = Rebuilt(logged)
    before: list[dict[str, float | None]] = []
    after: list[dict[str, float | None]] = []
    for seed in range(replications + 1):
        work = rebuilt.workload(seed, compared)
        before.append(_figures(simulate(work, _setup(logged, logged.policy, logged.devices, seed))))
        after.append(_figures(simulate(work, _setup(logged, policy, devices, seed))))
        progress(seed + 1, replications + 1)
    measured = _measured(logged)
    rows = tuple(_row(name, measured[name], before, after) for name in FIGURES)
    work = rebuilt.workload(0, compared)
    window_us = max(LOAD_WINDOW_US, logged.horizon_us // 20)
    loads = (_load(work, logged.devices, window_us), _load(work, devices, window_us))
    return Answer(
        policy_before=logged.policy,
        policy=policy,
        devices_before=_products(logged.devices),
        devices=_products(devices),
        requests=len(work),
        seconds=logged.horizon_us / 1e6,
        replications=replications,
        load_before=loads[0],
        load=loads[1],
        rows=rows,
        extrapolates=_extrapolations(logged, devices, compared, loads),
        notes=_notes(logged, rebuilt, rows),
    )


def _setup(logged: Logged, policy: str, devices: tuple[Device, ...], seed: int) -> Setup:
    return Setup(
        devices=devices,
        form=Form.REPLICAS,
        queueing=policy,
        knowledge=Knowledge.LEARNED,
        namespace_weights=logged.namespace_weights,
        plan=logged.plan,
        # A measured start-up counts up to the probe that found it ready.
        delays=Delays(probe_us=1),
        wall_us=logged.wall_us,
        seed=seed,
    )


def _figures(outcomes: Outcomes) -> dict[str, float | None]:
    ended = outcomes.outcome
    codes = tuple(Outcome)
    away = np.isin(ended, [codes.index(Outcome.REFUSED), codes.index(Outcome.EXPIRED)])
    wait_us = outcomes.wait_us[outcomes.dispatch_us >= 0]
    return _named(outcomes.on_time, outcomes.cold, away, wait_us)


def _measured(logged: Logged) -> dict[str, float | None]:
    counted = [request for request in logged.requests if request.on_time is not None and not request.gave_up]
    away = (Outcome.REFUSED, Outcome.EXPIRED)
    return _named(
        np.array([bool(request.on_time) for request in counted], bool),
        np.array([request.cold for request in counted], bool),
        np.array([request.outcome in away for request in counted], bool),
        np.array(
            [
                request.dispatch_us - request.arrival_us
                for request in logged.requests
                if request.dispatch_us is not None
            ],
            np.int64,
        ),
    )


def _named(
    on_time: NDArray[np.bool_], cold: NDArray[np.bool_], away: NDArray[np.bool_], wait_us: NDArray[np.int64]
) -> dict[str, float | None]:
    return {
        "attainment": float(on_time.mean()) if len(on_time) else None,
        "cold_ratio": float(cold.mean()) if len(cold) else None,
        "refused_ratio": float(away.mean()) if len(away) else None,
        "wait_mean_ms": float(wait_us.mean()) / 1000 if len(wait_us) else None,
        "wait_p99_ms": float(np.quantile(wait_us, 0.99)) / 1000 if len(wait_us) else None,
    }


def _row(
    name: str, measured: float | None, before: list[dict[str, float | None]], after: list[dict[str, float | None]]
) -> Row:
    simulated, changed_to = [one[name] for one in before], [one[name] for one in after]
    differences = [
        mine - theirs if mine is not None and theirs is not None else None
        for mine, theirs in zip(changed_to, simulated, strict=True)
    ]
    return Row(
        name=name,
        measured=measured,
        simulated=_span(simulated),
        changed=_span(changed_to),
        difference=_span(differences),
        calibrated=_near(name, measured, simulated[0]),
    )


def _span(values: list[float | None]) -> Span:
    """The first is of the log as it was, the others are of replications."""
    drawn = [value for value in values[1:] if value is not None]
    if len(drawn) < 2:
        return Span(values[0])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    value = values[0]
    return Span(value, low, high) if value is None else Span(value, min(low, value), max(high, value))


def _near(name: str, measured: float | None, simulated: float | None) -> bool:
    if measured is None or simulated is None:
        return measured is simulated
    # A difference of exactly a point is near: the last bit of a quotient must not decide.
    off = abs(simulated - measured) - 1e-9
    if name.endswith("_ms"):
        return off <= max(_NEAR_MS, _NEAR_SHARE * measured)
    return off <= max(_NEAR_MISSES, _NEAR_SHARE * measured if name == "cold_ratio" else 0.0)


def _products(devices: tuple[Device, ...]) -> tuple[str, ...]:
    return tuple(device.product for device in devices if device.kind is DeviceKind.GPU)


def _load(work: Workload, devices: tuple[Device, ...], window_us: int) -> float:
    """Highest of any window, of functions whose primary variant is the GPU one."""
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    if not gpus or not len(work):
        return 0.0
    on_gpu = np.array([function.definition.primary is Variant.GPU for function in work.functions])
    exec_us = np.mean([work.exec_on(device.product) for device in gpus], axis=0) * on_gpu[work.function]
    offered_us = np.bincount(work.time_us // window_us, exec_us)
    return float(offered_us.max()) / (window_us * sum(device.slots for device in gpus))


def _extrapolations(
    logged: Logged, devices: tuple[Device, ...], compared: dict[str, tuple[str, Ratios]], loads: tuple[float, float]
) -> tuple[str, ...]:
    said = []
    before, after = _products(logged.devices), _products(devices)
    if len(before) != len(after):
        said.append(f"the log has seen {len(before)} GPUs, and {len(after)} are asked about")
    for new, (old, its) in compared.items():
        if not its.known:
            said.append(
                f"no profile was measured on both {old} and {new}: execution times on {new} are assumed to be "
                f"{its.values[0]:g} to {its.values[-1]:g} times as long, {its.middle:g} in the middle"
            )
        elif len(its.values) > 1:
            said.append(
                f"execution times on {new} are taken to be {its.values[0]:.2f} to {its.values[-1]:.2f} times those on "
                f"{old}, as those of {len(its.values)} published models are; not measured of these functions"
            )
        else:
            said.append(f"execution times on {new} are taken to be those on {old}, of the same family")
    if loads[1] > loads[0] * 1.001:
        said.append(f"the load rises to {loads[1]:.2f} of the GPU time, and the highest in the log is {loads[0]:.2f}")
    return tuple(said)


def _notes(logged: Logged, rebuilt: Rebuilt, rows: tuple[Row, ...]) -> tuple[str, ...]:
    said = []
    off = [FIGURES[row.name] for row in rows if not row.calibrated]
    if off:
        said.append(f"the simulation does not meet what was measured in: {', '.join(off)}; doubt the answer there")
    if len(logged.pops) > 1:
        said.append(
            f"the queueing policy was exchanged in the log ({', '.join(logged.pops)}); it is simulated with "
            f"{logged.policy}, which dispatched most, throughout"
        )
    if logged.changed:
        said.append(f"changed meanwhile, and simulated as at the end: {', '.join(sorted(logged.changed))}")
    if rebuilt.assumed_exec:
        said.append(f"never ran, execution times assumed: {', '.join(rebuilt.assumed_exec)}")
    if rebuilt.assumed_start:
        said.append(f"never started in the log, start-up assumed: {', '.join(rebuilt.assumed_start)}")
    if any(device.simulated for device in logged.devices):
        said.append("the GPUs of the log are simulated: its execution times are those of the machine's cores")
    counts = {
        "requests that came before the log began are left out": logged.strangers,
        "requests had a shorter timeout than their function's, which is left out": sum(
            request.tightened for request in logged.requests
        ),
        "clients left before the objective had passed; they are simulated and count in no measured share": sum(
            request.gave_up for request in logged.requests
        ),
        "requests never ran; what they would have taken is drawn from others of their function": sum(
            not request.took_us for request in logged.requests
        ),
    }
    said += [f"{count} {what}" for what, count in counts.items() if count]
    if logged.cut:
        said.append("the last line of the log was not written whole and is left out")
    return tuple(said)
