"""Replicas: one process or pod of one variant and revision of a function."""

from enum import StrEnum

from msgspec import Struct

from stoker.model.function import Variant
from stoker.reasons import Reason


class ReplicaState(StrEnum):
    """Where a replica stands; the transitions and their sole actors are in stoker.lifecycle."""

    STARTING = "starting"
    WARM = "warm"
    HIBERNATED = "hibernated"
    DRAINING = "draining"
    GONE = "gone"


class ReplicaSpec(Struct, frozen=True, kw_only=True):
    """What identifies a replica and what it holds."""

    id: str
    """`namespace/function-revision-ordinal`; the CPU variant beside a GPU one has `-cpu` before the ordinal
    (stoker.names)."""
    function: str
    """Key of its function, `namespace/name`."""
    variant: Variant
    revision: str
    ordinal: int
    devices: tuple[str, ...]
    """Devices that it holds; the first one's slots are used to dispatch to it. Kubernetes: empty until its agent has
    said which ones the kubelet chose."""


class ReplicaStatus(Struct, frozen=True, kw_only=True):
    """What the agent knows of a replica; times in microseconds on the agent's monotonic clock."""

    spec: ReplicaSpec
    state: ReplicaState
    started_us: int
    """Kubernetes: when its own container was started, or before that its pod made."""
    ready_us: int | None = None
    idle_since_us: int | None = None
    """Since when it has had nothing in flight and nothing queued for it; None while busy or not warm."""
    in_flight: int = 0
    served: int = 0
    overdue_us: int | None = None
    """How long its oldest request that timed out has gone on running since; None if there is none."""
    waiting: Reason | None = None
    """Kubernetes: why it is not warm yet (stoker.control.pending); None where nothing is known, or it is warm."""
    waiting_detail: str = ""
    unfit: str = ""
    """Why the device that it got is not one that it may use; empty when it is (stoker.wire.cluster)."""
