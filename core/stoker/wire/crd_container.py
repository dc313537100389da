"""Decode the container of a GpuFunction, and what its CPU variant puts over it. Bounds were checked before."""

import msgspec
from msgspec import UNSET, UnsetType

from stoker.model.container import (
    Artifact,
    ContainerSpec,
    EnvVar,
    KeyKind,
    KeyRef,
    Mount,
    Probe,
    Protocol,
    Volume,
    VolumeKind,
)
from stoker.model.quantity import parse_cpu_millis, parse_duration_us, parse_memory_mib
from stoker.wire import crd_types as wire


def container_of(container: wire.Container) -> ContainerSpec:
    """The container with every default filled in."""
    cpu_millis, memory_mib = _resources(container.resources)
    return ContainerSpec(
        image=container.image or None,
        command=container.command or (),
        args=container.args or (),
        env=_env(container.env),
        port=container.port,
        protocol=Protocol(container.protocol),
        cpu_millis=cpu_millis,
        memory_mib=memory_mib,
        readiness=_probe(container.readiness) or Probe(),
        liveness=_probe(container.liveness),
        startup_timeout_us=parse_duration_us(container.startup_timeout),
        termination_grace_us=parse_duration_us(container.termination_grace_period),
        volumes=tuple(_volume(volume) for volume in container.volumes or ()),
        mounts=tuple(
            Mount(
                volume=mount.name,
                path=mount.mount_path,
                read_only=mount.read_only,
                sub_path=mount.sub_path or None,
            )
            for mount in container.mounts or ()
        ),
        shm_mib=parse_memory_mib(container.shm) if container.shm else None,
        run_as_user=container.run_as_user or None,
        fs_group=container.fs_group or None,
        image_pull_secrets=tuple(reference.name for reference in container.image_pull_secrets or ()),
        service_account_name=container.service_account_name or None,
        metrics_port=container.metrics_port or None,
        no_wake_paths=container.no_wake_paths,
    )


def over(base: ContainerSpec, variant: wire.CpuVariantSpec) -> ContainerSpec:
    """The container of the CPU variant: the function's, with what the variant names put over it."""
    cpu_millis, memory_mib = _resources(variant.resources)
    # As in a pod, a new command comes without the old one's arguments.
    args = variant.args or (() if variant.command else base.args)
    env = {item.name: item for item in (*base.env, *_env(variant.env))}
    return msgspec.structs.replace(
        base,
        image=variant.image or base.image,
        command=variant.command or base.command,
        args=args,
        env=tuple(env.values()),
        cpu_millis=cpu_millis,
        memory_mib=memory_mib,
        readiness=_probe(variant.readiness) or base.readiness,
    )


def artifacts_of(artifacts: tuple[wire.Artifact, ...]) -> tuple[Artifact, ...]:
    """Those that are mounted as they are; one with `uri` would have to be fetched, and both modes say so."""
    mounted = []
    for artifact in artifacts:
        if artifact.image is not UNSET:
            mounted.append(Artifact(kind=VolumeKind.IMAGE, source=artifact.image, path=artifact.mount_path))
        elif artifact.claim is not UNSET:
            mounted.append(Artifact(kind=VolumeKind.CLAIM, source=artifact.claim, path=artifact.mount_path))
    return tuple(mounted)


def _resources(resources: wire.Resources | UnsetType) -> tuple[int, int | None]:
    """Millicores and MiB of host memory; absent resources are the defaults."""
    wanted = resources or wire.Resources()
    return parse_cpu_millis(str(wanted.cpu)), parse_memory_mib(wanted.memory) if wanted.memory else None


def _env(env: tuple[wire.Env, ...] | UnsetType) -> tuple[EnvVar, ...]:
    return tuple(
        EnvVar(name=item.name, source=_key(item.value_from))
        if item.value_from is not UNSET
        else EnvVar(name=item.name, value=item.value or "")
        for item in env or ()
    )


def _key(source: wire.ValueFrom) -> KeyRef | None:
    if source.secret_key_ref is not UNSET:
        return KeyRef(kind=KeyKind.SECRET, name=source.secret_key_ref.name, key=source.secret_key_ref.key)
    if source.config_map_key_ref is not UNSET:
        return KeyRef(kind=KeyKind.CONFIG_MAP, name=source.config_map_key_ref.name, key=source.config_map_key_ref.key)
    return None


def _volume(volume: wire.Volume) -> Volume:
    """crd_rules let exactly one kind through."""
    if volume.config_map is not UNSET:
        return Volume(name=volume.name, kind=VolumeKind.CONFIG_MAP, source=volume.config_map.name)
    if volume.secret is not UNSET:
        return Volume(name=volume.name, kind=VolumeKind.SECRET, source=volume.secret.name)
    if volume.persistent_volume_claim is not UNSET:
        claim = volume.persistent_volume_claim
        return Volume(name=volume.name, kind=VolumeKind.CLAIM, source=claim.claim_name, read_only=claim.read_only)
    if volume.image is not UNSET:
        return Volume(name=volume.name, kind=VolumeKind.IMAGE, source=volume.image.reference)
    limit = volume.empty_dir.size_limit if volume.empty_dir is not UNSET else UNSET
    size_mib = parse_memory_mib(limit) if limit else None
    return Volume(name=volume.name, kind=VolumeKind.EMPTY_DIR, size_limit_mib=size_mib)


def _probe(probe: wire.ProbeSpec | UnsetType) -> Probe | None:
    return Probe(path=probe.path or None) if probe is not UNSET else None
