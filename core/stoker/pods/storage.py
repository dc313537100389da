"""Volumes and mounts of a replica: the user's, the artifacts, and scratch space where images expect it."""

from typing import Any

from stoker.model.container import Artifact, ContainerSpec, Volume, VolumeKind
from stoker.pods.environment import HOME
from stoker.wire.kubernetes import OWN_PREFIX, SHARED_MEMORY

TMP = "/tmp"  # noqa: S108  a path in the container

Parts = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def storage(container: ContainerSpec, artifacts: tuple[Artifact, ...]) -> Parts:
    """Entries of `volumes` and of `volumeMounts`."""
    volumes = [volume_entry(volume) for volume in container.volumes]
    mounts: list[dict[str, Any]] = []
    for mount in container.mounts:
        entry: dict[str, Any] = {"name": mount.volume, "mountPath": mount.path.rstrip("/")}
        if mount.read_only:
            entry["readOnly"] = True
        if mount.sub_path is not None:
            entry["subPath"] = mount.sub_path
        mounts.append(entry)
    for index, artifact in enumerate(artifacts):
        name = f"{OWN_PREFIX}artifact-{index}"
        volumes.append(volume_entry(Volume(name=name, kind=artifact.kind, source=artifact.source)))
        mounts.append({"name": name, "mountPath": artifact.path.rstrip("/"), "readOnly": True})
    taken = {mount["mountPath"] for mount in mounts}
    for name, path, empty_dir in _scratch(container):
        if path not in taken:
            volumes.append({"name": f"{OWN_PREFIX}{name}", "emptyDir": empty_dir})
            mounts.append({"name": f"{OWN_PREFIX}{name}", "mountPath": path})
    return volumes, mounts


def volume_entry(volume: Volume) -> dict[str, Any]:
    """One entry of `volumes`."""
    match volume.kind:
        case VolumeKind.EMPTY_DIR:
            limit = volume.size_limit_mib
            source: dict[str, Any] = {} if limit is None else {"sizeLimit": mebibytes(limit)}
        case VolumeKind.CONFIG_MAP:
            source = {"name": volume.source}
        case VolumeKind.SECRET:
            source = {"secretName": volume.source}
        case VolumeKind.CLAIM:
            source = {"claimName": volume.source}
            if volume.read_only:
                source["readOnly"] = True
        case VolumeKind.IMAGE:
            source = {"reference": volume.source, "pullPolicy": "IfNotPresent"}
    return {"name": volume.name, volume.kind.value: source}


def mebibytes(amount: int) -> str:
    """A quantity of memory."""
    return f"{amount}Mi"


def _scratch(container: ContainerSpec) -> list[tuple[str, str, dict[str, Any]]]:
    scratch: list[tuple[str, str, dict[str, Any]]] = [("home", HOME, {}), ("tmp", TMP, {})]
    if container.shm_mib is not None:
        scratch.append(("shm", SHARED_MEMORY, {"medium": "Memory", "sizeLimit": mebibytes(container.shm_mib)}))
    return scratch
