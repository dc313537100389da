"""What the platform has and does: replicas, devices, and the processes that decide."""

from dashboards import queries as q
from dashboards.panels import AnyPanel, Column, Line, Page, lines, number, table
from stoker import metrics as m

_STATES = {"warm": "green", "starting": "blue", "draining": "orange"}
_DEVICE = ("node", "device")
_GPU = {"product": '!="cpu"'}
_MANY = 20
"""Lines of a panel that shows devices or nodes one by one."""
_KUBERNETES = " Kubernetes only."

# Two agents stand side by side on a node during an upgrade: each device counts once.
_HEALTHY = q.highest(m.DEVICE_HEALTHY, *_DEVICE, where=_GPU)
_RESIDENTS = q.highest(m.DEVICE_RESIDENTS, *_DEVICE, where=_GPU)


def _devices(by: str = "") -> dict[str, str]:
    """Free, held and unhealthy GPUs."""
    return {
        "free": f"sum{by}(({_RESIDENTS} == bool 0) * {_HEALTHY})",
        "held": f"sum{by}(({_RESIDENTS} > bool 0) * {_HEALTHY})",
        "unhealthy": f"sum{by}(1 - {_HEALTHY})",
    }


def _bytes(spec: m.MetricSpec, by: str = "") -> str:
    return f"sum{by}({q.highest(spec, *_DEVICE, where=_GPU)})"


def add_overview(page: Page) -> None:
    """The figures of now."""
    gpus = _devices()
    page.add(
        number(
            "GPUs now",
            "GPUs that can take replicas, and those that cannot because they are not healthy.",
            "short",
            Line(f"sum({_HEALTHY})", "healthy"),
            Line(gpus["unhealthy"], "unhealthy"),
        ),
        number(
            "Leader",
            "Operators that lead: 1 when all is well. 0 for long: nothing is started or stopped." + _KUBERNETES,
            "short",
            Line(q.total(m.LEADER), "leading"),
            colours=((None, "red"), (1, "green"), (2, "red")),
            none="embedded",
        ),
    )


def add_fleet(page: Page) -> None:
    """Replicas and devices."""
    gpus = _devices()
    page.row(
        "Fleet",
        lines(
            "Replicas by state",
            "Of the functions that were chosen, as their nodes' agents see them.",
            "short",
            Line(q.total(m.REPLICAS, "state"), "{{state}}"),
            stacked=True,
            colours=_STATES,
        ),
        lines(
            "GPUs",
            "Free: healthy and promised to nobody. Held: healthy and promised to a replica at least.",
            "short",
            *(Line(query, name) for name, query in gpus.items()),
            stacked=True,
            colours={"free": "green", "held": "blue", "unhealthy": "red"},
        ),
        lines(
            "GPU memory",
            "Of all GPUs: what there is, what is promised to replicas, and what is used as measured (Kubernetes only).",
            "bytes",
            Line(_bytes(m.DEVICE_MEMORY), "total"),
            Line(_bytes(m.DEVICE_RESERVED), "promised"),
            Line(_bytes(m.DEVICE_USED), "used"),
        ),
        lines(
            "Pending, by reason",
            "How many functions wait for a replica, on average, and what they wait for." + _KUBERNETES,
            "short",
            Line(q.rate(m.PENDING_SECONDS, "reason"), "{{reason}}"),
            stacked=True,
        ),
        lines(
            "Functions by Ready",
            "All functions by their Ready condition and its reason. ScaledToZero is healthy." + _KUBERNETES,
            "short",
            Line(q.highest(m.FUNCTIONS, "ready", "reason"), "{{reason}} (ready: {{ready}})"),
            stacked=True,
        ),
        lines(
            "Slot time",
            f"Time that requests hold slots of a device, per second, the {_MANY} busiest.",
            "short",
            Line(q.most(_MANY, q.rate(m.DEVICE_BUSY_SECONDS, *_DEVICE)), "{{node}} {{device}}"),
        ),
        lines(
            f"GPU utilisation, the {_MANY} highest",
            "Time that a GPU ran anything, as its driver measures it." + _KUBERNETES,
            "percentunit",
            Line(q.most(_MANY, q.highest(m.DEVICE_UTILISATION, *_DEVICE, where=_GPU)), "{{node}} {{device}}"),
            most=1,
        ),
        lines(
            "Trouble with devices",
            "Replicas on a device that they may not use now; times that a shared device held more memory than promised "
            "and that a replica was found to be the cause, per second." + _KUBERNETES,
            "cps",
            Line(q.total(m.REPLICAS_UNFIT), "replicas on unfit devices", unit="short"),
            Line(q.rate(m.DEVICE_MEMORY_EXCEEDED, "product"), "memory exceeded ({{product}})"),
            Line(q.rate(m.REPLICA_MEMORY_EXCEEDED, "namespace", "function"), "by {{namespace}}/{{function}}"),
        ),
        lines(
            "Waiting for shared devices",
            "Init containers that wait for their reservation now, and how long it took." + _KUBERNETES,
            "s",
            Line(q.total(m.GRANTS_WAITING), "waiting now", unit="short"),
            Line(q.quantile(0.5, m.GRANT_SECONDS), "waited, p50"),
            Line(q.quantile(0.95, m.GRANT_SECONDS), "waited, p95"),
        ),
        _nodes(),
    )


def _nodes() -> AnyPanel:
    by = " by (node) "
    gpus = _devices(by)
    return table(
        "Nodes",
        "GPUs by node. Without a node label (docs/reference/dashboards.md) all stand in one row.",
        ("node",),
        Column(query=gpus["free"], title="Free"),
        Column(query=gpus["held"], title="Held"),
        Column(query=gpus["unhealthy"], title="Unhealthy", colours=((None, "text"), (1, "red"))),
        Column(query=_bytes(m.DEVICE_MEMORY, by), title="Memory", unit="bytes"),
        Column(query=_bytes(m.DEVICE_RESERVED, by), title="Promised", unit="bytes"),
        Column(query=_bytes(m.DEVICE_USED, by), title="Used", unit="bytes"),
        Column(query=q.highest(m.KUBELET_UP, "node"), title="Kubelet answers"),
        Column(query=q.highest(m.API_UP, "node"), title="API server heard"),
    )


def add_control(page: Page) -> None:
    """The processes that decide, and what they need of the API server."""
    page.row(
        "Control",
        lines(
            "Plan",
            "How long one plan over all functions takes, and how many are made." + _KUBERNETES,
            "s",
            Line(q.quantile(0.5, m.RECONCILE_SECONDS), "p50"),
            Line(q.quantile(0.99, m.RECONCILE_SECONDS), "p99"),
            Line(q.observations(m.RECONCILE_SECONDS), "plans", unit="cps"),
        ),
        lines(
            "Work queues",
            "Keys of the leader's queues that wait for a worker, and those whose last run failed." + _KUBERNETES,
            "short",
            Line(q.highest(m.QUEUE_DEPTH, "queue"), "{{queue}}"),
            Line(q.highest(m.QUEUE_FAILING, "queue"), "{{queue}}, failing"),
        ),
        lines(
            "Work queues, time",
            "How long the first key in line has waited, and p95 of one run." + _KUBERNETES,
            "s",
            Line(q.highest(m.QUEUE_OLDEST, "queue"), "{{queue}}, oldest"),
            Line(q.quantile(0.95, m.QUEUE_RUN_SECONDS, "queue"), "{{queue}}, run p95"),
            Line(q.quantile(0.95, m.QUEUE_WAIT_SECONDS, "queue"), "{{queue}}, wait p95"),
        ),
        lines(
            "Watch lag",
            "The oldest view that any process of a component has: since when its watch is down. 0 while it is up."
            + _KUBERNETES,
            "s",
            Line(q.highest(m.CACHE_LAG, "component", "cache"), "{{component}}: {{cache}}"),
        ),
        lines(
            "Watches that ended",
            "Per second, in order (every few minutes each) or not; full listings; objects that could not be read."
            + _KUBERNETES,
            "cps",
            Line(q.rate(m.CACHE_RECONNECTS, "component"), "{{component}}, ended"),
            Line(q.rate(m.CACHE_LISTS, "component"), "{{component}}, listings"),
            Line(q.rate(m.CACHE_UNFIT, "component"), "{{component}}, unreadable"),
        ),
        lines(
            "Objects watched",
            "The most that one process of a component holds." + _KUBERNETES,
            "short",
            Line(q.highest(m.CACHE_OBJECTS, "component", "cache"), "{{component}}: {{cache}}"),
        ),
        lines(
            "Scheduler extender",
            "Time of one call of kube-scheduler, and replicas that were given a node and do not show there yet."
            + _KUBERNETES,
            "s",
            Line(q.quantile(0.5, m.EXTENDER_SECONDS, "verb"), "{{verb}}, p50"),
            Line(q.quantile(0.99, m.EXTENDER_SECONDS, "verb"), "{{verb}}, p99"),
            Line(q.total(m.CHARGES), "charges", unit="short"),
        ),
        lines(
            "Placements",
            "Pods placed by how warm the best node was, and nodes refused, per second." + _KUBERNETES,
            "cps",
            Line(q.rate(m.PLACEMENTS, "warmth"), "{{warmth}}"),
            Line(q.rate(m.PLACEMENTS_REJECTED, "reason"), "refused: {{reason}}"),
        ),
        lines(
            "Writes to the API server",
            "By the operator, by kind and verb, and of the agents' FunctionNodes. At rest only Leases are renewed."
            + _KUBERNETES,
            "wps",
            Line(q.rate(m.WRITES, "kind", "verb"), "{{kind}} {{verb}}"),
            Line(q.rate(m.FUNCTION_NODE_WRITES), "functionnodes apply-status (agents)"),
        ),
        lines(
            "Pods made and refused",
            "Pods of replicas that the operator made, and those it could not make, by reason, per second."
            + _KUBERNETES,
            "cps",
            Line(q.rate(m.PODS_MADE, "variant"), "made ({{variant}})"),
            Line(q.rate(m.PODS_REFUSED, "reason"), "refused: {{reason}}"),
        ),
        lines(
            "Streams between the parts",
            "Agents that the worst-off process of a component hears, and how many there are; readers of the gateways' "
            "demand (1 each: the leader)." + _KUBERNETES,
            "short",
            Line(q.lowest(m.AGENTS_CONNECTED, "component"), "{{component}} hears"),
            Line(q.highest(m.AGENTS_KNOWN, "component"), "{{component}} knows"),
            Line(q.lowest(m.DEMAND_READERS), "readers of demand"),
        ),
        lines(
            "Leadership and tokens",
            "Operators that lead, and the age of the leader's last renewal; callers' tokens that the API server was "
            "asked about, per second." + _KUBERNETES,
            "short",
            Line(q.total(m.LEADER), "leaders"),
            Line(q.highest(m.LEASE_AGE, "lease"), "{{lease}}, age", unit="s"),
            Line(q.rate(m.TOKEN_REVIEWS, "result"), "token reviews: {{result}}", unit="cps"),
        ),
        lines(
            "CPU",
            "Cores that each process uses.",
            "short",
            Line(q.most(_MANY, q.process("cpu_seconds_total", "job", "pod", window=q.RECENT)), "{{job}} {{pod}}"),
            width=12,
        ),
        lines(
            "Memory",
            "Resident memory of each process.",
            "bytes",
            Line(q.most(_MANY, q.process("resident_memory_bytes", "job", "pod")), "{{job}} {{pod}}"),
            width=12,
        ),
    )
