"""The optimum of an instance, by constraint programming (OR-Tools CP-SAT): up to about 60 requests on 3 devices.

One worker, a fixed seed, and an effort limit in CP-SAT's deterministic time: the same instance gives the same answer
however fast the machine is. Where the limit ends the search before the proof, `bound` is what was proven and
`schedule` the best that was found. Costs are integers, 1e-12 of the currency. Knows nothing of policies.
"""

from math import ceil, floor

from msgspec import Struct
from ortools.sat.python import cp_model

from stoker_sim.bound.instance import Instance
from stoker_sim.bound.interval_model import IntervalModel
from stoker_sim.bound.schedule import Schedule, Value, value_of

_ROUNDING = 1e-6
"""The solver's bounds are floats of integers: they are taken as this much weaker before they are rounded."""


class Effort(Struct, frozen=True, kw_only=True):
    """How hard the solver tries. A quarter of the limit goes to one search strategy, which proves small instances
    fastest; what is left goes to all of the solver's strategies in turn, from the best schedule so far.
    """

    deterministic_limit: float = 8.0
    """In CP-SAT's deterministic seconds; one was measured to be about 8 seconds of one core."""
    seed: int = 0


class Optimum(Struct, frozen=True, kw_only=True):
    """What the search came to."""

    schedule: Schedule | None
    """The best that was found; None when none was found with the weight that was asked for."""
    value: Value | None
    """What it is worth, counted from the schedule itself."""
    bound: int
    """No schedule has more weight (where cost is minimised: less cost) than this."""
    proven: bool
    """Whether the search ended by itself: the schedule is optimal, or none is as was asked for."""


DEFAULT_EFFORT = Effort()
_FOUND = (cp_model.OPTIMAL, cp_model.FEASIBLE)


def most_weight(
    instance: Instance, *, cost_cap: int | None = None, ceiling: int | None = None, effort: Effort = DEFAULT_EFFORT
) -> Optimum:
    """The most weight on time among schedules that cost at most `cost_cap`.

    `ceiling` is an upper bound that is known already (stoker_sim.bound.relaxation): with it the search ends as soon as
    a schedule reaches it.
    """
    model = IntervalModel(instance, priced=cost_cap is not None)
    if cost_cap is not None:
        model.cp.add(model.cost <= cost_cap // model.tick_us)
    most = sum(request.weight for request in instance.requests)
    if ceiling is not None:
        most = min(most, ceiling)
        model.cp.add(model.weight <= most)
    model.cp.maximize(model.weight)
    solver, status = _search(model, effort)
    if status not in _FOUND:
        # Nothing was found in the time given, but to run nothing is a schedule.
        return Optimum(schedule=Schedule(), value=Value(0, 0), bound=most, proven=not most)
    schedule = model.schedule(solver)
    value = value_of(instance, schedule)
    bound = min(most, floor(solver.best_objective_bound + _ROUNDING))
    return Optimum(schedule=schedule, value=value, bound=bound, proven=value.weight == bound)


def least_cost(instance: Instance, *, weight: int, effort: Effort = DEFAULT_EFFORT) -> Optimum:
    """The least cost of schedules with at least `weight` on time."""
    model = IntervalModel(instance, priced=True)
    model.cp.add(model.weight >= weight)
    model.cp.minimize(model.cost)
    solver, status = _search(model, effort)
    if status not in _FOUND:
        return Optimum(schedule=None, value=None, bound=0, proven=status == cp_model.INFEASIBLE)
    schedule = model.schedule(solver)
    value = value_of(instance, schedule)
    bound = ceil(solver.best_objective_bound - _ROUNDING) * model.tick_us
    return Optimum(schedule=schedule, value=value, bound=bound, proven=value.cost == bound)


def _search(model: IntervalModel, effort: Effort) -> tuple[cp_model.CpSolver, cp_model.CpSolverStatus]:
    first, status = _solver(effort, effort.deterministic_limit / 4), cp_model.UNKNOWN
    status = first.solve(model.cp)
    if status not in (cp_model.FEASIBLE, cp_model.UNKNOWN):
        return first, status
    if status == cp_model.FEASIBLE:
        for index, value in enumerate(first.response_proto.solution):
            model.cp.add_hint(model.cp.get_int_var_from_proto_index(index), value)
    second = _solver(effort, effort.deterministic_limit * 3 / 4)
    second.parameters.interleave_search = True
    again = second.solve(model.cp)
    # The second search keeps what it is given, unless the hint did not reach it before the limit.
    return (first, status) if status == cp_model.FEASIBLE and again not in _FOUND else (second, again)


def _solver(effort: Effort, limit: float) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = effort.seed
    solver.parameters.max_deterministic_time = limit
    return solver
