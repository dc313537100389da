"""The page docs/results/reality.md, made of a report. Pure; every number on it comes from there."""

from collections.abc import Iterable
from textwrap import fill

from bench.reality.arrivals import QUIET_US
from bench.reality.calibration import Calibration
from bench.reality.cases import Report
from bench.reality.figures import percentile
from bench.reality.verdict import CRITERIA, Pair, Verdict, pairs, verdicts
from bench.reality.world import GPUS, PROFILES, QUANTUM_S

HEAD = """# Simulation against reality

Written by `make bench-reality`; do not edit. The same arrivals are played to a real `stoker serve` (a process of its
own for each replay, called over HTTP by a client in another process) and to the simulator (form `replicas`, world
`embedded`). The simulator knows what a calibration run of its own measured, with other arrivals and little load:
execution times, start-ups, time between probes, time to stop. It knows nothing of the replays.
"""
CRITERIA_TEXT = """\
Criteria, set before measuring: mean wait and its 99th percentile within 10 % or 2 ms, misses within one point, cold
starts within 3 or 10 %, and of two policies whose live intervals do not overlap the same one is better. Wait is the
time in queues and in the hold, of the requests that were dispatched; a miss is a request that its client did not get
answered within its objective, refused ones included; a cold start is a replica that was started and became ready.
"""
MISSED_TEXT = """\
Each case was simulated once more with the execution times that the replays had themselves (`own times`). Where that
meets the criterion, the input was off and not the model. Where the simulated value lies inside the live interval, the
replays do not tell it from reality. `+1 %`: simulated with all executions a hundredth longer, which shows how much
hangs on them; under overload what is late waits behind all that comes, so a little more work is much more wait.
"""


def page(report: Report, alone: Report | None = None) -> str:
    """`alone`: some of the same cases, one replay at a time."""
    found = [verdict for case in report.cases for verdict in verdicts(case)]
    ranked = pairs(report.cases)
    parts = [
        HEAD,
        _setting(report),
        CRITERIA_TEXT,
        _summary(found, ranked),
        "## Cases\n",
        _legend(report),
        *(_table(kind, found) for kind in dict.fromkeys(case.kind for case in report.cases)),
        "## What is missed, and why\n",
        _missed(found, ranked),
        *_alone(alone),
        "## What was measured beforehand\n",
        *(_calibration(one) for one in report.calibrations),
        "## What is served\n",
        _served(),
    ]
    return "\n".join(parts)


def _alone(report: Report | None) -> list[str]:
    if report is None:
        return []
    found = [verdict for case in report.cases for verdict in verdicts(case)]
    said = ", ".join(f"{100 * case.longer:+.1f} % ({case.policy})" for case in report.cases)
    return [
        "## One replay at a time\n",
        _paragraph(
            "Replays that run at the same time disturb one another. These cases were played again, each replay alone, "
            f"and held against the same calibration. Executions took longer than calibrated by {said}."
        ),
        _summary(found, pairs(report.cases)),
        *(_table(kind, found) for kind in dict.fromkeys(case.kind for case in report.cases)),
        _missed(found, pairs(report.cases)) if any(not verdict.met for verdict in found) else "Nothing is missed.\n",
    ]


def _paragraph(text: str) -> str:
    return fill(text, 119, break_long_words=False, break_on_hyphens=False) + "\n"


def _legend(report: Report) -> str:
    draws = max((len(case.simulated) for case in report.cases), default=0)
    return _paragraph(
        f"`live`: mean of {report.replays} replays and its 95 % interval (Student's t). `simulated`: mean over {draws} "
        "draws from the calibration. **Bold**: missed. All replays are of the same arrivals: an interval shows what "
        "the platform and its machine vary by."
    )


def _setting(report: Report) -> str:
    machine = report.machine
    turns = (
        f" Replays of sleeping functions ran {report.together} at a time, those of computing ones alone."
        if report.together > 1
        else ""
    )
    scheduling = (
        " Platform, client and replicas had the scheduler's real-time class, so that they wait for nothing else that "
        "computes on the machine."
        if machine.real_time
        else ""
    )
    return _paragraph(
        f"Machine: {machine.cores} cores, Python {machine.python}. Each replay: {QUIET_US / 1e6:g} s without requests, "
        f"then {report.seconds:g} s of Poisson arrivals.{turns}{scheduling} Sleeping functions share "
        f"`{GPUS['sleeping']}`, computing ones `{GPUS['computing']}`: one slot, so that one core is left to platform "
        f"and client. The quantum is {QUANTUM_S} s, admission enforces, all else is as by default."
    )


def _summary(found: list[Verdict], ranked: list[Pair]) -> str:
    rows = ["| criterion | met | of |", "|---|---|---|"]
    for criterion in CRITERIA:
        mine = [verdict for verdict in found if verdict.criterion.name == criterion.name]
        rows.append(f"| {criterion.title} | {sum(verdict.met for verdict in mine)} | {len(mine)} |")
    rows.append(f"| ranking of two policies | {sum(pair.alike for pair in ranked)} | {len(ranked)} |")
    return "\n".join(rows) + "\n"


def _table(kind: str, found: list[Verdict]) -> str:
    heads = "".join(f" {criterion.title}: live | simulated |" for criterion in CRITERIA)
    rows = [
        f"### {kind.capitalize()} functions\n",
        f"| load | policy |{heads}",
        "|---|---|" + "---|---|" * len(CRITERIA),
    ]
    by_case: dict[tuple[float, str], list[Verdict]] = {}
    for verdict in found:
        if verdict.case.kind == kind:
            by_case.setdefault((verdict.case.load, verdict.case.policy), []).append(verdict)
    for (load, policy), mine in by_case.items():
        cells = "".join(f" {_live(verdict)} | {_simulated(verdict)} |" for verdict in mine)
        rows.append(f"| {load:g} | {policy} |{cells}")
    return "\n".join(rows) + "\n"


def _live(verdict: Verdict) -> str:
    digits, live = verdict.criterion.digits, verdict.live
    return f"{live.mean:.{digits}f} ({live.low:.{digits}f} to {live.high:.{digits}f})"


def _simulated(verdict: Verdict) -> str:
    value = f"{verdict.simulated:.{verdict.criterion.digits}f}"
    return value if verdict.met else f"**{value}**"


def _missed(found: list[Verdict], ranked: list[Pair]) -> str:
    missed = [verdict for verdict in found if not verdict.met]
    unlike = [pair for pair in ranked if not pair.alike]
    if not missed and not unlike:
        return "Nothing.\n"
    rows = [
        MISSED_TEXT,
        "| case | figure | live | simulated | +1 % | own times | executions took | cause |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for verdict in missed:
        case, digits = verdict.case, verdict.criterion.digits
        simulated = " | ".join(f"{value:.{digits}f}" for value in (verdict.simulated, verdict.stretched, verdict.own))
        rows.append(
            f"| {case.kind}, {case.load:g}, {case.policy} | {verdict.criterion.title} | {_live(verdict)} | {simulated} "
            f"| {100 * case.longer:+.1f} % | {_cause(verdict)} |"
        )
    rows.append("")
    rows += [
        f"- {pair.kind}, load {pair.load:g}: live {pair.lower} is below {pair.higher} in {pair.criterion.title}, "
        "simulated it is not."
        for pair in unlike
    ]
    return "\n".join(rows) + "\n"


def _cause(verdict: Verdict) -> str:
    cause = verdict.cause
    reasons = []
    if cause.inputs:
        reasons.append("executions did not take what was calibrated")
    if cause.chance:
        reasons.append("the replays differ as much")
    return ", ".join(reasons) or "not execution times: timing that the model lacks"


def _calibration(one: Calibration) -> str:
    starts = sum(len(measured.load_us) for measured in one.functions)
    off = sorted(rest for measured in one.functions for rest in measured.rest_us)
    middle, far = (off[len(off) // 2], off[len(off) * 95 // 100]) if off else (0, 0)
    ms = {
        name: f"{getattr(one, name) / 1000:.2f} ms"
        for name in (
            "base_us",
            "unit_us",
            "attach_us",
            "probe_us",
            "stop_us",
            "plan_us",
            "overhead_us",
        )
    }
    return _paragraph(
        f"{one.kind.capitalize()} functions, {one.requests} executions and {starts} starts: an execution takes "
        f"{ms['base_us']} and {ms['unit_us']} for each unit of work, seen from the agent; what is left is "
        f"{middle / 1000:+.2f} ms in the middle and {far / 1000:+.2f} ms at the 95th percentile. Probing begins "
        f"{ms['attach_us']} after the decision to start a replica, and comes every {ms['probe_us']}; stopping one "
        f"takes {ms['stop_us']}, plans are {ms['plan_us']} apart. Beyond queue, hold and execution a client waits "
        f"{ms['overhead_us']} (counted in the simulated misses). It sent {percentile(one.late_us, 50) / 1000:.2f} ms "
        f"late in the middle, {percentile(one.late_us, 99) / 1000:.2f} ms at the 99th percentile."
    )


def _served() -> str:
    heads = (
        "function",
        "median work, ms",
        "p99 over it",
        "requests",
        "memory",
        "start, s",
        "objective",
        "predicted miss",
    )
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    rows += [
        f"| {profile.name} | {profile.units:g} | {profile.spread:g} | {_share(profile.per_second)} "
        f"| {profile.memory_gib} GiB | {profile.load_s:g} | {profile.latency_ms} ms "
        f"| {'refused' if profile.refuses else 'served late'} |"
        for profile in PROFILES
    ]
    stay = _listed(profile.name for profile in PROFILES if profile.stays)
    return "\n".join(rows) + (
        f"\n\n{stay} keep one replica on each GPU. The others have one at most, and share the memory that is left.\n"
    )


def _share(per_second: float) -> str:
    return f"{100 * per_second / sum(profile.per_second for profile in PROFILES):.1f} %"


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:-1]) + " and " + listed[-1] if len(listed) > 1 else "".join(listed)
