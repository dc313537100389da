"""Comparisons and bounds as JSON and CSV: the same bytes for the same scenario, in whatever order jobs were played."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import msgspec

from stoker_sim.compare import Bound, Comparison, Result, Run, Setting
from stoker_sim.evaluate.figures import CATALOGUE
from stoker_sim.evaluate.intervals import Interval
from stoker_sim.report.wording import rounded
from stoker_sim.scenario import Scenario
from stoker_sim.sources.units import as_written
from stoker_sim.summary import OVER_BOUND, SUMMARISED, Line

_COLUMNS = (
    "load",
    "slo_factor",
    "memory_mib",
    "policy",
    "seed",
    "offered_load",
    "bound_on_attainment",
    OVER_BOUND.name,
)


def as_json(comparison: Comparison, lines: Sequence[Line]) -> bytes:
    """All of it: scenario, assumptions, what the figures mean, means over seeds, and every run."""
    document = {
        "scenario": as_written(comparison.scenario),
        "assumptions": list(comparison.notes),
        "figures": {
            spec.name: {"unit": spec.unit, "better": spec.better, "meaning": spec.meaning} for spec in SUMMARISED
        },
        "summary": _summary(comparison, lines),
        "runs": [_run(run) for run in comparison.runs],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def bounds_as_json(scenario: Scenario, found: Sequence[Result], notes: Sequence[str]) -> bytes:
    """Bounds of workloads, in the order given: `onTime` is the upper bound, `optimum` is null where none was searched
    for or found, `attainment` is the share that the tighter one is.
    """
    document = {
        "scenario": as_written(scenario),
        "assumptions": list(notes),
        "bounds": [
            {
                "setting": _setting(result.job.setting),
                "seed": result.job.seed,
                "load": rounded(result.load),
                **(_bound(bound) or {}),
                "optimum": bound.optimum,
            }
            for result in found
            if (bound := result.bound) is not None
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def as_csv(comparison: Comparison) -> str:
    """A row for each run; an empty cell where there is nothing to say."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(spec.name for spec in CATALOGUE)])
    for run in comparison.runs:
        setting = run.setting
        cells = [
            setting.load,
            setting.slo_factor,
            setting.memory_mib,
            run.policy,
            run.seed,
            rounded(run.load),
            None if run.bound is None else rounded(run.bound.attainment),
            rounded(run.over_bound),
        ]
        writer.writerow([*cells, *(rounded(run.measured.values[spec.name]) for spec in CATALOGUE)])
    return out.getvalue()


def _summary(comparison: Comparison, lines: Sequence[Line]) -> list[dict[str, Any]]:
    found: dict[tuple[Setting, str], dict[str, Any]] = {}
    for line in lines:
        if line.value is not None:
            against = {} if line.against_first is None else {"againstFirst": _interval(line.against_first)}
            found.setdefault((line.setting, line.policy), {})[line.figure] = {**_interval(line.value), **against}
    return [
        {"setting": _setting(setting), "policy": policy, "figures": found.get((setting, policy), {})}
        for setting in comparison.settings
        for policy in comparison.policies
    ]


def _run(run: Run) -> dict[str, Any]:
    measured = run.measured
    gap = measured.gap
    return {
        "setting": _setting(run.setting),
        "policy": run.policy,
        "seed": run.seed,
        "load": rounded(run.load),
        "bound": _bound(run.bound),
        "attainmentOverBound": rounded(run.over_bound),
        "figures": {name: rounded(value) for name, value in measured.values.items()},
        "serviceGapBetween": None if gap is None else list(gap.tenants),
        "tenants": [_row(row) for row in measured.tenants],
        "functions": [_row(row) for row in measured.functions],
    }


def _bound(bound: Bound | None) -> dict[str, Any] | None:
    if bound is None:
        return None
    return {"onTime": bound.on_time, "offered": bound.offered, "attainment": rounded(bound.attainment)}


def _setting(setting: Setting) -> dict[str, Any]:
    return {"load": setting.load, "sloFactor": setting.slo_factor, "memoryMib": setting.memory_mib}


def _interval(value: Interval) -> dict[str, Any]:
    bounds = {"low": value.low, "high": value.high}
    bounds |= {"bootstrapLow": value.bootstrap_low, "bootstrapHigh": value.bootstrap_high}
    return {"mean": rounded(value.mean), "seeds": value.count, **{name: rounded(at) for name, at in bounds.items()}}


def _row(row: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(row)
    return {_camel(name): rounded(value) if isinstance(value, float) else value for name, value in built.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
