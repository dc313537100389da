"""`cost-duals`: the most attainment for a cost, and the least cost for an attainment, on each trace of the package."""

from collections.abc import Sequence

from stoker_sim.results.cost_bound import CostBound
from stoker_sim.results.cost_duals_study import REQUIRED, SHARES, Run, Studied, study
from stoker_sim.results.cost_world import CPU_FACTORS, FUNCTIONS, L4_FACTOR, LENGTH_US, PRICES, SLO_FACTOR, SOURCES
from stoker_sim.results.result import Chart, Claim, Part, Result, Series, Table, Verdict, composed, figure, spread

NAME = "cost-duals"
MOST_OVER = 1.02
LEAST_RATIO = 0.9
_REQUESTS = {True: 40, False: 100}
_SMALL = ("DISB, real-time",)


def make(*, small: bool = False) -> Result:
    """`small`: one short trace under two bounds, for tests."""
    traces = _SMALL if small else tuple(SOURCES)
    shares = SHARES[1::3] if small else SHARES
    return page([study(trace, _REQUESTS[small], shares) for trace in traces])


def page(found: Sequence[Studied]) -> Result:
    """Of what was played."""
    minutes = LENGTH_US // 60_000_000
    prices = ", ".join(f"{product} {price:g}" for product, price in PRICES.items())
    return composed(
        (
            Part(claims=(_never_over(found), _near(found), _monotone(found)), charts=(_chart(found),)),
            Part(tables=(_most(found), _least(found)), findings=_findings(found)),
            Part(rows=tuple(_row(one, run) for one in found for run in one.runs)),
        ),
        name=NAME,
        title="Cost as an objective: most attainment for a cost, least cost for an attainment",
        source="docs/concepts/cost.md; the targets are ours.",
        text=(
            f"""Each trace is played once with `slo.maxCostPerHour` of all functions so high that it binds nobody, and
            then with {len(SHARES)} bounds that do: {SHARES[0]:g} to {SHARES[-1]:g} of what the dearest hour of each
            function cost. The platform is as it is by default, in the form of replicas, with metering, bounds and
            refusals by the very code of the live one. Attainment counts by `slo.latency`, cold requests too.""",
            f"""The bound is a linear program (`{CostBound.__module__}` states it and why no schedule beats it): it
            knows all requests but the first of each function beforehand, starts replicas for them in time, holds
            fractions of replicas, and each function has all devices for itself; it pays for executions, idle time and
            starts at the same prices, and its hours are bounded as ours. What it shows as missing is therefore more
            than what a better policy could gain.""",
        ),
        assumptions=(
            f"prices an hour: {prices} (one core); ours",
            f"""an L4 takes {L4_FACTOR:g} times as long as an A100, four cores {CPU_FACTORS[0]:g} or
            {CPU_FACTORS[1]:g} times (functions in turn), objectives are {SLO_FACTOR:g} times the median on an A100;
            ours""",
            f"""of each trace up to {_REQUESTS[False]} requests of at most {FUNCTIONS} functions, stretched over
            {minutes} minutes; execution times and start-ups are those of the trace (language models start in 10 s, jobs
            of Philly take 10 s)""",
            """left out: KaaS, whose clients are closed loops, of which no bound is known; and Mooncake, whose runs take
            too long""",
        ),
    )


def _never_over(found: Sequence[Studied]) -> Claim:
    worst = max(run.over for one in found for run in one.capped)
    return Claim(
        what="metered cost of any rolling hour over the bound, worst of all functions and bounds",
        published=f"<= {MOST_OVER:g}",
        ours=f"{worst:.3f}",
        verdict=Verdict.REACHED if worst <= MOST_OVER else Verdict.NOT_REACHED,
    )


def _near(found: Sequence[Studied]) -> Claim:
    ratios = [_ratio(run) for one in found for run in one.capped]
    good = sum(ratio >= LEAST_RATIO for ratio in ratios)
    return Claim(
        what="on time over the bound at the same cost, each trace under each bound",
        published=f">= {LEAST_RATIO:g}",
        ours=f"{spread(ratios)}; {good} of {len(ratios)} reach it",
        verdict=Verdict.REACHED if good == len(ratios) else Verdict.NOT_REACHED,
    )


def _monotone(found: Sequence[Studied]) -> Claim:
    pairs = [(a, b) for one in found for a, b in zip(one.capped, one.capped[1:], strict=False)]
    kept = sum(b.on_time >= a.on_time for a, b in pairs)
    return Claim(
        what="a higher bound has no fewer on time, from each bound to the next",
        published="always",
        ours=f"{kept} of {len(pairs)}",
        verdict=Verdict.REACHED if kept == len(pairs) else Verdict.NOT_REACHED,
    )


def _ratio(run: Run) -> float:
    return min(1.0, run.on_time / run.most) if run.most >= 1 else 1.0


def _chart(found: Sequence[Studied]) -> Chart:
    return Chart(
        name="attainment",
        title="On time over the bound, by how tight the bound on cost is",
        caption="One line for each trace; 1 is what nobody can exceed.",
        x_label="bound on an hour / dearest hour without",
        y_label="on time / most that could be",
        series=tuple(
            Series(
                label=one.trace,
                x=tuple(run.share or 0.0 for run in one.capped),
                y=tuple(_ratio(run) for run in one.capped),
            )
            for one in found
        ),
    )


def _most(found: Sequence[Studied]) -> Table:
    shares = [run.share for run in found[0].capped]
    return Table(
        title="Most attainment for a cost: on time, in percent (what could be)",
        head=("trace", *(f"bound x{share:g}" for share in shares), "no bound binds"),
        rows=tuple((one.trace, *(_percent(one, run) for run in (*one.capped, one.runs[0]))) for one in found),
    )


def _percent(one: Studied, run: Run) -> str:
    return f"{100 * run.on_time / one.requests:.0f} ({min(100.0, 100 * run.most / one.requests):.0f})"


def _least(found: Sequence[Studied]) -> Table:
    return Table(
        title="Least cost for the required attainment",
        head=("trace", "required, %", "cheapest run", "without a binding bound", "no schedule costs less", "ratio"),
        rows=tuple(
            (
                one.trace,
                f"{100 * one.required / one.requests:.0f}",
                figure(one.cheapest),
                figure(one.runs[0].cost),
                figure(one.least),
                figure(one.cheapest / one.least) if one.least else "none",
            )
            for one in found
        ),
        foot=f"""Required is {REQUIRED:g} of what is on time where no bound binds. The cheapest run is the one of those
        of the first table that has as many on time and costs least, start to end.""",
    )


def _findings(found: Sequence[Studied]) -> tuple[str, ...]:
    tight = [_ratio(one.capped[0]) for one in found]
    loose = [_ratio(one.capped[-1]) for one in found]
    used = [run.over for one in found for run in one.capped]
    return (
        f"""On time over what could be: {spread(loose)} under the loosest bound, {spread(tight)} under the tightest.""",
        f"""In each run the function that came nearest to its bound spent {spread(used)} of it.""",
        """Where the hour does not pay for a replica all the time, an idle one stays for a part of what is left, or for
        the ages of idleness that are worth most by the last hour's, and is brought back for those
        (stoker.cost.rhythm). A function whose CPU variant was measured to be on time for less gets no GPU then.""",
        """The rest of the distance is what the program does without: it has a replica ready before a request comes,
        while here a request that starts one is late where a start takes longer than its objective; and it knows when
        the next one comes, while here idle time is spent on guesses. That part is there without a binding bound,
        too: the last column of the first table.""",
    )


def _row(one: Studied, run: Run) -> dict[str, str | int | float | None]:
    return {
        "trace": one.trace,
        "requests": one.requests,
        "share": run.share,
        "on_time": run.on_time,
        "bound": min(float(one.requests), run.most),
        "ratio": _ratio(run),
        "cost": run.cost,
        "dearest_hour_over_bound": None if run.share is None else run.over,
        "required": one.required,
        "cheapest": one.cheapest,
        "least": one.least,
    }
