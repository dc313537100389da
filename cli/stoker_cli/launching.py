"""Which launcher runs which function, and what of a function each of them cannot do. Pure.

`auto`: a process where `command` is set, else a container of an engine that is there.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.container import Artifact, ContainerSpec, VolumeKind
from stoker.model.device import Device
from stoker.model.fitting import misfit
from stoker.model.function import Function, Variant


class LauncherName(StrEnum):
    """Values of `--launcher`."""

    AUTO = "auto"
    PROCESS = "process"
    PODMAN = "podman"
    DOCKER = "docker"


ENGINES = {
    LauncherName.AUTO: ("podman", "docker"),
    LauncherName.PODMAN: ("podman",),
    LauncherName.DOCKER: ("docker",),
    LauncherName.PROCESS: (),
}
"""Programs that are tried, in this order."""


class CannotRun(Struct, frozen=True, kw_only=True):
    """Why the launcher that was chosen can never run a function."""

    path: tuple[str, ...]
    message: str


def as_process(function: Function, variant: Variant, launcher: LauncherName) -> bool:
    """Whether replicas of the variant are processes; else they are containers."""
    if launcher is LauncherName.AUTO:
        return bool(function.container_of(variant).command)
    return launcher is LauncherName.PROCESS


def checked(function: Function, launcher: LauncherName, devices: Sequence[Device]) -> Function | CannotRun:
    """The function as it runs here, or why it never can: by its devices, or by its launcher."""
    reason = misfit(function, devices)
    if reason is not None:
        return CannotRun(path=("spec", "gpu" if function.spec.gpu else "cpuVariant"), message=reason)
    return adapted(function, launcher)


def adapted(function: Function, launcher: LauncherName) -> Function | CannotRun:
    """The function with a warning for each of its fields that does not act under the launcher."""
    for variant in function.variants:
        container = function.container_of(variant)
        if as_process(function, variant, launcher) and not container.command:
            return CannotRun(
                path=("spec", "container", "command"),
                message="is needed by --launcher process, which starts processes; name the program, or use "
                "--launcher auto, which runs an image without a command in a container",
            )
        if not as_process(function, variant, launcher) and container.image is None:
            return CannotRun(
                path=("spec", "container", "image"),
                message=f"is needed by --launcher {launcher}, which starts containers; name an image, or use "
                "--launcher auto, which runs a command as a process",
            )
    return replace(function, warnings=(*_warnings(function, launcher), *function.warnings))


def _warnings(function: Function, launcher: LauncherName) -> tuple[str, ...]:
    said: list[str] = []
    for variant in function.variants:
        here = "container" if variant is function.primary else "cpuVariant"
        container = function.container_of(variant)
        if as_process(function, variant, launcher):
            said += _of_process(here, container, function.spec.artifacts)
        else:
            said += _of_container(container, function.spec.artifacts)
    return tuple(dict.fromkeys(said))


_PROCESS_HAS_NONE: dict[str, Callable[[ContainerSpec], object]] = {
    "liveness": lambda container: container.liveness,
    "volumes": lambda container: container.volumes,
    "shm": lambda container: container.shm_mib,
    "runAsUser": lambda container: container.run_as_user,
    "fsGroup": lambda container: container.fs_group,
    "imagePullSecrets": lambda container: container.image_pull_secrets,
    "serviceAccountName": lambda container: container.service_account_name,
    "metricsPort": lambda container: container.metrics_port,
}
_CONTAINER_HAS_NONE = ("liveness", "fsGroup", "serviceAccountName", "metricsPort")


def _of_process(here: str, container: ContainerSpec, artifacts: tuple[Artifact, ...]) -> list[str]:
    said = [
        f"spec.container.{name} does not act here: replicas are processes of this machine."
        for name, value_of in _PROCESS_HAS_NONE.items()
        if value_of(container) not in (None, ())
    ]
    if container.image is not None:
        said.append(f"spec.{here}.image is not used here: the command runs as a process of this machine.")
    if artifacts:
        said.append("spec.artifacts is not fetched or mounted here yet: put the files where the command finds them.")
    return said


def _of_container(container: ContainerSpec, artifacts: tuple[Artifact, ...]) -> list[str]:
    said = [
        f"spec.container.{name} acts on Kubernetes only."
        for name in _CONTAINER_HAS_NONE
        if _PROCESS_HAS_NONE[name](container) not in (None, ())
    ]
    if container.image_pull_secrets:
        said.append("spec.container.imagePullSecrets is not used here: images are pulled with this user's own logins.")
    for volume in container.volumes:
        if volume.kind is not VolumeKind.EMPTY_DIR:
            what = f"a {volume.kind.value}, which there is on Kubernetes only"
            said.append(f"spec.container.volumes: {volume.name} is {what}; nothing is mounted for it.")
            continue
        if volume.size_limit_mib is not None:
            said.append(f"spec.container.volumes: the sizeLimit of {volume.name} is not enforced here.")
        mounts = [mount for mount in container.mounts if mount.volume == volume.name]
        if len(mounts) > 1 or any(mount.sub_path for mount in mounts):
            said.append(f"spec.container.mounts: each mount of {volume.name} is an empty folder of its own here.")
        if any(mount.read_only for mount in mounts):
            said.append(f"spec.container.mounts: the empty folder of {volume.name} can be written to here.")
    if artifacts:
        said.append("spec.artifacts is not fetched or mounted here yet: build the files into the image.")
    return said
