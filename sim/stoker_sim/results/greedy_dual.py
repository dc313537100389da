"""`greedy-dual`: keep-alive as a cache against a fixed time, as cold-start overhead over memory.

Source: FaasCache (A. Fuerst and P. Sharma, ASPLOS'21) and its simulator, which stoker_sim.keep_alive.memory_pool
follows. The trace is Azure's, in the project's sample; the paper's own samples of it are not published.
"""

from stoker_sim.results.greedy_dual_study import GREEDY_DUAL, TTL, TTL_US, Found, Load, Point, loads, play
from stoker_sim.results.result import (
    Chart,
    Claim,
    Part,
    Result,
    Series,
    Table,
    banded,
    composed,
    figure,
    signed,
    spread,
)

NAME = "greedy-dual"
_PUBLISHED = 3.0
_MOST_DROPPED = 0.01
"""Of all invocations: a pool that drops more is too small to compare keep-alive on."""
_MEASURES = {
    "overhead": "time added over warm time",
    "increase": "mean increase of an invocation",
    "as_coded": "the same as coded",
}


def make(*, small: bool = False) -> Result:
    """`small`: an hour and fewer sizes, for tests."""
    parts = []
    ratios = []
    for load in loads(small=small):
        found = play(load)
        parts.append(_part(load, found))
        ratios += [ratio for name in _MEASURES for ratio in _ratios(load, found, TTL, name).values()]
    return composed(
        (Part(claims=(_headline(ratios),)), *parts),
        name=NAME,
        title="FaasCache: greedy-dual keep-alive against a fixed time",
        source="""A. Fuerst and P. Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching"
        (ASPLOS'21, doi 10.1145/3445814.3446757) and its simulator (github.com/aFuerst/faascache-sim, code/split).""",
        text=_TEXT,
        assumptions=_INPUTS,
    )


def _headline(ratios: list[float]) -> Claim:
    return banded(
        "greedy-dual has a lower cold-start overhead than a fixed 10 minutes",
        published=f"more than {_PUBLISHED:g}x lower",
        ours=f"{spread(ratios, 2)}x over readings, sizes of memory and three ways to count",
        factors=[min(1.0, ratio / _PUBLISHED) for ratio in ratios],
        missing="the paper's samples of the trace (of 392 functions), and which count its 3x is of",
    )


def _part(load: Load, found: Found) -> Part:
    ratios = _ratios(load, found, TTL)
    lower = sum(ratio > 1 for ratio in ratios.values())
    return Part(
        claims=(
            signed(
                f"it is lower at every size of memory ({load.name})",
                published="yes",
                ours=f"{spread(list(ratios.values()), 2)}x, lower at {lower} of {len(ratios)}",
                holds=[ratio > 1 for ratio in ratios.values()],
            ),
        ),
        tables=(_table(load, found), *((_counted(load, found),) if load.key == "even" else ())),
        charts=(_chart(load, found),),
        findings=(_finding(load, found),),
        rows=tuple(
            {
                "load": load.key,
                "policy": name,
                "memory_mib": size,
                "overhead": point.overhead,
                "increase": point.increase,
                "as_coded": point.as_coded,
                "cold": point.cold,
                "dropped": point.dropped,
            }
            for (name, size), point in found.items()
        ),
    )


def _ratios(load: Load, found: Found, other: str, measure: str = "overhead") -> dict[int, float]:
    """Of another policy to greedy-dual, by memory, where the pool is large enough to tell."""
    return {
        size: _of(found[other, size], measure) / _of(found[GREEDY_DUAL, size], measure)
        for size in load.sizes_mib
        if max(found[name, size].dropped for name in (GREEDY_DUAL, other)) <= _MOST_DROPPED
    }


def _of(point: Point, measure: str) -> float:
    return float(getattr(point, measure))


def _table(load: Load, found: Found) -> Table:
    rows = []
    for size in load.sizes_mib:
        points = [found[name, size] for name in load.policies]
        dropped = max(point.dropped for point in points)
        cells = (f"{figure(100 * point.overhead)} % ({point.cold:,})" for point in points)
        rows.append((f"{size // 1024} GiB", *cells, f"{figure(100 * dropped, 2)} %"))
    return Table(
        title=f"Overhead (cold starts): {load.name}",
        head=("memory", *load.policies, "dropped at most"),
        rows=tuple(rows),
        foot=f"{len(load.time_us):,} runs of {len(load.kinds)} functions.",
    )


def _counted(load: Load, found: Found) -> Table:
    by_measure = [_ratios(load, found, TTL, name) for name in _MEASURES]
    return Table(
        title="Fixed time over greedy-dual, by what is counted",
        head=("memory", *_MEASURES.values()),
        rows=tuple(
            (f"{size // 1024} GiB", *(f"{figure(ratios[size], 2)}x" for ratios in by_measure)) for size in by_measure[0]
        ),
        foot="""FaasCache's figure shows the second by its label; the code that draws it divides the warm time by the
        added time instead, so that functions whose maximum is near their average count most.""",
    )


def _chart(load: Load, found: Found) -> Chart:
    shown = {name: [s for s in load.sizes_mib if found[name, s].dropped <= _MOST_DROPPED] for name in load.policies}
    return Chart(
        name=load.key,
        title=load.name[0].upper() + load.name[1:],
        caption=f"""Time that cold starts added over the warm time of all invocations; sizes at which a policy drops
        more than {_MOST_DROPPED:.0%} of the invocations are left out.""",
        x_label="memory, GiB",
        y_label="overhead, %",
        series=tuple(
            Series(
                label=name,
                x=tuple(size / 1024 for size in sizes),
                y=tuple(100 * found[name, size].overhead for size in sizes),
            )
            for name, sizes in shown.items()
        ),
        log_x=True,
        log_y=True,
    )


def _finding(load: Load, found: Found) -> str:
    best = {size: min((found[name, size].overhead, name) for name in load.policies) for size in load.sizes_mib}
    named = ", ".join(f"{name} at {size // 1024}" for size, (_, name) in best.items())
    over_lru = _ratios(load, found, "lru")
    return f"""{load.name}: lowest is {named} GiB; greedy-dual's overhead is
    {spread([1 / ratio for ratio in over_lru.values()], 2)} times that of plain LRU."""


_TEXT = (
    """A pool of bounded memory, no queue: an invocation finds a warm container of its function or starts one, for
    which idle ones are evicted by the policy. Overhead is the time that cold starts added over the warm time of all
    invocations. `greedy-dual`, `lru` and `ttl` are the platform's own eviction policies; `freq`, `size` and
    `landlord` are FaasCache's variants on the same interface.""",
    """The trace says how many invocations came in a minute: not when, not how many share a container, and not what a
    start takes. So there are four readings. The first is that of FaasCache's code: invocations at even distances,
    each in a container of its own. With the second they come at random, so that a popular function now and then needs
    several containers at once, whose common frequency keeps all of them. With the third one container serves all
    invocations of its function, as a replica with concurrency does; the fourth is the third with functions on GPUs,
    whose starts all take 8 or 11 s.""",
    f"""A fixed time of {TTL_US // 60_000_000} minutes is LRU until memory is so large that containers are idle for
    longer; from there it keeps a floor of cold starts that no memory removes.""",
)
_INPUTS = (
    """Trace: Azure Functions 2019, the project's sample of 250 functions over 8 hours (data/ATTRIBUTION.md).""",
    """Execution: warm is a function's average duration, cold its maximum, and the memory of an application is shared
    out among its functions, as FaasCache reads the same columns; all three are assumptions of theirs.""",
    """Arrivals: evenly spaced from the begin of their minute (as FaasCache's trace_split_funcs.py has it), or uniform
    (seed 0).""",
    """On GPUs: profiles of A100 by rank (seed 0), start-ups of 8 and 11 s (Torpor, ATC'25).""",
    """As the comments of FaasCache's code have it and not as it runs: each container has the clock of its own last
    use (the code renews all containers of a function), and nobody is evicted for an invocation that does not fit all
    the same.""",
)
