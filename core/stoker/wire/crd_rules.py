"""What a GpuFunction must satisfy beyond the bounds of its single fields: quantities, and rules across fields.

The CEL rules of crds/gpufunctions.stoker.dev.yaml say the same in CEL; tests/contract holds the two to one verdict.
"""

import re
from collections.abc import Callable, Iterable

from msgspec import UNSET, UnsetType

from stoker.errors import InvalidObject
from stoker.model.cron import parse_cron
from stoker.model.function import OnMiss, Sharing
from stoker.model.quantity import parse_cpu_millis, parse_duration_us, parse_memory_mib
from stoker.wire import crd_types as wire

SET_BY_STOKER = ("PORT", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "LD_PRELOAD")
_CLASS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_MAX_TIMEOUT_US = 24 * 3_600_000_000


def check(spec: wire.GpuFunctionSpec) -> None:
    """Raise InvalidObject for the first rule that does not hold."""
    _container(spec.container)
    _gpu(spec.gpu)
    if spec.cpu_variant is not UNSET:
        _process(spec.cpu_variant, "spec.cpuVariant")
    timeout_us = _timeout(spec)
    _slo(spec.slo, timeout_us)
    _on_predicted_miss(spec.on_predicted_miss)
    if isinstance(spec.queue.max_bytes, str):
        parse_memory_mib(spec.queue.max_bytes, "spec.queue.maxBytes")
    _scaling(spec.scaling)
    _artifacts(spec.artifacts or ())
    _unique(spec.access.allow or (), "spec.access.allow")
    _unique(spec.access.hostnames or (), "spec.access.hostnames")
    _require(
        not spec.access.hostnames or spec.access.visibility == "Public",
        "spec.access.hostnames",
        "need visibility: Public, since whoever reaches a hostname may call it",
    )
    _positive_us(spec.rollout.progress_deadline, "spec.rollout.progressDeadline")
    _require(
        spec.gpu is not UNSET or spec.cpu_variant is not UNSET,
        "spec",
        "say where it runs: give gpu (as in gpu: {memory: 4Gi}) or cpuVariant",
    )


def _container(container: wire.Container) -> None:
    path = "spec.container"
    _require(container.image is not UNSET or container.command is not UNSET, path, "give image, command or both")
    _process(container, path)
    if container.liveness is not UNSET:
        _probe(container.liveness, f"{path}.liveness")
    _positive_us(container.startup_timeout, f"{path}.startupTimeout")
    parse_duration_us(container.termination_grace_period, f"{path}.terminationGracePeriod")
    _optional(parse_memory_mib, container.shm, f"{path}.shm")
    _require(container.metrics_port != container.port, f"{path}.metricsPort", "must differ from port")
    _unique(container.no_wake_paths, f"{path}.noWakePaths")
    _unique((item.name for item in container.image_pull_secrets or ()), f"{path}.imagePullSecrets")
    volumes, mounts = container.volumes or (), container.mounts or ()
    for index, volume in enumerate(volumes):
        where = f"{path}.volumes[{index}]"
        _one_of(
            where,
            emptyDir=volume.empty_dir,
            configMap=volume.config_map,
            secret=volume.secret,
            persistentVolumeClaim=volume.persistent_volume_claim,
            image=volume.image,
        )
        if volume.empty_dir is not UNSET:
            _optional(parse_memory_mib, volume.empty_dir.size_limit, f"{where}.emptyDir.sizeLimit")
    _unique((volume.name for volume in volumes), f"{path}.volumes")
    _unique((mount.mount_path for mount in mounts), f"{path}.mounts")
    known = {volume.name for volume in volumes}
    _require(all(mount.name in known for mount in mounts), f"{path}.mounts", "each mount must name one of volumes")


def _process(process: wire.Container | wire.CpuVariantSpec, path: str) -> None:
    """What a container and a CPU variant have in common."""
    for index, item in enumerate(process.env or ()):
        where = f"{path}.env[{index}]"
        _one_of(where, value=item.value, valueFrom=item.value_from)
        _require(item.name not in SET_BY_STOKER, f"{where}.name", "is set by Stoker itself; leave it out")
        if item.value_from is not UNSET:
            source = item.value_from
            _one_of(f"{where}.valueFrom", secretKeyRef=source.secret_key_ref, configMapKeyRef=source.config_map_key_ref)
    _unique((item.name for item in process.env or ()), f"{path}.env")
    if process.readiness is not UNSET:
        _probe(process.readiness, f"{path}.readiness")
    if process.resources is not UNSET:
        where = f"{path}.resources"
        millis = parse_cpu_millis(str(process.resources.cpu), f"{where}.cpu")
        _require(millis > 0, f"{where}.cpu", "must be more than 0")
        _optional(parse_memory_mib, process.resources.memory, f"{where}.memory")


def _probe(probe: wire.ProbeSpec, path: str) -> None:
    _require(probe.tcp is not False, f"{path}.tcp", "must be true, or left out")
    _one_of(path, path=probe.path, tcp=probe.tcp)


def _gpu(gpu: wire.Gpu | UnsetType) -> None:
    if gpu is UNSET:
        return
    path = "spec.gpu"
    _one_of(path, memory=gpu.memory, anyOf=gpu.any_of)
    _require(
        gpu.any_of is UNSET or (gpu.products is UNSET and gpu.resource_name is UNSET),
        path,
        "with anyOf, products and resourceName belong inside its entries",
    )
    _require(
        gpu.count == 1 or gpu.sharing is Sharing.EXCLUSIVE,
        f"{path}.count",
        "more than one device needs sharing: Exclusive",
    )
    _optional(parse_memory_mib, gpu.memory, f"{path}.memory")
    _unique(gpu.products or (), f"{path}.products")
    for index, kind in enumerate(gpu.any_of or ()):
        parse_memory_mib(kind.memory, f"{path}.anyOf[{index}].memory")
        _unique(kind.products or (), f"{path}.anyOf[{index}].products")


def _timeout(spec: wire.GpuFunctionSpec) -> int:
    timeout_us = parse_duration_us(spec.timeout, "spec.timeout")
    _require(0 < timeout_us <= _MAX_TIMEOUT_US, "spec.timeout", "must be more than 0 and at most 24h")
    return timeout_us


def _slo(slo: wire.SloSpec, timeout_us: int) -> None:
    latency_us = _positive_us(slo.latency, "spec.slo.latency")
    _require(latency_us <= timeout_us, "spec.slo.latency", "must be at most timeout")
    if slo.cold_latency is not UNSET:
        path = "spec.slo.coldLatency"
        cold_us = parse_duration_us(slo.cold_latency, path)
        _require(cold_us >= latency_us, path, "must be at least latency")
        _require(cold_us <= timeout_us, path, "must be at most timeout")
    path = "spec.slo.classes"
    for name, text in (slo.classes or {}).items():
        _require(_CLASS_NAME.fullmatch(name) is not None, path, "each name must be 1 to 32 of a-z, 0-9 and -")
        us = parse_duration_us(text, f"{path}.{name}")
        _require(us > 0, path, "each latency must be more than 0")
        _require(us <= timeout_us, path, "each latency must be at most timeout")


def _on_predicted_miss(steps: tuple[OnMiss, ...]) -> None:
    _unique(steps, "spec.onPredictedMiss")
    _require(
        all(step is OnMiss.DIVERT for step in steps[:-1]),
        "spec.onPredictedMiss",
        "nothing may come after ServeLate or Refuse",
    )


def _scaling(scaling: wire.ScalingSpec) -> None:
    path = "spec.scaling"
    _require(scaling.min_replicas <= scaling.max_replicas, f"{path}.minReplicas", "must be at most maxReplicas")
    parse_duration_us(scaling.keep_alive.ttl, f"{path}.keepAlive.ttl")
    if scaling.pre_warm is UNSET:
        return
    windows = scaling.pre_warm.windows
    _require(
        (scaling.pre_warm.policy == "Cron") == (windows is not UNSET),
        f"{path}.preWarm",
        "windows go with policy: Cron, and Cron needs them",
    )
    for index, window in enumerate(windows or ()):
        parse_cron(window.cron, f"{path}.preWarm.windows[{index}].cron")
        _positive_us(window.duration, f"{path}.preWarm.windows[{index}].duration")
        _require(
            window.replicas <= scaling.max_replicas,
            f"{path}.preWarm.windows",
            "no window may want more than maxReplicas",
        )


def _artifacts(artifacts: tuple[wire.Artifact, ...]) -> None:
    for index, artifact in enumerate(artifacts):
        path = f"spec.artifacts[{index}]"
        _one_of(path, image=artifact.image, claim=artifact.claim, uri=artifact.uri)
        _require(
            (artifact.uri is UNSET) == (artifact.digest is UNSET),
            path,
            "uri needs digest, and digest goes with uri only",
        )
        _require(
            artifact.secret_ref is UNSET or artifact.uri is not UNSET,
            path,
            "secretRef goes with uri only",
        )
    _unique((artifact.mount_path for artifact in artifacts), "spec.artifacts")


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise InvalidObject(path, message)


def _one_of(where: str, /, **choices: object) -> None:
    given = sum(choice is not UNSET for choice in choices.values())
    _require(given == 1, where, f"give exactly one of {', '.join(choices)}")


def _unique(items: Iterable[str], path: str) -> None:
    seen = list(items)
    _require(len(set(seen)) == len(seen), path, "must not name anything twice")


def _positive_us(text: str, path: str) -> int:
    us = parse_duration_us(text, path)
    _require(us > 0, path, "must be more than 0")
    return us


def _optional(parse: Callable[[str, str], int], text: str | UnsetType, path: str) -> None:
    if text is not UNSET:
        parse(text, path)
