"""Which images of functions are on the node, by what the kubelet and the running pods say. Pure.

The kubelet names at most the fifty largest images; those of running pods are there in any case.
"""

from collections.abc import Iterable, Mapping

from stoker.model.container import VolumeKind
from stoker.model.function import Function
from stoker.wire.cluster import L_ROLE, MAIN_CONTAINER, ROLE_PREFETCH
from stoker.wire.function_node import ImageStatus
from stoker_node.kubernetes.objects import Node, Pod

_LOCAL = "localhost"


def canonical(reference: str) -> str:
    """The full name that an image reference is short for: `redis` -> `docker.io/library/redis:latest`."""
    first, slash, _ = reference.partition("/")
    if not slash:
        reference = f"docker.io/library/{reference}"
    elif "." not in first and ":" not in first and first != _LOCAL:
        reference = f"docker.io/{reference}"
    if "@" in reference or ":" in reference.rpartition("/")[2]:
        return reference
    return f"{reference}:latest"


def images_of(functions: Mapping[str, Function]) -> frozenset[str]:
    """The images that the functions' pods run or mount, as their owners write them."""
    found: set[str] = set()
    for function in functions.values():
        for variant in function.variants:
            container = function.container_of(variant)
            found.add(container.image or "")
            found |= {volume.source for volume in container.volumes if volume.kind is VolumeKind.IMAGE}
        found |= {one.source for one in function.spec.artifacts if one.kind is VolumeKind.IMAGE}
    return frozenset(found - {""})


def present_images(functions: Mapping[str, Function], node: Node, pods: Iterable[Pod]) -> tuple[ImageStatus, ...]:
    """The functions' images that are here, each under the name that its functions use."""
    here = {canonical(name) for image in node.status.images or () for name in image.names or ()}
    promised: set[str] = set()
    for pod in pods:
        if pod.status.phase != "Running":
            continue
        if (pod.metadata.labels or {}).get(L_ROLE) != ROLE_PREFETCH:
            here |= {canonical(one.image) for one in pod.spec.containers if one.name == MAIN_CONTAINER and one.image}
        elif pod.metadata.deletion_timestamp is None:
            promised |= _mounted(pod)
    return tuple(
        ImageStatus(reference=image, promised=canonical(image) in promised)
        for image in sorted(images_of(functions))
        if canonical(image) in here | promised
    )


def _mounted(pod: Pod) -> set[str]:
    """Images of volumes that a container mounts: one that nobody mounts is collected all the same."""
    mounted = {mount.name for container in pod.spec.containers for mount in container.volume_mounts or ()}
    return {
        canonical(volume.image.reference)
        for volume in pod.spec.volumes or ()
        if volume.image is not None and volume.image.reference and volume.name in mounted
    }
