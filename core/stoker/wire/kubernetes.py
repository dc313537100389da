"""What of a GpuFunction cannot be a pod, in sentences; the schema says only what a field may look like.

Refused is what would reach beyond the replica (paths, variables and names that the runtime or Stoker means something
by) and what no kubelet can start. The pods themselves are stoker.pods'; what an administrator decides is judged there.
"""

import re
from collections.abc import Iterator

from msgspec import UNSET

from stoker.errors import InvalidObject
from stoker.model.quantity import parse_memory_mib
from stoker.wire import crd_types as wire
from stoker.wire import not_yet

OWN_PREFIX = "stoker-"
"""Volumes that Stoker adds to a pod."""
OWN_PATH = "/stoker"
MAX_TEXT = 256 * 1024
"""Bytes of command, args and env of one container: a revision keeps the spec and two pods in one object of 1.5 MiB."""

OF_THE_DEVICE = frozenset(
    {
        "NVIDIA_FABRIC_DEVICES", "NVIDIA_GDRCOPY", "NVIDIA_GDS", "NVIDIA_IMEX_CHANNELS", "NVIDIA_MIG_CONFIG_DEVICES",
        "NVIDIA_MIG_MONITOR_DEVICES", "NVIDIA_MOFED", "NVIDIA_NVSWITCH",
    }
)  # fmt: skip
"""By these NVIDIA's container runtime gives a container devices that nobody reserved."""
OF_THE_LOADER = frozenset({"LD_AUDIT", "LD_PRELOAD"})
"""Hooks of the runtime run outside the container with its environment (CVE-2025-23266)."""
OWN_VARIABLES = ("STOKER_", "CUDA_MPS_")

SHARED_MEMORY = "/dev/shm"  # noqa: S108  a path in the container
_HOST_VIEWS = ("/proc", "/sys", "/dev")
_TOKENS = ("/run/secrets", "/var/run/secrets")
_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?/"
_FOLDER = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN})?{_FOLDER}(?:/{_FOLDER})*(?::[a-zA-Z0-9_][-a-zA-Z0-9_.]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)


def refuse(spec: wire.GpuFunctionSpec) -> None:
    """Raise InvalidObject for what cannot be a pod."""
    container, variant = spec.container, spec.cpu_variant
    if container.protocol == "GRPC":
        raise InvalidObject("spec.container.protocol", "GRPC is not served yet; use HTTP1")
    if container.image is UNSET and (spec.gpu is not UNSET or variant is UNSET or variant.image is UNSET):
        raise InvalidObject("spec.container.image", "is needed on Kubernetes; name the image that holds the program")
    for path, image in _images(spec):
        if _IMAGE.fullmatch(image) is None:
            raise InvalidObject(path, f"{image!r} is not an image; write REGISTRY/REPOSITORY:TAG or ...@sha256:DIGEST")
    _process(container, "spec.container")
    if variant is not UNSET:
        _process(variant, "spec.cpuVariant")
    _files(container)
    _artifacts(spec)
    _shared_memory(spec)


def warnings(spec: wire.GpuFunctionSpec) -> tuple[str, ...]:
    """One sentence for each field that is accepted and does not act in a cluster yet."""
    said = []
    kinds = spec.gpu.any_of or () if spec.gpu is not UNSET else ()
    if len({kind.resource_name or "nvidia.com/gpu" for kind in kinds}) > 1:
        said.append(
            "spec.gpu.anyOf names several resources and a pod asks for one: only entries with the first one's "
            f"resourceName, {kinds[0].resource_name or 'nvidia.com/gpu'}, act."
        )
    return (*said, *not_yet.warnings(spec))


def _images(spec: wire.GpuFunctionSpec) -> Iterator[tuple[str, str]]:
    if spec.container.image is not UNSET:
        yield "spec.container.image", spec.container.image
    if spec.cpu_variant is not UNSET and spec.cpu_variant.image is not UNSET:
        yield "spec.cpuVariant.image", spec.cpu_variant.image
    for index, volume in enumerate(spec.container.volumes or ()):
        if volume.image is not UNSET:
            yield f"spec.container.volumes[{index}].image.reference", volume.image.reference
    for index, artifact in enumerate(spec.artifacts or ()):
        if artifact.image is not UNSET:
            yield f"spec.artifacts[{index}].image", artifact.image


def _process(process: wire.Container | wire.CpuVariantSpec, path: str) -> None:
    """Command, arguments and environment."""
    texts = [*(process.command or ()), *(process.args or ())]
    for index, item in enumerate(process.env or ()):
        _variable(item, f"{path}.env[{index}]")
        texts += [item.name, item.value or ""]
    if any("\0" in text for text in texts):
        raise InvalidObject(path, "command, args and env must not contain NUL")
    size = sum(len(text.encode()) for text in texts)
    if size > MAX_TEXT:
        raise InvalidObject(
            path,
            f"command, args and env have {size} bytes, the most is {MAX_TEXT}; put data into a ConfigMap or an image",
        )


def _variable(item: wire.Env, path: str) -> None:
    if item.name in OF_THE_DEVICE or item.name in OF_THE_LOADER or item.name.startswith(OWN_VARIABLES):
        raise InvalidObject(
            f"{path}.name",
            f"{item.name} means something to the runtime or to Stoker outside the container; leave it out",
        )
    if item.name == "LD_LIBRARY_PATH":
        folders = (item.value or "").split(":") if item.value_from is UNSET else [""]
        if not all(_is_canonical(folder) and not _below(folder, _HOST_VIEWS) for folder in folders):
            raise InvalidObject(path, "LD_LIBRARY_PATH must be a plain value of absolute folders with : between them")


def _files(container: wire.Container) -> None:
    path = "spec.container"
    for index, volume in enumerate(container.volumes or ()):
        if volume.name.startswith(OWN_PREFIX):
            raise InvalidObject(
                f"{path}.volumes[{index}].name", f"names that begin with {OWN_PREFIX} are Stoker's own; choose another"
            )
    for index, mount in enumerate(container.mounts or ()):
        _mount_path(mount.mount_path, f"{path}.mounts[{index}].mountPath")
        sub_path = mount.sub_path or "x"
        if not all(part not in ("", ".", "..") for part in sub_path.removesuffix("/").split("/")) or "\0" in sub_path:
            raise InvalidObject(
                f"{path}.mounts[{index}].subPath", "must be a path inside the volume, without . and .. in it"
            )


def _artifacts(spec: wire.GpuFunctionSpec) -> None:
    taken = [mount.mount_path.rstrip("/") for mount in spec.container.mounts or ()]
    if len(set(taken)) != len(taken):
        raise InvalidObject("spec.container.mounts", "must not name a path twice")
    for index, artifact in enumerate(spec.artifacts or ()):
        path = f"spec.artifacts[{index}]"
        if artifact.uri is not UNSET:
            raise InvalidObject(
                f"{path}.uri",
                "is not fetched yet; use image (an OCI artifact with the files) or claim (a PersistentVolumeClaim)",
            )
        _mount_path(artifact.mount_path, f"{path}.mountPath")
        if artifact.mount_path.rstrip("/") in taken:
            raise InvalidObject(f"{path}.mountPath", "something is mounted there already; choose another path")
        taken.append(artifact.mount_path.rstrip("/"))


def _mount_path(mount_path: str, path: str) -> None:
    if not _is_canonical(mount_path.removesuffix("/")):
        raise InvalidObject(path, "must be an absolute path below /, without . and .. and empty parts in it")
    if _below(mount_path, (SHARED_MEMORY,)):
        raise InvalidObject(path, "cannot be mounted; give shm, the size of /dev/shm")
    for reserved in (*_HOST_VIEWS, *_TOKENS, OWN_PATH):
        if _below(mount_path, (reserved,)) or _below(reserved, (mount_path.removesuffix("/"),)):
            raise InvalidObject(path, f"covers or is inside {reserved}, which is not the function's; choose another")


def _shared_memory(spec: wire.GpuFunctionSpec) -> None:
    if spec.container.shm is UNSET:
        return
    shm_mib = parse_memory_mib(spec.container.shm)
    limits = {"spec.container.resources.memory": spec.container.resources}
    if spec.cpu_variant is not UNSET:
        limits["spec.cpuVariant.resources.memory"] = spec.cpu_variant.resources
    for path, resources in limits.items():
        if resources is not UNSET and resources.memory is not UNSET and parse_memory_mib(resources.memory) < shm_mib:
            raise InvalidObject(path, "must be at least shm: what is written to /dev/shm counts as memory")


def _is_canonical(path: str) -> bool:
    """Whether an absolute path says where it leads: nothing empty, no step up, nothing that is expanded."""
    first, *parts = path.split("/")
    return (
        first == ""
        and bool(parts)
        and not any(part in ("", ".", "..") or "$(" in part or "\0" in part for part in parts)
    )


def _below(path: str, roots: tuple[str, ...]) -> bool:
    """Whether the path is one of `roots` or inside it."""
    return any(f"{path}/".startswith(f"{root}/") for root in roots)
