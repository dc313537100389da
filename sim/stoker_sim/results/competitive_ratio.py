"""`competitive-ratio`: how far the admission rule is from who knows all requests beforehand, in load on time.

One slot and equal priorities is the model of a theorem (docs/concepts/theory.md); the rest has none, and the worst that
a search found is stated as that.
"""

from collections.abc import Sequence
from fractions import Fraction

from msgspec.structs import replace

from stoker.model.function import Priority
from stoker_sim.results.competitive_search import Model, Worst, worst_of
from stoker_sim.results.competitive_world import Slots
from stoker_sim.results.result import Claim, Part, Result, Table, Verdict, composed, figure

NAME = "competitive-ratio"
PATIENCES = (Fraction(1, 2), Fraction(1), Fraction(2), Fraction(4))
ORDERS = ("fcfs", "edf", "least-slack")
_TWO = Slots(devices=(2,))
_LANES = Slots(devices=(1, 2), lanes=((0,), (0, 1), (1,)))
_SHARED = Slots(devices=(1,), lanes=((0,), (0,)))
_TRIES = {True: 60, False: 2_000}
SEED = 20261201
_UNIT_US = 30_000
"""With fair shares, which look at the last second: executions of 30 ms to 3 s."""


def proven(queueing: str, patience: Fraction, *, equal: bool = False) -> Fraction | None:
    """The bound of docs/concepts/theory.md on one slot; None: there is none. That of equal lengths is Goldwasser's, for
    the best algorithm.
    """
    if equal:
        return 1 + Fraction(1, int(patience) + 1)
    if queueing != "least-slack":
        return 2 + 1 / patience
    return 2 + 2 / (patience - 1) if patience > 1 else None


def one_slot() -> tuple[Model, ...]:
    """The model of the theorem."""
    return tuple(
        Model(name=f"one slot, {order}, patience {patience}", queueing=order, patience=patience)
        for order in ORDERS
        for patience in PATIENCES
    )


def equal_lengths() -> tuple[Model, ...]:
    """One slot, and one length for all."""
    return tuple(
        Model(name=f"equal lengths, {order}, patience {patience}", queueing=order, patience=patience, equal=True)
        for order in ORDERS
        for patience in PATIENCES
    )


def beyond() -> tuple[Model, ...]:
    """What no theorem is known for, in the order of the default profile."""
    found: list[Model] = []
    for patience in (Fraction(1), Fraction(4)):
        plain = Model(name="", queueing="least-slack", patience=patience, jobs=7)
        found += [
            replace(plain, name=f"two slots, patience {patience}", slots=_TWO),
            replace(plain, name=f"two devices, lanes that overlap, patience {patience}", slots=_LANES),
            replace(
                plain, name=f"the same, fair shares, patience {patience}", slots=_LANES, shares=True, unit_us=_UNIT_US
            ),
            replace(
                plain,
                name=f"one slot, two functions, fair shares, patience {patience}",
                slots=_SHARED,
                shares=True,
                unit_us=_UNIT_US,
            ),
            replace(plain, name=f"one slot, three priorities, patience {patience}", priorities=tuple(Priority)),
        ]
    return tuple(found)


def make(*, small: bool = False) -> Result:
    """`small`: fewer tries, for tests."""
    tries = _TRIES[small]
    single = [(model, worst_of(model, seed=SEED, tries=tries)) for model in one_slot()]
    equal = [(model, worst_of(model, seed=SEED, tries=tries)) for model in equal_lengths()]
    more = [(model, worst_of(model, seed=SEED, tries=tries)) for model in beyond()]
    return composed(
        (
            Part(claims=tuple(_claim(order, single) for order in ORDERS), tables=(_bounded(single),)),
            Part(tables=(_equal(equal),)),
            Part(tables=(_measured(more),), findings=(_finding(single),)),
            Part(rows=tuple(_row(*one) for one in (*single, *equal, *more))),
        ),
        name=NAME,
        title="Admission against who knows everything: the competitive ratio",
        source="""M. H. Goldwasser, "Patience is a virtue: the effect of slack on competitiveness for admission control"
        (SODA 1999; Journal of Scheduling 6(2), 2003); docs/concepts/theory.md, Theorems 12 and 13.""",
        text=(
            f"""The ratio is the execution time of all requests that the optimum completes on time over that of those
            that the rule of the agent admits. Patience is the least slack of a request over its length. Execution times
            are known exactly, replicas stay, and nobody is held back for fairness unless the row says so. For each
            model {tries:,} instances of 7 or 8 requests were tried (seed {SEED}), half of them made by changing the
            worst so far; the optimum of each is exact. The search finds a worst case or does not: it proves no bound.
            """,
        ),
        assumptions=(
            """instances are ours: lengths of 1 to 100, requests that come together or up to 30 apart; the slack of half
            of them is exactly the patience""",
        ),
    )


Found = Sequence[tuple[Model, Worst]]


def _claim(order: str, found: Found) -> Claim:
    mine = [(model, worst) for model, worst in found if model.queueing == order]
    bounds = [(worst, proven(order, model.patience)) for model, worst in mine]
    kept = all(bound is None or worst.ratio <= bound for worst, bound in bounds)
    none = ", ".join(str(model.patience) for model, _ in mine if proven(order, model.patience) is None)
    return Claim(
        what=f"one slot, `{order}`: the worst ratio is within the proven bound",
        published=", ".join(_of(bound) for _, bound in bounds),
        ours=", ".join(_of(worst.ratio) for worst, _ in bounds) + (f"; no bound for patience {none}" if none else ""),
        verdict=Verdict.REACHED if kept else Verdict.NOT_REACHED,
    )


def _bounded(found: Found) -> Table:
    return Table(
        title="One slot, equal priorities: worst ratio found (proven bound)",
        head=("patience", *(f"`{order}`" for order in ORDERS)),
        rows=_by_patience(found),
        foot="""`fcfs` and `edf` share the bound 2 + 1/patience, which no deterministic rule can better (Goldwasser);
        `least-slack` has 2 + 2/(patience - 1), and none for a patience of 1 or less.""",
    )


def _equal(found: Found) -> Table:
    return Table(
        title="One slot, all requests of one length: worst ratio found (Goldwasser's for the best rule)",
        head=("patience", *(f"`{order}`" for order in ORDERS)),
        rows=_by_patience(found),
        foot="The bound in brackets is not proven for our rule, for which 2 + 1/patience holds.",
    )


def _by_patience(found: Found) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            str(patience),
            *(
                f"{_of(worst.ratio)} ({_of(proven(model.queueing, patience, equal=model.equal))})"
                for model, worst in found
                if model.patience == patience
            ),
        )
        for patience in PATIENCES
    )


def _measured(found: Found) -> Table:
    return Table(
        title="Beyond the theorem: only measured",
        head=("model", "worst ratio found"),
        rows=tuple((model.name, _of(worst.ratio)) for model, worst in found),
        foot="In the order of the default profile, `least-slack`. No theorem is known for these models.",
    )


def _finding(found: Found) -> str:
    def at(order: str) -> Fraction:
        return next(w.ratio for model, w in found if model.queueing == order and model.patience == PATIENCES[0])

    return f"""With a patience of {PATIENCES[0]} the search comes to {_of(at("least-slack"))} for `least-slack` and
    {_of(at("edf"))} for `edf`, whose bound is {_of(proven("edf", PATIENCES[0]))}. A long request with little slack
    stands before a short one in the order of slack and is refused for its sake, although it would be on time behind it:
    the rule tries one place only, that of its order. Where objectives are less than twice the execution time, `edf` is
    the safer order for load."""


def _row(model: Model, worst: Worst) -> dict[str, str | int | float | None]:
    bound = None
    if model.slots == Slots() and len(model.priorities) == 1 and not model.equal:
        bound = proven(model.queueing, model.patience)
    return {
        "model": model.name,
        "queueing": model.queueing,
        "patience": float(model.patience),
        "proven": None if bound is None else float(bound),
        "worst": float(worst.ratio),
        "seed": worst.seed,
        "jobs": " ".join(
            f"{job.arrival_us}+{job.exec_us}~{job.slack_us}@{job.lane}{job.priority.value[0]}" for job in worst.jobs
        ),
    }


def _of(ratio: Fraction | None) -> str:
    return "none" if ratio is None else figure(float(ratio))
