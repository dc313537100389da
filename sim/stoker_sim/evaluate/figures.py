"""All figures of one simulation by name, and what each name means: the catalogue that every report prints from."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from stoker.reasons import Outcome
from stoker_sim.engine.setup import Form
from stoker_sim.evaluate.by_function import FunctionRow, compliance, function_rows
from stoker_sim.evaluate.by_tenant import TenantRow, tenant_rows
from stoker_sim.evaluate.curves import Curves, curves
from stoker_sim.evaluate.fairness import fairness
from stoker_sim.evaluate.quality import SUFFIX, Values, quality
from stoker_sim.evaluate.sample import Sample
from stoker_sim.evaluate.service_gap import Gap, service_gap
from stoker_sim.evaluate.usage import usage
from stoker_sim.evaluate.weighting import View
from stoker_sim.outcomes import OUTCOMES


class Better(StrEnum):
    """Which way a figure is better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = ""


class FigureSpec(Struct, frozen=True):
    """One figure."""

    name: str
    unit: str
    """`share` (0 to 1), `ms`, `s`, `GPU-s`, `1/s`; empty for counts and ratios."""
    better: Better
    meaning: str


class Measured(Struct, frozen=True, kw_only=True):
    """What one simulation came to."""

    values: dict[str, float | None]
    """By the names of CATALOGUE, in its order; None where nothing was there to be counted."""
    tenants: tuple[TenantRow, ...]
    functions: tuple[FunctionRow, ...]
    gap: Gap | None
    curves: Curves


_H, _L, _N = Better.HIGHER, Better.LOWER, Better.NEITHER

_COUNTS = (
    FigureSpec("offered", "", _N, "requests that came after the warm-up, without the cancelled"),
    FigureSpec("cancelled", "", _N, "requests whose client left before the objective was missed; in no other figure"),
    FigureSpec("served", "", _N, "requests that their function answered"),
    FigureSpec("late", "", _L, "of them, those answered later than slo.latency"),
    FigureSpec("refused", "", _L, "requests refused by the platform"),
    FigureSpec("expired", "", _L, "requests cut by their timeout"),
    FigureSpec("failed", "", _L, "requests that failed"),
    FigureSpec("promised", "", _N, "requests admitted as on time; the others that were served carry no promise"),
)
_IN_VIEWS = (
    FigureSpec(
        "attainment", "share", _H, "on time (slo.latency) over offered: refused, expired, failed, late missed it"
    ),
    FigureSpec("conditional_attainment", "share", _H, "on time over promised"),
    FigureSpec("cold_attainment", "share", _H, "within coldLatency (default: the timeout) over cold"),
    FigureSpec("cold_ratio", "share", _L, "cold requests (they waited for a start) over offered"),
    FigureSpec("wait_mean_ms", "ms", _L, "arrival to dispatch, of the dispatched"),
    FigureSpec("wait_p50_ms", "ms", _L, "its median"),
    FigureSpec("wait_p99_ms", "ms", _L, "its 99th percentile"),
    FigureSpec("queue_wait_mean_ms", "ms", _L, "the wait without what the gateway held while no replica was warm"),
    FigureSpec("queue_wait_p99_ms", "ms", _L, "its 99th percentile"),
    FigureSpec("cold_part_mean_ms", "ms", _L, "that hold, and the start-up in the slot, over all dispatched"),
    FigureSpec("cold_part_p50_ms", "ms", _L, "its median among cold requests"),
    FigureSpec("cold_part_p99_ms", "ms", _L, "its 99th percentile among cold requests"),
    FigureSpec("latency_p50_ms", "ms", _L, "arrival to answer, of the served: median"),
    FigureSpec("latency_p99_ms", "ms", _L, "its 99th percentile"),
    FigureSpec("slowdown_p99", "", _L, "latency over isolated warm execution time, of the served: 99th percentile"),
)
_WHOLE = (
    FigureSpec("compliant_functions", "share", _H, "functions whose attainment reaches their percentile, over judged"),
    FigureSpec("judged_functions", "", _N, "functions with at least 3 / (1 - percentile) requests"),
    FigureSpec("functions", "", _N, "functions with requests"),
    FigureSpec("goodput_per_s", "1/s", _H, "requests on time, each second"),
    FigureSpec("useful_gpu_s_per_s", "GPU-s/s", _H, "isolated warm GPU time of requests on time, each second"),
    FigureSpec(
        "held_gpu_s", "GPU-s", _L, "GPU time held by residents, by their share of the memory (all if exclusive)"
    ),
    FigureSpec("held_gib_s", "GiB-s", _L, "GPU memory held by residents, over time"),
    FigureSpec("used_gpu_s", "GPU-s", _N, "GPU time in which something ran, start-ups left out"),
    FigureSpec("starts", "", _L, "residences that began: cold starts, swaps and pre-warmed ones"),
    FigureSpec("cost", "", _L, "what was held, at the prices of the scenario"),
    FigureSpec("jain_tenants_10s_mean", "", _H, "Jain's index of service over max-min share, tenants, 10 s: mean"),
    FigureSpec("jain_tenants_10s_p5", "", _H, "its 5th percentile over windows"),
    FigureSpec("jain_functions_10s_mean", "", _H, "the same among functions, 10 s: mean"),
    FigureSpec("jain_functions_10s_p5", "", _H, "its 5th percentile over windows"),
    FigureSpec("jain_tenants_60s_mean", "", _H, "among tenants, 60 s: mean"),
    FigureSpec("jain_tenants_60s_p5", "", _H, "its 5th percentile over windows"),
    FigureSpec("jain_functions_60s_mean", "", _H, "among functions, 60 s: mean"),
    FigureSpec("jain_functions_60s_p5", "", _H, "its 5th percentile over windows"),
    FigureSpec("service_gap_s", "s", _L, "the largest gap of service over weight between two backlogged tenants"),
    FigureSpec("worst_slowdown_p99", "", _L, "the largest 99th percentile of the slowdown of a tenant"),
)
_OF_VIEW = {
    View.REQUESTS: "",
    View.FUNCTIONS: "; every function counts alike",
    View.REST: "; without the 3 functions with the most requests",
}

CATALOGUE: tuple[FigureSpec, ...] = (
    *_COUNTS,
    *(
        FigureSpec(spec.name + SUFFIX[view], spec.unit, spec.better, spec.meaning + _OF_VIEW[view])
        for spec in _IN_VIEWS
        for view in View
    ),
    *_WHOLE,
)
SPECS: Mapping[str, FigureSpec] = {spec.name: spec for spec in CATALOGUE}


def measure(sample: Sample, form: Form, prices: Mapping[str, float]) -> Measured:
    """All of it."""
    tenants, functions, gap = tenant_rows(sample), function_rows(sample), service_gap(sample)
    slowest = [row.slowdown_p99 for row in tenants if row.slowdown_p99 is not None]
    values: Values = {
        **_counts(sample),
        **quality(sample),
        **compliance(functions),
        **usage(sample, form, prices),
        **fairness(sample),
        "service_gap_s": None if gap is None else gap.seconds,
        "worst_slowdown_p99": max(slowest, default=None),
    }
    return Measured(
        values={spec.name: values[spec.name] for spec in CATALOGUE},
        tenants=tenants,
        functions=functions,
        gap=gap,
        curves=curves(sample),
    )


def _counts(sample: Sample) -> Values:
    part = sample.requests
    ends = {outcome: float((part.outcome == code).sum()) for code, outcome in enumerate(OUTCOMES)}
    return {
        "offered": float(len(part)),
        "cancelled": float(sample.cancelled),
        "served": ends[Outcome.SERVED],
        "late": ends[Outcome.SERVED] - float(part.on_time.sum()),
        "refused": ends[Outcome.REFUSED],
        "expired": ends[Outcome.EXPIRED],
        "failed": ends[Outcome.FAILED] + ends[Outcome.UNKNOWN],
        "promised": float(part.promised.sum()),
    }
