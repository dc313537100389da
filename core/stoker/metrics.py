"""The catalogue of metrics: name, type, help, labels, buckets. Knows no metrics library.

Shells register what is listed here and nothing else; the simulator reports under the same names. Seconds and
bytes; counters end in `_total`; labels are bounded (functions, variants, reasons: never a request or a replica).
"""

from enum import StrEnum
from typing import Protocol

from msgspec import Struct


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class MetricSpec(Struct, frozen=True):
    """One metric family."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
START_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""For what may hold the pull of an image."""
_FUNCTION = ("namespace", "function")
_VARIANT = ("namespace", "function", "variant")

REQUESTS = MetricSpec(
    "stoker_requests_total",
    Kind.COUNTER,
    "Requests that ended, by outcome and reason (empty reason: served).",
    (*_FUNCTION, "variant", "outcome", "reason"),
)
OFFERED = MetricSpec(
    "stoker_requests_offered_total",
    Kind.COUNTER,
    "Requests that count for attainment: not those to noWakePaths, nor those whose client left within slo.latency.",
    _FUNCTION,
)
ON_TIME = MetricSpec(
    "stoker_requests_on_time_total",
    Kind.COUNTER,
    "Requests answered within slo.latency, whether cold or warm.",
    _FUNCTION,
)
LATE = MetricSpec(
    "stoker_requests_late_total",
    Kind.COUNTER,
    "Requests served after slo.latency. cold=true: no warm replica was found at arrival.",
    (*_FUNCTION, "cold"),
)
DIVERTED = MetricSpec(
    "stoker_requests_diverted_total",
    Kind.COUNTER,
    "Requests of functions with a GPU that went to the CPU variant, by why: the device choice sent them there at once "
    "(Chosen), they were predicted to miss on the GPU (PredictedMiss) or over their share of it (OverShare), or late "
    "ones are served there (ServedLate).",
    (*_FUNCTION, "reason"),
)
TICKETS_GIVEN = MetricSpec(
    "stoker_tickets_given_total", Kind.COUNTER, "Refusals that came with a ticket: a place at an agent.", _FUNCTION
)
TICKETS_SHOWN = MetricSpec(
    "stoker_tickets_shown_total",
    Kind.COUNTER,
    "Tickets that clients came back with, by what came of them (honoured, early, late, used, unknown, forged, foreign, "
    "agent_gone).",
    (*_FUNCTION, "outcome"),
)
REFUSED_UNASKED = MetricSpec(
    "stoker_requests_refused_unasked_total",
    Kind.COUNTER,
    "Times that a gateway asked no agent for a request, since all of them had said with the refusal of another one, "
    "moments before, that they would refuse it. It was refused, or went to its other variant.",
    _FUNCTION,
)
SHED_UNSEEN = MetricSpec(
    "stoker_requests_shed_unseen_total",
    Kind.COUNTER,
    "Requests that a gateway refused (503 HoldFull) before it knew whose they were: more came than it could look at.",
)
RETRIES = MetricSpec(
    "stoker_retries_total",
    Kind.COUNTER,
    "Further tries at agents for one request: made, or withheld because the retry budget of the function was spent.",
    (*_FUNCTION, "outcome"),
)
COLD_ON_TIME = MetricSpec(
    "stoker_cold_requests_on_time_total", Kind.COUNTER, "Cold requests answered within slo.coldLatency.", _FUNCTION
)
COLD_REQUESTS = MetricSpec(
    "stoker_cold_requests_total", Kind.COUNTER, "Requests that found no warm replica at arrival.", _FUNCTION
)
REQUEST_SECONDS = MetricSpec(
    "stoker_request_duration_seconds",
    Kind.HISTOGRAM,
    "Arrival at the gateway to the last byte of the answer.",
    _FUNCTION,
    LATENCY_BUCKETS_S,
)
QUEUE_SECONDS = MetricSpec(
    "stoker_request_queue_seconds",
    Kind.HISTOGRAM,
    "Time queued at an agent before dispatch.",
    _FUNCTION,
    LATENCY_BUCKETS_S,
)
HELD_SECONDS = MetricSpec(
    "stoker_request_held_seconds",
    Kind.HISTOGRAM,
    "Time held in a gateway for a warm replica.",
    _FUNCTION,
    LATENCY_BUCKETS_S,
)
ADMISSIONS = MetricSpec(
    "stoker_admissions_total",
    Kind.COUNTER,
    "Requests that an agent judged, by verdict: Promised (to be on time), Estimated (taken by an estimate), Late "
    "(taken behind all promises), Explored (taken to learn how long it takes), Observed (taken in mode Observe; with "
    "the reason where it would have been refused), Unasked (taken, no admission policy), or the reason of the refusal.",
    (*_VARIANT, "verdict"),
)
BROKEN_PROMISES = MetricSpec(
    "stoker_promises_broken_total",
    Kind.COUNTER,
    "Requests that were promised to be on time, or estimated to be, and were not: dropped before their dispatch "
    "(dropped), shed for a higher priority (shed), or ended late (late).",
    (*_VARIANT, "how"),
)
FINISHES = MetricSpec(
    "stoker_predicted_finishes_total",
    Kind.COUNTER,
    "Requests whose finish time was predicted, by whether the calibrated margin of before covered it. The covered "
    "share is to be slo.percentile.",
    (*_VARIANT, "covered"),
)
EXEC_SECONDS = MetricSpec(
    "stoker_request_exec_seconds",
    Kind.HISTOGRAM,
    "Dispatch to the end of the replica's answer.",
    _VARIANT,
    LATENCY_BUCKETS_S,
)
HELD = MetricSpec("stoker_requests_held", Kind.GAUGE, "Requests held in a gateway now.", _FUNCTION)
QUEUED = MetricSpec("stoker_requests_queued", Kind.GAUGE, "Requests queued at the agent now.", _FUNCTION)
RUNNING = MetricSpec("stoker_requests_running", Kind.GAUGE, "Requests dispatched to a replica now.", _FUNCTION)
REPLICAS = MetricSpec("stoker_replicas", Kind.GAUGE, "Replicas by state.", (*_VARIANT, "state"))
REPLICA_STARTS = MetricSpec("stoker_replica_starts_total", Kind.COUNTER, "Replicas started (cold starts).", _VARIANT)
REPLICA_FAILURES = MetricSpec(
    "stoker_replica_failures_total", Kind.COUNTER, "Replicas that failed, by reason.", (*_VARIANT, "reason")
)
REPLICA_DRAINS = MetricSpec(
    "stoker_replica_drains_total", Kind.COUNTER, "Replicas asked to drain, by reason.", (*_VARIANT, "reason")
)
START_SECONDS = MetricSpec(
    "stoker_replica_start_seconds", Kind.HISTOGRAM, "Process start to ready.", _VARIANT, LATENCY_BUCKETS_S
)
DEVICE_MEMORY = MetricSpec("stoker_device_memory_bytes", Kind.GAUGE, "Memory of a device.", ("device", "product"))
DEVICE_RESERVED = MetricSpec(
    "stoker_device_reserved_memory_bytes", Kind.GAUGE, "Memory of a device promised to replicas.", ("device", "product")
)
DEVICE_RESIDENTS = MetricSpec(
    "stoker_device_residents", Kind.GAUGE, "Replicas that a device is promised to.", ("device", "product")
)
DEVICE_BUSY_SECONDS = MetricSpec(
    "stoker_device_busy_seconds_total", Kind.COUNTER, "Slot time used by requests on a device.", ("device", "product")
)
COST = MetricSpec(
    "stoker_cost_micro_total",
    Kind.COUNTER,
    "Device time charged to functions, in micro-units (1e-6) of the currency of GpuPolicy spec.prices, by phase "
    "(starting, idle, busy).",
    (*_FUNCTION, "phase"),
)
COST_UNALLOCATED = MetricSpec(
    "stoker_cost_unallocated_micro_total",
    Kind.COUNTER,
    "Device time with a price that no function was charged for, in micro-units.",
)
EXTENDER_SECONDS = MetricSpec(
    "stoker_extender_duration_seconds",
    Kind.HISTOGRAM,
    "Time to decide one call of kube-scheduler.",
    ("verb",),
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
)
PLACEMENTS = MetricSpec(
    "stoker_placements_total",
    Kind.COUNTER,
    "Pods scored, by how warm the best node was for the function.",
    ("warmth",),
)
PLACEMENTS_REJECTED = MetricSpec(
    "stoker_placement_rejections_total", Kind.COUNTER, "Nodes that the filter rejected, by reason.", ("reason",)
)
RECONCILE_SECONDS = MetricSpec(
    "stoker_plan_duration_seconds",
    Kind.HISTOGRAM,
    "One plan over all functions.",
    (),
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
LEADER = MetricSpec("stoker_operator_leader", Kind.GAUGE, "1 on the operator that leads.")
WRITES = MetricSpec(
    "stoker_operator_writes_total",
    Kind.COUNTER,
    "Writes to the API server, by kind of object and verb.",
    ("kind", "verb"),
)
PODS_MADE = MetricSpec(
    "stoker_operator_pods_made_total", Kind.COUNTER, "Pods of replicas that the API server accepted.", ("variant",)
)
PODS_REFUSED = MetricSpec(
    "stoker_operator_pods_refused_total",
    Kind.COUNTER,
    "Pods of replicas that could not be made, by reason.",
    ("reason",),
)
FUNCTIONS = MetricSpec(
    "stoker_operator_functions",
    Kind.GAUGE,
    "Functions by their Ready condition, as of the last plan.",
    ("ready", "reason"),
)
FLEET_REPLICAS = MetricSpec(
    "stoker_operator_replicas",
    Kind.GAUGE,
    "Replicas by state as of the last plan, those without a node included.",
    ("variant", "state"),
)
PENDING_SECONDS = MetricSpec(
    "stoker_function_pending_seconds_total",
    Kind.COUNTER,
    "Time that a function wanted a replica that was not warm, by what it waited for.",
    (*_FUNCTION, "reason"),
)
WAKE_SECONDS = MetricSpec(
    "stoker_replica_wake_seconds",
    Kind.HISTOGRAM,
    "From the plan that orders a replica to warm: pod, placement, image, device and start-up.",
    ("variant",),
    START_BUCKETS_S,
)
CACHE_OBJECTS = MetricSpec("stoker_cache_objects", Kind.GAUGE, "Objects in a watch cache.", ("component", "cache"))
CACHE_LAG = MetricSpec(
    "stoker_cache_lag_seconds",
    Kind.GAUGE,
    "Since when a cache has no open watch: how old its view may be. 0 while it has one.",
    ("component", "cache"),
)
CACHE_RECONNECTS = MetricSpec(
    "stoker_cache_reconnects_total",
    Kind.COUNTER,
    "Watches of a cache that ended, in order or not.",
    ("component", "cache"),
)
CACHE_LISTS = MetricSpec(
    "stoker_cache_lists_total", Kind.COUNTER, "Times that a cache listed everything.", ("component", "cache")
)
CACHE_UNFIT = MetricSpec(
    "stoker_cache_unfit_objects_total", Kind.COUNTER, "Objects that a cache could not read.", ("component", "cache")
)
QUEUE_DEPTH = MetricSpec("stoker_work_queue_depth", Kind.GAUGE, "Keys that wait for a worker.", ("queue",))
QUEUE_OLDEST = MetricSpec(
    "stoker_work_queue_oldest_seconds", Kind.GAUGE, "For how long the first key in line has waited.", ("queue",)
)
QUEUE_FAILING = MetricSpec("stoker_work_queue_failing", Kind.GAUGE, "Keys whose last run failed.", ("queue",))
QUEUE_WAIT_SECONDS = MetricSpec(
    "stoker_work_queue_wait_seconds", Kind.HISTOGRAM, "From due to begun.", ("queue",), LATENCY_BUCKETS_S
)
QUEUE_RUN_SECONDS = MetricSpec(
    "stoker_work_queue_run_seconds",
    Kind.HISTOGRAM,
    "One run for one key, by result (ok, failed).",
    ("queue", "result"),
    LATENCY_BUCKETS_S,
)
LEASE_AGE = MetricSpec(
    "stoker_lease_age_seconds",
    Kind.GAUGE,
    "Since the leader renewed its Lease; absent where it does not lead.",
    ("lease",),
)
AGENTS_KNOWN = MetricSpec("stoker_agents_known", Kind.GAUGE, "Node agents that a component follows.", ("component",))
AGENTS_CONNECTED = MetricSpec(
    "stoker_agents_connected", Kind.GAUGE, "Node agents whose stream a component hears.", ("component",)
)
DEMAND_READERS = MetricSpec(
    "stoker_demand_readers", Kind.GAUGE, "Operators that follow the demand at a gateway: 1 when all is well."
)
TOKEN_REVIEWS = MetricSpec(
    "stoker_token_reviews_total",
    Kind.COUNTER,
    "Tokens that the API server was asked about, by result (authenticated, refused, failed).",
    ("result",),
)
CHARGES = MetricSpec(
    "stoker_extender_charges", Kind.GAUGE, "Replicas that were given a node a moment ago and do not show there yet."
)
GRANTS_WAITING = MetricSpec(
    "stoker_grants_waiting", Kind.GAUGE, "Init containers that wait for the devices of their pods."
)
GRANT_SECONDS = MetricSpec(
    "stoker_grant_wait_seconds",
    Kind.HISTOGRAM,
    "From when a pod with a shared device was seen on the node until it got its reservation.",
    (),
    START_BUCKETS_S,
)
FUNCTION_NODE_WRITES = MetricSpec(
    "stoker_function_node_writes_total", Kind.COUNTER, "Writes of the status of the node's FunctionNode."
)
DEVICE_USED = MetricSpec(
    "stoker_device_used_memory_bytes", Kind.GAUGE, "Memory of a device in use, as measured.", ("device", "product")
)
DEVICE_UTILISATION = MetricSpec(
    "stoker_device_utilisation_ratio", Kind.GAUGE, "Time that a device ran anything, 0 to 1.", ("device", "product")
)
DEVICE_HEALTHY = MetricSpec(
    "stoker_device_healthy", Kind.GAUGE, "1 while new replicas may go on a device.", ("device", "product")
)
DEVICE_MEMORY_EXCEEDED = MetricSpec(
    "stoker_device_memory_exceeded_total",
    Kind.COUNTER,
    "Times that more memory of a shared device was in use than was promised.",
    ("device", "product"),
)
REPLICA_MEMORY_EXCEEDED = MetricSpec(
    "stoker_replica_memory_exceeded_total",
    Kind.COUNTER,
    "Times that a replica was found to use more device memory than it was promised.",
    _FUNCTION,
)
REPLICAS_UNFIT = MetricSpec("stoker_replicas_unfit", Kind.GAUGE, "Replicas on a device that they may not use.")
KUBELET_UP = MetricSpec("stoker_kubelet_up", Kind.GAUGE, "1 while the node's kubelet says what its pods hold.")
API_UP = MetricSpec("stoker_api_up", Kind.GAUGE, "1 while the view of the API server is fresh.")
OBJECTS_REJECTED = MetricSpec("stoker_objects_rejected_total", Kind.COUNTER, "Objects in files that were refused.")

CATALOGUE: tuple[MetricSpec, ...] = tuple(value for value in list(globals().values()) if isinstance(value, MetricSpec))
"""Every metric of Stoker, in the order of this file."""


class MetricsSink(Protocol):
    """Where shells count. Label values come in the order of `spec.labels`."""

    def inc(self, spec: MetricSpec, *labels: str, amount: float = 1) -> None: ...
    def set(self, spec: MetricSpec, value: float, *labels: str) -> None: ...
    def observe(self, spec: MetricSpec, value: float, *labels: str) -> None: ...
    def forget(self, spec: MetricSpec, *labels: str) -> None:
        """Drop one labelled series."""

    def forget_function(self, namespace: str, function: str) -> None:
        """Drop every series of a function that was deleted."""
