"""The one closed list of reasons: metric label, condition reason, and `reason` in the HTTP answer.

A refusal is a value that carries one of these. Nothing outside this module may invent a reason; a new
case is a new member here, with its HTTP status and its sentence.
"""

from enum import StrEnum
from http import HTTPStatus


class Reason(StrEnum):
    """Why a request was not served, or why a function is in the state that it is in."""

    # Refusals and failures of a request (DESIGN 5, "Answers").
    QUEUE_FULL = "QueueFull"
    PREDICTED_MISS = "PredictedMiss"
    OVER_SHARE = (
        "OverShare"  # the devices are contended, and as much of its function is queued as its share does in time
    )
    COST_BOUND = "CostBound"  # also the condition of a function that may have no further replica at its price
    SHED = "Shed"  # it had been taken, and gave way to a request of higher priority before its dispatch
    HOLD_FULL = "HoldFull"
    NO_FITTING_DEVICE = "NoFittingDevice"
    SCALED_TO_ZERO = "ScaledToZero"
    CONTROL_PLANE_UNAVAILABLE = "ControlPlaneUnavailable"
    TIMEOUT = "Timeout"
    REPLICA_FAILED = "ReplicaFailed"
    BAD_REPLICA_ANSWER = "BadReplicaAnswer"
    BODY_TOO_SLOW = "BodyTooSlow"
    FUNCTION_NOT_FOUND = "FunctionNotFound"
    MALFORMED_REQUEST = "MalformedRequest"
    UNKNOWN_CLASS = "UnknownClass"
    HEADERS_TOO_LARGE = "HeadersTooLarge"
    MISDIRECTED = "Misdirected"
    UNAUTHENTICATED = "Unauthenticated"  # the function wants to know who calls (access)
    ACCESS_DENIED = "AccessDenied"
    CLIENT_GONE = "ClientGone"
    NO_REPLICA = "NoReplica"  # agent to gateway only: the last live replica went before dispatch
    DRAINING = "Draining"

    # Conditions of a function (DESIGN 3, kstatus).
    READY = "Ready"
    WAITING_FOR_GPU = "WaitingForGpu"
    WAITING_FOR_NODE = "WaitingForNode"
    QUARANTINED = "Quarantined"
    NODE_LOST = "NodeLost"
    INITIALISING = "Initialising"
    START_FAILED = "StartFailed"
    START_TIMEOUT = "StartTimeout"
    CRASH_LOOP = "CrashLoop"
    REPLICA_HUNG = "ReplicaHung"
    MEMORY_EXCEEDED = "MemoryExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLING_OUT = "RollingOut"
    DELETING = "Deleting"

    # Why a pod is not warm yet, or why there is none (stoker.control.pending).
    PULLING_IMAGE = "PullingImage"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    WAITING_FOR_DEVICE = "WaitingForDevice"  # its init container waits for the agent's reservation
    UNFIT_DEVICE = "UnfitDevice"  # the kubelet chose a device that it may not use
    QUOTA_EXCEEDED = "QuotaExceeded"
    IMAGE_NEEDS_ROOT = "ImageNeedsRoot"
    CONFIG_MISSING = "ConfigMissing"  # a Secret or ConfigMap, or a key of it
    MOUNT_FAILED = "MountFailed"
    POD_REFUSED = "PodRefused"  # the API server or an admission policy refuses it
    OBJECT_REFUSED = "ObjectRefused"  # the API server or an admission policy refuses what stands beside its pods
    ADMISSION_ERROR = "AdmissionError"  # the kubelet refused it: UnexpectedAdmissionError, OutOf...
    EVICTED = "Evicted"
    AGENT_UNAVAILABLE = "AgentUnavailable"  # nobody on its node reports it
    PRE_PULL_UNSUPPORTED = "PrePullUnsupported"  # the cluster has no image volumes
    SLO_MET = "SloMet"  # the condition SloMet, both ways
    SLO_MISSED = "SloMissed"
    INVALID_SPEC = "InvalidSpec"  # the newest generation cannot be served
    NAME_CONFLICT = "NameConflict"  # of a pod or of an own hostname

    # Why a replica is drained (event log, `explain`).
    IDLE = "Idle"
    GIVES_WAY = "GivesWay"
    QUANTUM_OVER = "QuantumOver"
    REVISION_REPLACED = "RevisionReplaced"
    SCALED_DOWN = "ScaledDown"
    SHUTDOWN = "Shutdown"


PLATFORM_WAITS: frozenset[Reason] = frozenset(
    {
        Reason.WAITING_FOR_GPU,
        Reason.WAITING_FOR_NODE,
        Reason.PULLING_IMAGE,
        Reason.WAITING_FOR_DEVICE,
        Reason.AGENT_UNAVAILABLE,
        Reason.NODE_LOST,
        Reason.QUARANTINED,
        Reason.UNFIT_DEVICE,
        Reason.NAME_CONFLICT,
    }
)
"""Waits before a function's own process runs: its startupTimeout does not count them."""

PLATFORM_FAULTS: frozenset[Reason] = frozenset(
    {
        Reason.QUOTA_EXCEEDED,
        Reason.ADMISSION_ERROR,
        Reason.EVICTED,
        Reason.NODE_LOST,
        Reason.WAITING_FOR_NODE,
        Reason.NAME_CONFLICT,
        Reason.CONTROL_PLANE_UNAVAILABLE,
    }
)
"""Failed starts that say nothing about a revision: no update is given up for them."""

HTTP_STATUS: dict[Reason, int] = {
    Reason.QUEUE_FULL: 429,
    Reason.PREDICTED_MISS: 429,
    Reason.OVER_SHARE: 429,
    Reason.COST_BOUND: 429,
    Reason.SHED: 429,
    Reason.HOLD_FULL: 503,
    Reason.NO_FITTING_DEVICE: 503,
    Reason.SCALED_TO_ZERO: 503,
    Reason.CONTROL_PLANE_UNAVAILABLE: 503,
    Reason.NO_REPLICA: 503,
    Reason.DRAINING: 503,
    Reason.TIMEOUT: 504,
    Reason.REPLICA_FAILED: 502,
    Reason.BAD_REPLICA_ANSWER: 502,
    Reason.BODY_TOO_SLOW: 408,
    Reason.FUNCTION_NOT_FOUND: 404,
    Reason.MALFORMED_REQUEST: 400,
    Reason.UNKNOWN_CLASS: 400,
    Reason.HEADERS_TOO_LARGE: 431,
    Reason.MISDIRECTED: 421,
    Reason.UNAUTHENTICATED: 401,
    Reason.ACCESS_DENIED: 403,
    Reason.CLIENT_GONE: 499,
}
"""The status of the HTTP answer for each reason that a request can end with."""

TITLES: dict[int, str] = {status.value: status.phrase for status in HTTPStatus} | {499: "Client Closed Request"}
"""The name of every status (499 is nginx's: the client left)."""

RETRYABLE: frozenset[Reason] = frozenset(reason for reason, status in HTTP_STATUS.items() if status in (429, 503))
"""Reasons whose answers carry Retry-After (429: capacity is contended; 503: no capacity now)."""


class DeviceReason(StrEnum):
    """Why a request went to the variant that it went to (`Stoker-Device-Reason`)."""

    ONLY_VARIANT = "OnlyVariant"  # the function has no other one, or does not permit Divert
    CHOSEN = "Chosen"  # the device-choice policy sent it there at once
    NOT_WARM_ELSEWHERE = "NotWarmElsewhere"  # the device choice wants the other one, which was woken
    PREDICTED_MISS = "PredictedMiss"  # of the other one; here it was predicted on time
    OVER_SHARE = "OverShare"  # its function had used up its share of the other one's devices
    COST_BOUND = "CostBound"  # a bound on cost does not pay for the other one
    SERVED_LATE = "ServedLate"  # a miss was predicted, and the function has late requests served


MISSES: frozenset[Reason] = frozenset({Reason.PREDICTED_MISS, Reason.OVER_SHARE, Reason.SHED})
"""Refusals of an agent after which a gateway walks on in onPredictedMiss."""


class Outcome(StrEnum):
    """The terminal outcome of a request: exactly one each (`Stoker-Outcome`)."""

    SERVED = "served"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"
    UNKNOWN = "unknown"  # the connection was lost after dispatch: the work may have been done
