"""Decode a defaulted GpuFunction or GpuPolicy document into the model. Pure: knows no file, no schema and no clock.

It checks all that crds/ checks, on its own (fields and bounds by stoker.wire.crd_types, what spans fields by
stoker.wire.crd_rules): the contract test holds the two to one verdict. Where a GpuFunction asks for what this mode
does not do, stoker.wire.embedded says so in a sentence.
"""

from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from stoker.errors import InvalidObject
from stoker.model.function import (
    ContainerSpec,
    CpuVariant,
    EnvVar,
    Function,
    FunctionSpec,
    GpuOption,
    Probe,
    QueueBounds,
    Scaling,
    Slo,
)
from stoker.model.quantity import parse_cpu_millis, parse_duration_us, parse_memory_mib
from stoker.wire import crd_rules, embedded
from stoker.wire import crd_types as wire
from stoker.wire.revision import revision_of

_Resource = TypeVar("_Resource", wire.GpuFunctionResource, wire.GpuPolicyResource)


class PolicyObject(Struct, frozen=True, kw_only=True):
    """One GpuPolicy as applied."""

    name: str
    queueing: str


def decode_function(
    document: dict[str, Any],
    *,
    uid: str = "",
    generation: int = 1,
    origin: str = "",
    work_dir: str | None = None,
) -> Function:
    """The function that a document describes. Raises InvalidObject with the path of what is wrong."""
    resource = _convert(document, wire.GpuFunctionResource)
    spec = resource.spec
    crd_rules.check(spec)
    embedded.refuse(spec)
    return Function(
        namespace=resource.metadata.namespace,
        name=resource.metadata.name,
        uid=uid,
        generation=generation,
        spec=_spec(spec),
        revision=revision_of(spec),
        origin=origin,
        work_dir=work_dir,
        warnings=embedded.warnings(spec),
    )


def decode_policy(document: dict[str, Any]) -> PolicyObject:
    """The policy that a document describes. Raises InvalidObject with the path of what is wrong."""
    resource = _convert(document, wire.GpuPolicyResource)
    return PolicyObject(name=resource.metadata.name, queueing=resource.spec.queueing)


def _convert(document: dict[str, Any], kind: type[_Resource]) -> _Resource:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidObject(path.strip("`").removeprefix("."), message.replace("`", "")) from None


def _spec(spec: wire.GpuFunctionSpec) -> FunctionSpec:
    return FunctionSpec(
        container=_container(spec.container),
        gpu=_gpu(spec.gpu),
        cpu_variant=_cpu_variant(spec),
        slo=Slo(
            latency_us=parse_duration_us(spec.slo.latency),
            measure=spec.slo.measure,
            percentile=spec.slo.percentile,
            cold_latency_us=_optional_us(spec.slo.cold_latency),
            classes={name: parse_duration_us(text) for name, text in (spec.slo.classes or {}).items()},
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
            keep_alive_ttl_us=parse_duration_us(spec.scaling.keep_alive.ttl),
        ),
        idempotent=spec.idempotent,
        cancel_on_disconnect=spec.cancel_on_disconnect,
        progress_deadline_us=parse_duration_us(spec.rollout.progress_deadline),
    )


def _container(container: wire.Container) -> ContainerSpec:
    cpu_millis, memory_mib = _resources(container.resources)
    return ContainerSpec(
        image=container.image or None,
        command=container.command or (),
        args=container.args or (),
        env=_env(container.env),
        port=container.port,
        cpu_millis=cpu_millis,
        memory_mib=memory_mib,
        readiness=_probe(container.readiness) or Probe(),
        liveness=_probe(container.liveness),
        startup_timeout_us=parse_duration_us(container.startup_timeout),
        termination_grace_us=parse_duration_us(container.termination_grace_period),
        no_wake_paths=container.no_wake_paths,
    )


def _cpu_variant(spec: wire.GpuFunctionSpec) -> CpuVariant | None:
    """The container of the CPU variant: the function's, with what the variant names put over it."""
    variant = spec.cpu_variant
    if variant is UNSET:
        return None
    base = _container(spec.container)
    cpu_millis, memory_mib = _resources(variant.resources)
    # As in a pod, a new command comes without the old one's arguments.
    args = variant.args or (() if variant.command else base.args)
    env = {item.name: item for item in (*base.env, *_env(variant.env))}
    container = msgspec.structs.replace(
        base,
        image=variant.image or base.image,
        command=variant.command or base.command,
        args=args,
        env=tuple(env.values()),
        cpu_millis=cpu_millis,
        memory_mib=memory_mib,
        readiness=_probe(variant.readiness) or base.readiness,
    )
    return CpuVariant(
        container=container,
        concurrency=variant.concurrency or spec.scaling.concurrency,
        max_replicas=variant.max_replicas or spec.scaling.max_replicas,
    )


def _gpu(gpu: wire.Gpu | UnsetType) -> tuple[GpuOption, ...]:
    if gpu is UNSET:
        return ()
    kinds: tuple[wire.Gpu | wire.GpuAlternative, ...] = gpu.any_of or (gpu,)
    return tuple(
        GpuOption(
            memory_mib=parse_memory_mib(kind.memory or ""),
            products=kind.products or (),
            count=gpu.count,
            sharing=gpu.sharing,
        )
        for kind in kinds
    )


def _resources(resources: wire.Resources | UnsetType) -> tuple[int, int | None]:
    """Millicores and MiB of host memory; absent resources are the defaults."""
    wanted = resources or wire.Resources()
    return parse_cpu_millis(str(wanted.cpu)), parse_memory_mib(wanted.memory) if wanted.memory else None


def _env(env: tuple[wire.Env, ...] | UnsetType) -> tuple[EnvVar, ...]:
    return tuple(EnvVar(name=item.name, value=item.value or "") for item in env or ())


def _probe(probe: wire.ProbeSpec | UnsetType) -> Probe | None:
    return Probe(path=probe.path or None) if probe is not UNSET else None


def _optional_us(text: str | UnsetType) -> int | None:
    return None if text is UNSET else parse_duration_us(text)


def _bytes(amount: int | str) -> int:
    return amount if isinstance(amount, int) else parse_memory_mib(amount) * 2**20
