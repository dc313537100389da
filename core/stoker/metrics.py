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
_FUNCTION = ("namespace", "function")
_VARIANT = ("namespace", "function", "variant")

REQUESTS = MetricSpec(
    "stoker_requests_total",
    Kind.COUNTER,
    "Requests that ended, by outcome and reason (empty reason: served).",
    (*_FUNCTION, "variant", "outcome", "reason"),
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
DEVICE_BUSY_SECONDS = MetricSpec(
    "stoker_device_busy_seconds_total", Kind.COUNTER, "Slot time used by requests on a device.", ("device", "product")
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
        """Drop one labelled series (a function was deleted)."""
