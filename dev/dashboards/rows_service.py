"""What callers notice: requests, objectives, latency, and what it costs to start from nothing."""

from dashboards import queries as q
from dashboards.panels import AnyPanel, Column, Line, Page, heat, lines, number, table
from stoker import metrics as m

FEW = 10
"""Lines of a panel that shows functions one by one."""
_FUNCTION = "{{namespace}}/{{function}}"
_OF = ("namespace", "function")
_OUTCOMES = {"served": "green", "refused": "orange", "expired": "purple", "failed": "red", "unknown": "dark-red"}
_ATTAINED = ((None, "red"), (0.9, "orange"), (0.99, "green"))
_SHARE_LOST = ((None, "green"), (0.001, "orange"), (0.05, "red"))
_NOT_SERVED = {"outcome": '!="served"'}
_WARM = {"state": '="warm"'}


def add_overview(page: Page) -> None:
    """The figures of now."""
    page.add(
        number(
            "Requests",
            "Requests that ended, per second, whatever their outcome.",
            "reqps",
            Line(q.rate(m.REQUESTS), "requests"),
        ),
        number(
            "Attainment",
            "Requests answered within slo.latency, of all that count, in the time shown. Cold, refused, expired and "
            "failed ones are misses; noWakePaths and clients that left in time do not count.",
            "percentunit",
            Line(f"{q.gain(m.ON_TIME)} / {q.gain(m.OFFERED)}", "on time"),
            colours=_ATTAINED,
        ),
        number(
            "Not served",
            "Share of requests that were refused, expired, failed, or whose fate is unknown, in the time shown.",
            "percentunit",
            Line(f"({q.or_zero(q.gain(m.REQUESTS, where=_NOT_SERVED))}) / {q.gain(m.REQUESTS)}", "not served"),
            colours=_SHARE_LOST,
        ),
        number(
            "Warm replicas",
            "Replicas that can answer now, and those that start.",
            "short",
            Line(q.or_zero(q.total(m.REPLICAS, where=_WARM)), "warm"),
            Line(q.or_zero(q.total(m.REPLICAS, where={"state": '="starting"'})), "starting"),
        ),
    )


def add_service(page: Page) -> None:
    """Requests as callers see them."""
    page.row(
        "Service",
        lines(
            "Requests by outcome",
            "Requests that ended, per second. Each has exactly one outcome.",
            "reqps",
            Line(q.rate(m.REQUESTS, "outcome"), "{{outcome}}"),
            stacked=True,
            colours=_OUTCOMES,
        ),
        lines(
            f"Attainment, the {FEW} worst functions",
            "Share of requests answered within slo.latency. Compare it with the function's slo.percentile.",
            "percentunit",
            Line(q.least(FEW, f"{q.rate(m.ON_TIME, *_OF)} / {q.rate(m.OFFERED, *_OF)}"), _FUNCTION),
            most=1,
        ),
        lines(
            "Not served, by reason",
            "Requests per second that were refused, expired or failed. The reason is that of the answer and of "
            "`stoker explain`.",
            "reqps",
            Line(q.rate(m.REQUESTS, "reason", where=_NOT_SERVED), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Latency",
            "From a request's arrival at a gateway to the last byte of its answer, cold ones and refusals included.",
            "s",
            *(Line(q.quantile(share, m.REQUEST_SECONDS), f"p{share * 100:g}") for share in (0.5, 0.9, 0.99)),
        ),
        heat("Latency, all of it", "The same as a distribution.", "s", q.buckets(m.REQUEST_SECONDS)),
        lines(
            "Where the time goes",
            "p95 of what a request waited for a warm replica, waited in an agent's queue, and ran.",
            "s",
            Line(q.quantile(0.95, m.HELD_SECONDS), "held while cold"),
            Line(q.quantile(0.95, m.QUEUE_SECONDS), "queued"),
            Line(q.quantile(0.95, m.EXEC_SECONDS), "executed"),
        ),
        lines(
            "Requests now",
            "Held in gateways for a warm replica, queued at agents, and running on replicas.",
            "short",
            Line(q.total(m.HELD), "held"),
            Line(q.total(m.QUEUED), "queued"),
            Line(q.total(m.RUNNING), "running"),
            stacked=True,
        ),
        lines(
            f"Requests, the {FEW} busiest functions",
            "Requests per second by function.",
            "reqps",
            Line(q.most(FEW, q.rate(m.REQUESTS, *_OF)), _FUNCTION),
        ),
        lines(
            "Late answers",
            "Served after slo.latency: because no replica was warm, or although one was.",
            "reqps",
            Line(q.rate(m.LATE, "cold"), "cold: {{cold}}"),
            stacked=True,
        ),
        _functions(),
    )


def _functions() -> AnyPanel:
    since = q.WHOLE
    return table(
        "Functions",
        "Every function that was chosen, over the time shown. A click on a name shows it alone.",
        _OF,
        Column(query=q.rate(m.REQUESTS, *_OF, window=since), title="Requests/s", unit="reqps"),
        Column(
            query=f"{q.gain(m.ON_TIME, *_OF)} / {q.gain(m.OFFERED, *_OF)}",
            title="Attainment",
            unit="percentunit",
            decimals=2,
            colours=_ATTAINED,
        ),
        Column(query=q.quantile(0.5, m.REQUEST_SECONDS, *_OF, window=since), title="p50", unit="s"),
        Column(query=q.quantile(0.99, m.REQUEST_SECONDS, *_OF, window=since), title="p99", unit="s"),
        Column(query=q.gain(m.COLD_REQUESTS, *_OF), title="Cold requests", decimals=0),
        Column(query=q.total(m.REPLICAS, *_OF, where=_WARM), title="Warm now"),
        Column(query=q.total(m.HELD, *_OF), title="Held now"),
        link="/d/stoker-fleet?${datasource:queryparam}&var-namespace=${__data.fields.namespace}"
        "&var-function=${__data.fields.function}&${__url_time_range}",
    )


def add_cold(page: Page) -> None:
    """What it costs that nothing was warm."""
    page.row(
        "Cold starts",
        lines(
            f"Held now, the {FEW} functions with most",
            "Requests that wait in gateways for a warm replica.",
            "short",
            Line(q.most(FEW, q.total(m.HELD, *_OF)), _FUNCTION),
            stacked=True,
        ),
        lines(
            "Cold share",
            "Share of requests that found no warm replica, and of those the share answered within slo.coldLatency.",
            "percentunit",
            Line(f"{q.rate(m.COLD_REQUESTS)} / {q.rate(m.REQUESTS)}", "cold"),
            Line(f"{q.rate(m.COLD_ON_TIME)} / {q.rate(m.COLD_REQUESTS)}", "cold and within coldLatency"),
            most=1,
        ),
        lines(
            "Replicas started",
            "Replicas that were started, and those that failed, per second.",
            "cps",
            Line(q.rate(m.REPLICA_STARTS, "variant"), "started ({{variant}})"),
            Line(q.rate(m.REPLICA_FAILURES, "reason"), "failed: {{reason}}"),
        ),
        lines(
            "From wake to warm, for requests",
            "How long cold requests were held in a gateway until a replica was warm.",
            "s",
            *(Line(q.quantile(share, m.HELD_SECONDS), f"p{share * 100:g}") for share in (0.5, 0.95)),
        ),
        lines(
            "From order to warm, for replicas",
            "Order: from the plan that wanted the replica, with placement, image and device (Kubernetes only). "
            "Start-up: from its process to ready, which is the function's own part.",
            "s",
            Line(q.quantile(0.5, m.WAKE_SECONDS, "variant"), "order, p50 ({{variant}})"),
            Line(q.quantile(0.95, m.WAKE_SECONDS, "variant"), "order, p95 ({{variant}})"),
            Line(q.quantile(0.5, m.START_SECONDS, "variant"), "start-up, p50 ({{variant}})"),
            Line(q.quantile(0.95, m.START_SECONDS, "variant"), "start-up, p95 ({{variant}})"),
        ),
        lines(
            "Replicas drained, by reason",
            "Replicas that were asked to end, per second: idle ones, those that gave way to another function, old "
            "revisions.",
            "cps",
            Line(q.rate(m.REPLICA_DRAINS, "reason"), "{{reason}}"),
            stacked=True,
        ),
    )
