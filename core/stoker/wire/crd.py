"""Decode a defaulted GpuFunction document into the model. Pure: knows no file, no schema and no clock.

It checks all that crds/ checks, on its own (fields and bounds by stoker.wire.crd_types, what spans fields by
stoker.wire.crd_rules): the contract test holds the two to one verdict. Where a GpuFunction asks for what its mode does
not do, stoker.wire.embedded or stoker.wire.kubernetes says so in a sentence.
"""

from typing import Any

from msgspec import UNSET, UnsetType

from stoker.model.function import (
    Access,
    CostBounds,
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    PreWarm,
    PreWarmPolicy,
    PreWarmWindow,
    QueueBounds,
    Scaling,
    Slo,
    Visibility,
)
from stoker.model.mode import Mode
from stoker.model.policy import NamespaceRule
from stoker.model.quantity import parse_duration_us, parse_memory_mib
from stoker.wire import crd_rules, embedded, kubernetes
from stoker.wire import crd_types as wire
from stoker.wire.conversion import convert
from stoker.wire.crd_container import artifacts_of, container_of, over
from stoker.wire.revision import revision_of

DEFAULT_RESOURCE = "nvidia.com/gpu"

_EVERY_LABEL = NamespaceRule(label_prefixes=("",))
"""Allows all that a policy can allow."""


def decode_function(
    document: dict[str, Any],
    *,
    uid: str = "",
    generation: int = 1,
    mode: Mode = Mode.EMBEDDED,
    origin: str = "",
    work_dir: str | None = None,
) -> Function:
    """The function that a document describes. Raises InvalidObject with the path of what is wrong."""
    resource = convert(document, wire.GpuFunctionResource)
    spec = resource.spec
    crd_rules.check(spec)
    here = embedded if mode is Mode.EMBEDDED else kubernetes
    here.refuse(spec)
    return Function(
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        uid=uid,
        generation=generation,
        spec=_spec(spec, mode),
        revision=revision_of(spec),
        labels=_texts(document, "labels"),
        annotations=_texts(document, "annotations"),
        origin=origin,
        work_dir=work_dir,
        warnings=here.warnings(spec),
    )


def _spec(spec: wire.GpuFunctionSpec, mode: Mode) -> FunctionSpec:
    return FunctionSpec(
        container=container_of(spec.container),
        gpu=_gpu(spec.gpu, mode),
        cpu_variant=_cpu_variant(spec),
        slo=Slo(
            latency_us=parse_duration_us(spec.slo.latency),
            measure=spec.slo.measure,
            percentile=spec.slo.percentile,
            cold_latency_us=_optional_us(spec.slo.cold_latency),
            classes={name: parse_duration_us(text) for name, text in (spec.slo.classes or {}).items()},
            cost=CostBounds(
                per_hour=spec.slo.max_cost_per_hour or None,
                per_thousand_requests=spec.slo.max_cost_per_thousand_requests or None,
            ),
        ),
        timeout_us=parse_duration_us(spec.timeout),
        on_predicted_miss=spec.on_predicted_miss,
        fair_share=spec.fair_share,
        priority=spec.priority,
        queue=QueueBounds(max_requests=spec.queue.max_requests, max_bytes=_bytes(spec.queue.max_bytes)),
        scaling=Scaling(
            min_replicas=spec.scaling.min_replicas,
            max_replicas=spec.scaling.max_replicas,
            concurrency=spec.scaling.concurrency,
            keep_alive=spec.scaling.keep_alive.policy or None,
            keep_alive_ttl_us=parse_duration_us(spec.scaling.keep_alive.ttl),
            pre_warm=_pre_warm(spec.scaling.pre_warm),
        ),
        idempotent=spec.idempotent,
        cancel_on_disconnect=spec.cancel_on_disconnect,
        artifacts=artifacts_of(spec.artifacts or ()),
        access=Access(
            visibility=Visibility(spec.access.visibility),
            allow=spec.access.allow or (),
            hostnames=spec.access.hostnames or (),
        ),
        progress_deadline_us=parse_duration_us(spec.rollout.progress_deadline),
        canary_percent=spec.rollout.canary_percent or None,
    )


def _cpu_variant(spec: wire.GpuFunctionSpec) -> CpuVariant | None:
    """The container of the CPU variant: the function's, with what the variant names put over it."""
    variant = spec.cpu_variant
    if variant is UNSET:
        return None
    return CpuVariant(
        container=over(container_of(spec.container), variant),
        concurrency=variant.concurrency or spec.scaling.concurrency,
        max_replicas=variant.max_replicas or spec.scaling.max_replicas,
    )


def _gpu(gpu: wire.Gpu | UnsetType, mode: Mode) -> tuple[GpuOption, ...]:
    """On Kubernetes only what a pod can have: it asks for one resource, that of the first kind."""
    if gpu is UNSET:
        return ()
    kinds: tuple[wire.Gpu | wire.GpuAlternative, ...] = gpu.any_of or (gpu,)
    options = tuple(
        GpuOption(
            memory_mib=parse_memory_mib(kind.memory or ""),
            products=kind.products or (),
            count=gpu.count,
            sharing=gpu.sharing,
            resource_name=kind.resource_name or DEFAULT_RESOURCE,
        )
        for kind in kinds
    )
    if mode is Mode.EMBEDDED:
        return options
    return tuple(option for option in options if option.resource_name == options[0].resource_name)


def _pre_warm(pre_warm: wire.PreWarm | UnsetType) -> PreWarm | None:
    if pre_warm is UNSET:
        return None
    return PreWarm(
        policy=PreWarmPolicy(pre_warm.policy),
        windows=tuple(
            PreWarmWindow(cron=window.cron, duration_us=parse_duration_us(window.duration), replicas=window.replicas)
            for window in pre_warm.windows or ()
        ),
    )


def _texts(document: dict[str, Any], field: str) -> dict[str, str]:
    """Labels or annotations that could ever reach a pod: kubectl's own may hold the whole object again."""
    texts = document["metadata"].get(field)
    if not isinstance(texts, dict):
        return {}
    return {key: text for key, text in texts.items() if isinstance(text, str) and _EVERY_LABEL.allows_label(key)}


def _optional_us(text: str | UnsetType) -> int | None:
    return None if text is UNSET else parse_duration_us(text)


def _bytes(amount: int | str) -> int:
    return amount if isinstance(amount, int) else parse_memory_mib(amount) * 2**20
