"""`mqfq-sticky`: fair queueing that stays with a device's flow, against fcfs, batch and shortest-job-first.

Source: MQFQ-Sticky (A. Fuerst et al., arXiv 2507.08954), one A30, containers that are moved between host and device.
Its trace, the times of its functions and the numbers of its figures are not published, so this is a band over what
they might be.
"""

from collections.abc import Callable, Sequence
from math import exp, log

from stoker_sim.results.mqfq_study import (
    BASE,
    FUNCTIONS,
    OURS,
    PATIENT,
    PATIENT_S,
    PRODUCT,
    SLOTS,
    TIGHT,
    Cell,
    Setting,
    study,
)
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
    hanging,
    signed,
    spread,
)

NAME = "mqfq-sticky"
_STABLE_S = 10.0
"""A mean latency of fcfs above this says that it cannot keep up (ours): ratios then grow with the trace's length."""
_BUSY_S = 0.2
"""Below this nobody queues, and there is nothing to order (ours)."""
_PUBLISHED = (2.0, 20.0)
_TOLD = {"sjf": "yes (of Paella's form of it)", "mqfq": "yes (stickiness is what it adds)"}
_MISSING = "the paper's trace, and the times and memory of its functions"


def make(*, small: bool = False) -> Result:
    """`small`: one memory, two loads and one draw, for tests."""
    found = _Found(study(small=small))
    return composed(
        (
            Part(claims=(*_latency_claims(found), *_fairness_claims(found))),
            Part(tables=(_latencies(found), _tails(found), _evenness(found)), charts=_charts(found)),
            _shortened(found),
            Part(findings=_findings(found), rows=tuple(map(_row, found.cells))),
        ),
        name=NAME,
        title="MQFQ-Sticky against fcfs, batch and shortest job first",
        source="""A. Fuerst et al., "MQFQ-Sticky: Fair Queueing For Serverless GPU Functions" (arXiv 2507.08954): its
        abstract (2x to 20x lower latency), a third party's summary (about 2x against fcfs at high load; baselines
        fcfs, Batch and Paella's SJF), and the implementation in Iluvatar (github.com/COS-IN/iluvatar-faas).""",
        text=_TEXT,
        assumptions=_INPUTS,
    )


class _Found:
    """Means over draws, by setting and policy."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.cells = cells
        self.policies = tuple(dict.fromkeys(cell.policy for cell in cells))
        settings = sorted(dict.fromkeys(cell.setting for cell in cells), key=lambda s: (-s.memory_mib, s.load))
        self.patient = tuple(setting for setting in settings if setting.objectives == PATIENT)
        self.tight = tuple(setting for setting in settings if setting.objectives == TIGHT)
        self.queueing = tuple(s for s in self.patient if _BUSY_S <= self.mean(s, BASE) <= _STABLE_S)
        """Settings in which fcfs queues and still keeps up."""
        self.beyond = tuple(s for s in self.patient if self.mean(s, BASE) > _STABLE_S)
        """Settings in which it does not, so that not everybody gets what is asked for."""

    def mean(self, setting: Setting, policy: str, of: Callable[[Cell], float] = lambda cell: cell.mean_s) -> float:
        """Geometric, over draws."""
        values = [max(1e-9, of(c)) for c in self.cells if c.setting == setting and c.policy == policy]
        return exp(sum(map(log, values)) / len(values))

    def ratio(self, setting: Setting, other: str = BASE) -> float:
        """Mean latency of another policy over that of mqfq-sticky."""
        return self.mean(setting, other) / self.mean(setting, OURS)

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(policy for policy in self.policies if policy != OURS)

    @property
    def baselines(self) -> tuple[str, ...]:
        """What the paper compares with: not its own form without stickiness."""
        return tuple(policy for policy in self.others if policy != "mqfq")


def _latency_claims(found: _Found) -> list[Claim]:
    to_base = [found.ratio(setting) for setting in found.queueing]
    where = f"where fcfs queues and keeps up ({len(to_base)} settings)"
    claims = [
        banded(
            f"mean latency of {BASE} over its own at high load",
            published=f"about {_PUBLISHED[0]:g}x",
            ours=f"{spread(to_base, 2)}x {where}",
            factors=[ratio / _PUBLISHED[0] for ratio in to_base],
            missing=_MISSING,
        )
    ]
    for other in found.others:
        ratios = [found.ratio(setting, other) for setting in found.queueing]
        claims.append(
            signed(
                f"its mean latency is below that of {other}",
                published=_TOLD.get(other, "yes"),
                ours=f"{spread(ratios, 2)}x {where}; below in {sum(ratio > 1 for ratio in ratios)} of {len(ratios)}",
                holds=[ratio > 1 for ratio in ratios],
            )
        )
    every = [found.ratio(setting, other) for setting in found.patient for other in found.baselines]
    claims.append(
        hanging(
            "latency reduced by so much over all baselines and loads",
            published=f"{_PUBLISHED[0]:g}x-{_PUBLISHED[1]:g}x",
            ours=f"{spread(every, 2)}x over {len(every)} settings and baselines, light loads among them",
            holds=[_PUBLISHED[0] <= ratio <= _PUBLISHED[1] for ratio in every],
            missing=_MISSING,
        )
    )
    return claims


def _fairness_claims(found: _Found) -> list[Claim]:
    claims = []
    for other in found.baselines:
        pairs = [
            (found.mean(setting, OURS, lambda cell: cell.jain), found.mean(setting, other, lambda cell: cell.jain))
            for setting in found.beyond
        ]
        if pairs:
            higher = sum(mine > its for mine, its in pairs)
            claims.append(
                signed(
                    f"it serves functions more evenly than {other} (Jain's index, minutes)",
                    published="yes (it is a fair queue)",
                    ours=f"{spread([mine for mine, _ in pairs])} against {spread([its for _, its in pairs])} where "
                    f"fcfs does not keep up; higher in {higher} of {len(pairs)}",
                    holds=[mine > its for mine, its in pairs],
                )
            )
    return claims


def _latencies(found: _Found) -> Table:
    rows = []
    for setting in found.patient:
        means = (figure(found.mean(setting, policy)) for policy in found.policies)
        starts = (f"{100 * found.mean(setting, policy, lambda cell: cell.starts):.0f}" for policy in (BASE, OURS))
        rows.append((*_named(setting), *means, "/".join(starts), f"{found.ratio(setting):.2f}x"))
    return Table(
        title="Mean latency, s",
        head=("memory", "load", *found.policies, f"starts %, {BASE}/{OURS}", f"{BASE} over {OURS}"),
        rows=tuple(rows),
        foot=f"""Where {BASE} takes more than {_STABLE_S:g} s it cannot keep up, and its latency grows with the length
        of the trace; where it takes less than {_BUSY_S:g} s nobody queues.""",
    )


def _tails(found: _Found) -> Table:
    rows = [
        (
            *_named(setting),
            *(figure(found.mean(setting, policy, lambda cell: cell.p99_s)) for policy in found.policies),
        )
        for setting in found.patient
    ]
    return Table(title="99th percentile of latency, s", head=("memory", "load", *found.policies), rows=tuple(rows))


def _evenness(found: _Found) -> Table:
    rows = []
    for setting in found.patient:
        cells = (
            f"{found.mean(setting, policy, lambda cell: cell.jain):.2f} "
            f"({figure(found.mean(setting, policy, lambda cell: cell.worst_s), 2)})"
            for policy in found.policies
        )
        rows.append((*_named(setting), *cells))
    return Table(
        title="Jain's index among functions (mean latency of the worst function, s)",
        head=("memory", "load", *found.policies),
        rows=tuple(rows),
        foot="Of service over max-min share given demand, in windows of 60 s, mean; 1 is equal.",
    )


def _shortened(found: _Found) -> Part:
    rows = []
    for setting in found.tight:
        patient = Setting(setting.memory_mib, setting.load, PATIENT)
        base = found.mean(patient, BASE)
        rows.append((*_named(setting), f"{found.ratio(patient):.2f}x", f"{base / found.mean(setting, OURS):.2f}x"))
    return Part(
        tables=(
            Table(
                title="With objectives of five times the median",
                head=("memory", "load", f"{BASE} over {OURS}, T = 5 s", "the same, T by objectives"),
                rows=tuple(rows),
                foot="""Ours, not the paper's: T is half the tightest objective that is queued for, a few milliseconds
                here. Where memory is short a flow is then left before its start has paid off.""",
            ),
        )
    )


def _findings(found: _Found) -> tuple[str, ...]:
    held, short = max(s.memory_mib for s in found.patient), min(s.memory_mib for s in found.patient)

    def starts(policy: str, memory_mib: int) -> str:
        its = (s for s in found.patient if s.memory_mib == memory_mib)
        return spread([100 * found.mean(s, policy, lambda cell: cell.starts) for s in its], 2)

    def over_ours(policy: str, settings: Sequence[Setting]) -> str:
        return spread([found.ratio(s, policy) for s in settings], 2)

    texts = [
        f"""The order follows the starts. At {short / 1024:g} GiB {starts(BASE, short)} % of the requests of {BASE}
        bring their function to the device first, {starts(OURS, short)} % of those of {OURS}; at {held / 1024:g} GiB
        it is {starts(BASE, held)} and {starts(OURS, held)} %, and {BASE} takes
        {over_ours(BASE, [s for s in found.patient if s.memory_mib == held])} times the mean latency."""
    ]
    if "mqfq" in found.policies:
        plain = over_ours("mqfq", [s for s in found.patient if s.memory_mib == short])
        texts.append(
            f"""Without stickiness fair queueing takes {plain} times the mean latency at {short / 1024:g} GiB: what
            costs is alternating."""
        )
    if "batch" in found.policies and found.beyond:
        texts.append(
            f"""Where {BASE} does not keep up, `batch` takes {over_ours("batch", found.beyond)} times the mean latency
            of {OURS}: it never leaves a function while it has work, where T and fairness make {OURS} do so."""
        )
    return tuple(texts)


def _charts(found: _Found) -> tuple[Chart, ...]:
    return tuple(
        Chart(
            name=f"latency-{memory // 1024}",
            title=f"Mean latency over load, {memory / 1024:g} GiB",
            caption="Geometric mean over draws of functions; load is warm GPU time over capacity, starts come on top.",
            x_label="load",
            y_label="mean latency, s",
            series=tuple(
                Series(
                    label=policy,
                    x=tuple(s.load for s in found.patient if s.memory_mib == memory),
                    y=tuple(found.mean(s, policy) for s in found.patient if s.memory_mib == memory),
                )
                for policy in found.policies
            ),
            log_x=True,
            log_y=True,
        )
        for memory in sorted({s.memory_mib for s in found.patient}, reverse=True)
    )


def _named(setting: Setting) -> tuple[str, str]:
    return f"{setting.memory_mib / 1024:g} GiB", f"{setting.load:g}"


def _row(cell: Cell) -> dict[str, str | int | float | None]:
    return {
        "memory_mib": cell.setting.memory_mib,
        "load": cell.setting.load,
        "objectives": cell.setting.objectives,
        "seed": cell.seed,
        "policy": cell.policy,
        "mean_latency_s": cell.mean_s,
        "p99_latency_s": cell.p99_s,
        "worst_function_s": cell.worst_s,
        "jain_functions_60s": cell.jain,
        "start_ratio": cell.starts,
    }


_TEXT = (
    f"""{FUNCTIONS} functions of the Azure sample that are asked from once a minute to once a second, as GPU functions
    (profiles by rank), on one GPU with {SLOTS} executions at a time. What is not on the device is brought from host
    memory, 0.29 to 0.33 s, and the least recently used gives way. Policies are the platform's own; load is warm GPU
    time over capacity, so that what starts add comes on top.""",
    f"""T is 5 s as published (objectives of {PATIENT_S} s never shorten it). Ratios are geometric means over draws of
    functions and profiles. What is not published (trace, times, memory) is varied. Latencies are judged where {BASE}
    queues and keeps up, and fairness where it does not, since elsewhere everybody gets what is asked for; a claim
    counts as made again only if it holds in every such setting.""",
)
_INPUTS = (
    f"""Execution times, memory and start-ups: NVIDIA's tables for {PRODUCT} and Torpor's swaps (stoker_sim.profiles);
    of the A30 only 8 of the 23 profiles are measured.""",
    """Arrivals: minutes 480 to 540 of the sample, time compressed to the load; spread uniformly inside the minute.""",
    """Memory: that of an A30, and a half and a quarter of it, which is as if functions were larger.""",
    """Policies: D = 2 and T = 5 s as in Iluvatar's scripts; `paella-srpt` is shortest remaining time with Paella's
    bound on unfairness, `batch` runs all that waits for the function whose oldest request is oldest.""",
)
