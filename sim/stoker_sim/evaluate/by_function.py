"""Each function by itself, and whether it complies: its attainment is at least its percentile, of enough requests."""

import numpy as np
from msgspec import Struct

from stoker_sim.evaluate.sample import Sample


class FunctionRow(Struct, frozen=True, kw_only=True):
    """One function that had requests."""

    function: str
    tenant: str
    offered: int
    attainment: float
    cold_ratio: float
    compliant: bool | None
    """None: too few requests to tell (fewer than 3 / (1 - percentile))."""


def function_rows(sample: Sample) -> tuple[FunctionRow, ...]:
    """By key."""
    part = sample.requests
    count = len(sample.functions)
    offered = np.bincount(part.function, minlength=count)
    on_time = np.bincount(part.function[part.on_time], minlength=count)
    cold = np.bincount(part.function[part.cold], minlength=count)
    rows = []
    for index, function in enumerate(sample.functions):
        total = int(offered[index])
        if not total:
            continue
        wanted = function.definition.spec.slo.percentile / 100
        attainment = int(on_time[index]) / total
        rows.append(
            FunctionRow(
                function=function.key,
                tenant=function.definition.namespace,
                offered=total,
                attainment=attainment,
                cold_ratio=int(cold[index]) / total,
                compliant=attainment >= wanted if total >= least_requests(wanted) else None,
            )
        )
    return tuple(sorted(rows, key=lambda row: row.function))


def least_requests(wanted: float) -> float:
    """How many requests tell whether a function is on time in the share `wanted` of them (DESIGN 7)."""
    # Rounded, since 1 - 0.99 is a little more than 0.01: 300 requests are enough of the 99th percentile.
    return round(3 / (1 - wanted), 6)


def compliance(rows: tuple[FunctionRow, ...]) -> dict[str, float | None]:
    """Compliant functions over those that can be judged, and how many those are."""
    judged = [row.compliant for row in rows if row.compliant is not None]
    return {
        "compliant_functions": sum(judged) / len(judged) if judged else None,
        "judged_functions": float(len(judged)),
        "functions": float(len(rows)),
    }
