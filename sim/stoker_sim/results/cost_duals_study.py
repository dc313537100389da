"""The runs of `cost-duals`: each trace with bounds that do not bind, then under six that do, beside what could be."""

from collections.abc import Mapping

from msgspec import Struct

from stoker.cost.prices import MICRO
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import Outcomes
from stoker_sim.results.cost_bound import CostBound
from stoker_sim.results.cost_world import bounded, counts, rates, setup, workload_of

SHARES = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
"""Of what each function's dearest hour costs without a bound that binds."""
_FREE = 1_000.0
"""An hour: no function comes near it. A bound all the same, so that the platform looks at prices."""
_LEAST = 1 / MICRO
REQUIRED = 0.9
"""Of what is on time without a binding bound: the attainment that is to be had for the least cost."""


class Run(Struct, frozen=True, kw_only=True):
    """One simulation. Costs are in the currency."""

    share: float | None
    """None: nothing binds."""
    on_time: int
    cost: float
    """Charged to functions, start to end."""
    most: float
    """Requests on time at most under the same bounds."""
    over: float
    """The dearest rolling hour of any function over its bound."""


class Studied(Struct, frozen=True, kw_only=True):
    """One trace."""

    trace: str
    requests: int
    runs: tuple[Run, ...]
    """The first is the one without binding bounds."""
    required: int
    """Requests that are to be on time."""
    cheapest: float
    """The least cost of a run that has as many on time."""
    least: float
    """What no schedule undercuts for as many."""

    @property
    def capped(self) -> tuple[Run, ...]:
        return self.runs[1:]


def study(trace: str, requests: int, shares: tuple[float, ...] = SHARES) -> Studied:
    """Play a trace. Deterministic."""
    work = workload_of(trace, requests)
    limit = CostBound(work, rates(), counts())
    free = dict.fromkeys(work.keys, _FREE)
    base = simulate(bounded(work, free), setup())
    assert base.charges is not None
    dearest = {key: base.charges.dearest_hours.get(key, 0) / MICRO for key in work.keys}
    runs = [_run(base, None, free, limit)]
    for share in shares:
        # Who spends nothing may spend nothing that counts.
        caps = {key: max(_LEAST, round(share * most, 6)) for key, most in dearest.items()}
        runs.append(_run(simulate(bounded(work, caps), setup()), share, caps, limit))
    required = int(REQUIRED * runs[0].on_time)
    return Studied(
        trace=trace,
        requests=len(work),
        runs=tuple(runs),
        required=required,
        cheapest=min(run.cost for run in runs if run.on_time >= required),
        least=limit.least_cost(required),
    )


def _run(outcomes: Outcomes, share: float | None, caps: Mapping[str, float], limit: CostBound) -> Run:
    charges = outcomes.charges
    assert charges is not None
    return Run(
        share=share,
        on_time=int(outcomes.on_time.sum()),
        cost=sum(one.total for one in charges.accounts.values()) / MICRO,
        most=limit.most(caps),
        over=max(charges.dearest_hours.get(key, 0) / MICRO / cap for key, cap in caps.items()),
    )
