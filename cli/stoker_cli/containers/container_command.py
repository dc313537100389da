"""What a replica's container is made with: arguments of `podman create` or `docker create`. Pure.

As in a pod of the same function (stoker.pods): HOME is a folder of its own, the default capabilities without those by
which it could make devices or forge packets, no privilege gained later, no GPU but those that it was promised. What
an engine cannot do is told by stoker_cli.launching in a warning, not left out in silence.
"""

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from stoker.model.container import ContainerSpec, VolumeKind
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec
from stoker.pods.environment import HOME
from stoker_cli.processes.replica_command import environment_of, expanded

TMP = "/tmp"  # noqa: S108  a path in the container
_DROPPED = ("AUDIT_WRITE", "MKNOD", "NET_RAW")
_UNPRIVILEGED_PORTS_FROM = 1024


class Dialect(StrEnum):
    """Whose command line it is. A program called `docker` may be podman's."""

    PODMAN = "podman"
    DOCKER = "docker"


def create_argv(
    replica: ReplicaSpec,
    function: Function,
    devices: Sequence[Device],
    *,
    image: str,
    name: str,
    labels: Mapping[str, str],
    dialect: Dialect,
) -> list[str]:
    """The arguments, from `create` on. The image is there already, or it is an error."""
    container = function.container_of(replica.variant)
    environment = container_environment(replica, function, devices)
    argv = ["create", "--name", name, "--pull=never", "--log-driver=none", "--security-opt=no-new-privileges"]
    # Ends at once when it is removed; a grace is given by `stop`.
    argv += ["--stop-timeout=0", *(f"--cap-drop={name}" for name in _DROPPED)]
    argv += [part for key, value in sorted(labels.items()) for part in ("--label", f"{key}={value}")]
    argv += ["--publish", f"127.0.0.1::{container.port}/tcp"]
    argv += [part for key, value in environment.items() for part in ("--env", f"{key}={value}")]
    if dialect is Dialect.PODMAN:
        argv.append("--http-proxy=false")  # else it hands our own proxy variables over
    argv += _resources(container) + _gpus(devices, dialect)
    if container.run_as_user is not None:
        argv += ["--user", str(container.run_as_user)]
    if container.port < _UNPRIVILEGED_PORTS_FROM:
        argv += ["--sysctl", f"net.ipv4.ip_unprivileged_port_start={container.port}"]
    for path in folders_of(container):
        argv += ["--mount", f"type=volume,{_field('destination', path)}"]
    command = [expanded(word, environment) for word in container.command]
    args = [expanded(word, environment) for word in container.args]
    if command:
        # As on Kubernetes it replaces the entry point, and the image's own arguments with it.
        argv += ["--entrypoint", command[0]]
    return [*argv, "--", image, *command[1:], *args]


def container_environment(replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> dict[str, str]:
    """Variables besides the image's own. PORT is the port inside: the one outside is the engine's choice."""
    port = function.container_of(replica.variant).port
    environment = environment_of(replica, function, devices, port=port, home=HOME, inherited={})
    real = _real_gpus(devices)
    # Most CUDA images ask for all GPUs of the machine; a container that was promised none must get none.
    environment["NVIDIA_VISIBLE_DEVICES"] = ",".join(real) or "void"
    if real:
        # There are no others inside, and not every program takes UUIDs here.
        del environment["CUDA_VISIBLE_DEVICES"]
    return environment


def folders_of(container: ContainerSpec) -> tuple[str, ...]:
    """Paths in the container of empty folders that its user, whoever that is, may write to: anonymous volumes."""
    empty = {volume.name for volume in container.volumes if volume.kind is VolumeKind.EMPTY_DIR}
    mounted = [mount.path.rstrip("/") for mount in container.mounts if mount.volume in empty]
    return tuple(dict.fromkeys((HOME, TMP, *mounted)))


def folder_archive(paths: Iterable[str]) -> bytes:
    """A tar of empty folders that everyone may write to, as an emptyDir of Kubernetes is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in paths:
            entry = tarfile.TarInfo(path.strip("/"))
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o1777
            archive.addfile(entry)
    return buffer.getvalue()


def _field(name: str, value: str) -> str:
    """A field of a line of CSV, which the value of --mount is."""
    field = f"{name}={value}"
    return '"' + field.replace('"', '""') + '"' if {",", '"'} & set(field) else field


def _resources(container: ContainerSpec) -> list[str]:
    # A request, not a limit, as on Kubernetes: idle cores are anybody's.
    argv = [f"--cpu-shares={max(2, container.cpu_millis * 1024 // 1000)}"]
    if container.memory_mib is not None:
        argv += [f"--memory={container.memory_mib}m", f"--memory-swap={container.memory_mib}m"]
    if container.shm_mib is not None:
        argv.append(f"--shm-size={container.shm_mib}m")
    return argv


def _gpus(devices: Sequence[Device], dialect: Dialect) -> list[str]:
    real = _real_gpus(devices)
    if not real:
        return []
    if dialect is Dialect.PODMAN:
        return [part for uuid in real for part in ("--device", f"nvidia.com/gpu={uuid}")]
    # The value is a line of CSV, in which only quotes keep the ids together.
    return ["--gpus", f'"device={",".join(real)}"']


def _real_gpus(devices: Sequence[Device]) -> list[str]:
    return [device.id for device in devices if device.kind is DeviceKind.GPU and not device.simulated]
