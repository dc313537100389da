"""`keep-alive`: policies against every fixed time and the optimum, as avoidable cold starts over memory held.

Sources: Shahrad et al. (ATC'20), the ski-rental papers and Keshav et al., named in the policies; the trace is Azure's,
in the project's sample. First activations and the first two hours are left out.
"""

from collections.abc import Sequence

import numpy as np

from stoker.policies.prewarm.histogram import MIN_SAMPLES
from stoker_sim.results.keep_alive_ratios import WANTED, Group, Ratio, groups
from stoker_sim.results.keep_alive_study import TRACE, Case, anyone, is_odd, ski_factor, study
from stoker_sim.results.keep_alive_tables import frontiers, rows_of, triggers
from stoker_sim.results.keep_alive_ways import (
    BASE_MINUTES,
    FIXED,
    HAZARD,
    HAZARD_ALONE,
    HISTOGRAM,
    LIVE,
    PAPER,
    PUBLISHED,
)
from stoker_sim.results.result import Claim, Part, Result, Verdict, composed, figure, signed, spread

NAME = "keep-alive"


def make(*, small: bool = False) -> Result:
    """`small`: fewer functions, settings and draws, for tests."""
    cases = study(small=small)
    found = groups(cases)
    parts = [Part(claims=(_reachable(found),)), *(_target(group) for group in found)]
    parts.append(Part(claims=(_histogram_below(cases), _twice_at_most(cases))))
    parts += [
        frontiers(memory, [g for g in found if g.memory == memory]) for memory in dict.fromkeys(c.memory for c in cases)
    ]
    parts += [triggers(group) for group in found if group.memory == TRACE]
    parts.append(Part(findings=_findings(found), rows=tuple(row for case in cases for row in rows_of(case))))
    return composed(
        parts,
        name=NAME,
        title="Keep-alive and pre-warming on Azure: policies against fixed times and the optimum",
        source="""M. Shahrad et al., "Serverless in the Wild" (ATC'20); A. R. Karlin et al. (1988, 1990); S. Keshav et
        al. (JSAC 1995); trace: Azure Functions 2019, 250 functions (sim/stoker_sim/data/ATTRIBUTION.md).""",
        text=_TEXT,
        assumptions=_INPUTS,
    )


def _told(found: Ratio) -> str:
    return f"{figure(found.cold)} of the cold starts at {figure(found.memory)} of the memory"


def _reachable(found: Sequence[Group]) -> Claim:
    ratios = [group.optimum(is_odd).cold for group in found]
    return Claim(
        what=f"""the target below can be reached at all: the optimum that knows every gap but may not pre-warm, with
        the memory of a fixed {BASE_MINUTES} min""",
        published=f"<= {WANTED:g} (our target)",
        ours=f"{spread(ratios)} of its cold starts",
        verdict=Verdict.REACHED if max(ratios) <= WANTED else Verdict.NOT_REACHED,
    )


def _target(group: Group) -> Part:
    claims = []
    for families, whose in ((PUBLISHED, "published policies"), ((HAZARD,), "hazard rate, ours")):
        key = group.chosen(families)
        found = group.ratio(key, is_odd)
        claims.append(
            Claim(
                what=f"""avoidable cold starts <= {WANTED:g} of a fixed {BASE_MINUTES} min at no more memory ({whose};
                {group.name})""",
                published="our target",
                ours=f"{_told(found)} ({' '.join(key)})",
                verdict=Verdict.REACHED if found.reaches else Verdict.NOT_REACHED,
            )
        )
    return Part(claims=tuple(claims))


def _histogram_below(cases: Sequence[Case]) -> Claim:
    below = []
    for case in cases:
        chosen = case.chosen(anyone)
        totals = {way.key: case.total(way.key, chosen) for way in case.ways}
        fixed = sorted((memory, cold) for key, (cold, memory) in totals.items() if key[0] == FIXED)
        x, y = zip(*fixed, strict=True)
        below += [cold < np.interp(memory, x, y) for key, (cold, memory) in totals.items() if key[0] == HISTOGRAM]
    return signed(
        "the hybrid histogram has fewer cold starts than a fixed time that holds as much memory",
        published="yes (ATC'20)",
        ours=f"in {sum(below)} of {len(below)} settings and workloads",
        holds=[bool(one) for one in below],
    )


def _twice_at_most(cases: Sequence[Case]) -> Claim:
    factor = max(ski_factor(case) for case in cases)
    return signed(
        "ski-rental costs at most twice the optimum of its own price, all gaps together",
        published="2 (Karlin et al.)",
        ours=f"at most {factor:.2f}",
        holds=[factor <= 2],
    )


def _findings(found: Sequence[Group]) -> tuple[str, ...]:
    trace, models = found[0], next(group for group in found if group.memory != TRACE)
    functions = trace.cases[0].functions
    few = sum(len(gaps) < MIN_SAMPLES for gaps in functions)
    alone, both = trace.chosen((HAZARD_ALONE,)), trace.chosen((HAZARD,))
    return (
        f"""With the paper's own constant (4 h where the histogram shows nothing) the hybrid histogram has
        {_told(trace.ratio(PAPER, is_odd))} of the trace, and {_told(models.ratio(PAPER, is_odd))} of GPU models.
        In eight hours {few} of {len(functions)} functions never show it the {MIN_SAMPLES} idle times that it asks for,
        and each of them is kept.""",
        f"""The hazard rate without pre-warming, one holding time for each function as in Keshav et al., has
        {_told(trace.ratio(alone, is_odd))} ({trace.name}, {alone[1]}); with windows of pre-warming
        {_told(trace.ratio(both, is_odd))} ({both[1]}). On all functions, those that constants were chosen on among
        them, the latter has {_told(trace.ratio(both, anyone))}.""",
        f"""With the weight of waiting that the platform has unless told otherwise ({LIVE[1]}) it has
        {_told(trace.ratio(LIVE, is_odd))} of the trace, and {_told(models.ratio(LIVE, is_odd))} of GPU models: the
        weight says how much memory a start is worth, not how much is held in all.""",
        """Greedy-dual, LRU and light-first let nobody go before memory is needed, so they have no place here, where it
        never is: [greedy-dual](greedy-dual.md) has them.""",
    )


_TEXT = (
    """Every idle gap of every function is given to the platform's own policies (core/stoker/policies), with the
    history that the core folds: how long does the function stay, when does it come back, is it warm when the next
    request comes. The sample has minutes 480 to 959 of one day, so without its first two hours minutes 600 to 959
    count.""",
    """Avoidable is every cold start but a function's first in the sample: one who knew the gaps could start the
    function in time, and hold less than all others. Memory is that of idle functions: in gaps, after the last
    request up to the end of the trace, in starts that were avoidable, and in pre-warming with its starts. Memory of
    busy functions is the same for all and left out. There is always room, so nobody is evicted: the policies differ
    by what they hold, not by who fits.""",
    """Memory is counted twice: as the trace has it (CPU functions), and as that of GPU models that functions are
    mapped to by rank in execution time (three draws; start-ups of 8 and 11 s instead of 5 s, which like most sizes of
    models are assumed by stoker_sim.profiles). Ratios are to a fixed 10 minutes. Gaps under a second count as busy,
    since the platform acts no sooner. Constants of ours and the setting of each claim, the one that comes nearest to
    the target or furthest inside, were chosen on the functions of even number; claims are about the others.""",
)

_INPUTS = (
    "Arrivals inside a minute are spread by us, uniformly and in bursts (traces/spread.py).",
    """The hybrid histogram is the platform's (stoker.policies.prewarm.histogram): one-minute bins, 4 h, 5th and 99th
    percentile with margins of 10 %, at least 10 samples, coefficient of variation at least 2, without the paper's
    ARIMA. Where it shows nothing the paper keeps for 4 h; `else N min` is that time, gone through.""",
    """Ski-rental and the hazard rate weigh a second of waiting against seconds of an idle device (`weight`), which a
    function holds by its part of one of 40 GiB (GPU models), or of 2 GiB (the trace's functions are as much
    smaller). The hazard rate's constants: 19 settings and 6 weights tried on even functions, uniform arrivals,
    memory of the trace.""",
    """A pre-warmed replica is started a quarter and a second earlier than its start-up takes
    (stoker.control.prewarming); a request that comes while it starts is cold, and the start is charged in full
    besides.""",
    """The optimum knows every gap and holds those that cost least. With pre-warming it would need no cold start and
    only the memory of each start, so that bound says little.""",
)
