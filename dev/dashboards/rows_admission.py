"""Whether promises are made and kept, how well finishes are predicted, who goes to CPUs, and what it all costs."""

from dashboards import queries as q
from dashboards.panels import Line, Page, lines
from stoker import metrics as m

FEW = 10
_FUNCTION = "{{namespace}}/{{function}}"
_OF = ("namespace", "function")
_PROMISED = {"verdict": '=~"Promised|Estimated"'}
"""What no schedule guards is counted among the broken ones too."""
_PROMISES = q.rate(m.ADMISSIONS, where=_PROMISED)
_COVERED = {"covered": '="true"'}


def add_admission(page: Page) -> None:
    """What admission does."""
    page.row(
        "Admission",
        lines(
            "Verdicts of agents",
            "Requests that agents judged, per second: promised to be on time, taken otherwise, or refused and why.",
            "reqps",
            Line(q.rate(m.ADMISSIONS, "verdict"), "{{verdict}}"),
            stacked=True,
        ),
        lines(
            "Promises broken",
            "Share of the requests that were promised to be on time (or estimated to be, where no schedule guards it) "
            "and were dropped, shed or late. Compare it with 1 - slo.percentile / 100.",
            "percentunit",
            Line(f"{q.rate(m.BROKEN_PROMISES, 'how')} / ignoring(how) group_left {_PROMISES}", "{{how}}"),
        ),
        lines(
            f"Coverage, the {FEW} worst functions",
            "Share of finish times within the margin that was calibrated before them. It is to be slo.percentile.",
            "percentunit",
            Line(q.least(FEW, f"{q.rate(m.FINISHES, *_OF, where=_COVERED)} / {q.rate(m.FINISHES, *_OF)}"), _FUNCTION),
            most=1,
        ),
        lines(
            "Diverted to CPUs",
            "Requests of functions with a GPU that ran on the CPU variant, per second, by why.",
            "reqps",
            Line(q.rate(m.DIVERTED, "reason"), "{{reason}}"),
            stacked=True,
        ),
    )


def add_cost(page: Page) -> None:
    """What the devices cost, and whom."""
    hourly = "* 3600 / 1e6"
    page.row(
        "Cost",
        lines(
            f"Cost an hour, the {FEW} dearest functions",
            "In the currency of the prices in GpuPolicy, at the pace of now.",
            "short",
            Line(f"{q.most(FEW, q.rate(m.COST, *_OF))} {hourly}", _FUNCTION),
            stacked=True,
        ),
        lines(
            "Cost an hour, by what it was for",
            "Executions, idle warm replicas, replicas that start, and device time that nobody was charged for.",
            "short",
            Line(f"{q.rate(m.COST, 'phase')} {hourly}", "{{phase}}"),
            Line(f"({q.or_zero(q.rate(m.COST_UNALLOCATED))}) {hourly}", "unallocated"),
            stacked=True,
        ),
    )
