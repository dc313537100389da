"""Builders with a default for every field, so that a test names only what it is about.

They make plain values and nothing runs. Times are integer microseconds; MS and S make them readable.
"""

from collections.abc import Collection, Sequence
from itertools import count

from stoker.decisions import RequestRecord, Step
from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import (
    ContainerSpec,
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    OnMiss,
    Priority,
    QueueBounds,
    Scaling,
    Sharing,
    Slo,
    Variant,
)
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.model.request import QueuedRequest
from stoker.names import replica_id
from stoker.policies.queueing.interface import SlotView
from stoker.reasons import Outcome, Reason

MS = 1_000
S = 1_000_000

_ids = count()


def make_request(
    id: str | None = None,  # noqa: A002  the field's own name
    flow: str = "default/f",
    *,
    arrival_us: int = 0,
    objective_us: int | None = None,
    timeout_us: int | None = None,
    predicted_exec_us: int = 10 * MS,
    variant: Variant = Variant.GPU,
    cold: bool = False,
    percentile: float = 99.0,
    start_us: int = 0,
) -> QueuedRequest:
    """A queued request; objective 250 ms and timeout 60 s after its arrival, and an id of its own."""
    return QueuedRequest(
        id=f"r{next(_ids)}" if id is None else id,
        flow=flow,
        variant=variant,
        arrival_us=arrival_us,
        objective_us=arrival_us + 250 * MS if objective_us is None else objective_us,
        timeout_us=arrival_us + 60 * S if timeout_us is None else timeout_us,
        predicted_exec_us=predicted_exec_us,
        cold=cold,
        percentile=percentile,
        start_us=start_us,
    )


def make_slot(*eligible: str, device_id: str = "sim-0", warm: Collection[str] | None = None) -> SlotView:
    """A free slot that the named flows may use; all of them are resident there unless `warm` names those that are."""
    return SlotView(device_id, frozenset(eligible), None if warm is None else frozenset(warm))


def make_function(
    name: str = "f",
    *,
    namespace: str = "default",
    uid: str | None = None,
    generation: int = 1,
    revision: str = "0123456789",
    gpu: Sequence[GpuOption] | None = None,
    cpu_variant: bool = False,
    latency_us: int = 250 * MS,
    cold_latency_us: int | None = None,
    timeout_us: int = 60 * S,
    startup_timeout_us: int = 600 * S,
    min_replicas: int = 0,
    max_replicas: int = 10,
    concurrency: int = 1,
    keep_alive_ttl_us: int = 300 * S,
    max_requests: int = 1000,
    on_predicted_miss: tuple[OnMiss, ...] = (OnMiss.DIVERT, OnMiss.SERVE_LATE),
    fair_share: int = 1,
    priority: Priority = Priority.STANDARD,
    cpu_millis: int = 1000,
) -> Function:
    """A function on one exclusive GPU with 4 GiB; `gpu=()` makes one that runs on CPUs only."""
    container = ContainerSpec(
        command=("python", "serve.py"), startup_timeout_us=startup_timeout_us, cpu_millis=cpu_millis
    )
    return Function(
        namespace=namespace,
        name=name,
        uid=f"uid-{namespace}-{name}" if uid is None else uid,
        generation=generation,
        revision=revision,
        spec=FunctionSpec(
            container=container,
            gpu=(GpuOption(memory_mib=4096),) if gpu is None else tuple(gpu),
            cpu_variant=CpuVariant(container=container) if cpu_variant else None,
            slo=Slo(latency_us=latency_us, cold_latency_us=cold_latency_us),
            timeout_us=timeout_us,
            on_predicted_miss=on_predicted_miss,
            fair_share=fair_share,
            priority=priority,
            queue=QueueBounds(max_requests=max_requests),
            scaling=Scaling(
                min_replicas=min_replicas,
                max_replicas=max_replicas,
                concurrency=concurrency,
                keep_alive_ttl_us=keep_alive_ttl_us,
            ),
        ),
    )


def make_gpu(
    id: str = "sim-0",  # noqa: A002  the field's own name
    *,
    product: str = "A100-40GB",
    memory_mib: int = 40_960,
    slots: int = 1,
    healthy: bool = True,
) -> Device:
    """A simulated GPU."""
    return Device(
        id=id,
        kind=DeviceKind.GPU,
        product=product,
        memory_mib=memory_mib,
        slots=slots,
        healthy=healthy,
        simulated=True,
    )


def make_cpu(*, memory_mib: int = 16_384, millicores: int = 4000) -> Device:
    """The CPU device."""
    return Device(id="cpu", kind=DeviceKind.CPU, product="cpu", memory_mib=memory_mib, millicores=millicores)


def make_reservation(
    replica: str = "default/f-0123456789-0",
    device_id: str = "sim-0",
    *,
    memory_mib: int = 4096,
    millicores: int = 0,
    sharing: Sharing = Sharing.SHARED,
) -> Reservation:
    """A promise on one device."""
    return Reservation(
        replica_id=replica, device_id=device_id, memory_mib=memory_mib, millicores=millicores, sharing=sharing
    )


def make_replica(
    function: Function,
    ordinal: int = 0,
    *,
    variant: Variant | None = None,
    revision: str | None = None,
    devices: Collection[str] = ("sim-0",),
    state: ReplicaState = ReplicaState.WARM,
    started_us: int = 0,
    ready_us: int | None = None,
    idle_since_us: int | None = None,
    in_flight: int = 0,
) -> ReplicaStatus:
    """A replica of the function's primary variant and its revision."""
    variant = variant or function.primary
    revision = revision or function.revision
    return ReplicaStatus(
        spec=ReplicaSpec(
            id=replica_id(function.key, variant, function.primary, revision, ordinal),
            function=function.key,
            variant=variant,
            revision=revision,
            ordinal=ordinal,
            devices=tuple(devices),
        ),
        state=state,
        started_us=started_us,
        ready_us=ready_us,
        idle_since_us=idle_since_us,
        in_flight=in_flight,
    )


def make_record(
    outcome: Outcome | None = Outcome.SERVED,
    reason: Reason | None = None,
    *,
    id: str = "01JABCDEF",  # noqa: A002  the field's own name
    function: str = "default/ocr",
    path: str = "/read",
    status: int = 200,
    total_us: int | None = 182 * MS,
    latency_us: int = 250 * MS,
    objective_us: int = 250 * MS,
    timeout_us: int = 60 * S,
    on_time: bool | None = None,
    cold: bool = False,
    diverted: bool = False,
    device: str = "",
    detail: str = "",
    queue_us: int | None = None,
    start_us: int | None = None,
    exec_us: int | None = None,
    predicted_finish_us: int | None = None,
    retry_after_ms: int | None = None,
    estimated: bool = False,
    steps: Sequence[Step] = (),
) -> RequestRecord:
    """The record of a POST."""
    return RequestRecord(
        id=id,
        function=function,
        arrived_at="2026-01-02T03:04:05Z",
        method="POST",
        path=path,
        objective_us=objective_us,
        latency_us=latency_us,
        timeout_us=timeout_us,
        device=device,
        cold=cold,
        diverted=diverted,
        outcome=outcome,
        reason=reason,
        status=status,
        detail=detail,
        queue_us=queue_us,
        start_us=start_us,
        exec_us=exec_us,
        total_us=total_us,
        on_time=on_time,
        predicted_finish_us=predicted_finish_us,
        retry_after_ms=retry_after_ms,
        estimated=estimated,
        steps=list(steps),
    )
