"""The environment of a replica's container: Stoker's own variables first, so that the user's may refer to them."""

from typing import Any

from stoker.model.container import ContainerSpec, EnvVar
from stoker.wire.crd_rules import SET_BY_STOKER
from stoker.wire.kubernetes import OF_THE_DEVICE, OF_THE_LOADER, OWN_VARIABLES

HOME = "/stoker/home"
"""A folder of its own: an image's HOME keeps what is in it, and may belong to a user that the replica is not."""


def environment(container: ContainerSpec, *, has_gpu: bool) -> list[dict[str, Any]]:
    """Entries of `env`. With a GPU, NVIDIA_VISIBLE_DEVICES is the device plugin's: an entry here would win over it."""
    own: list[dict[str, Any]] = [{"name": "PORT", "value": str(container.port)}, {"name": "LD_PRELOAD", "value": ""}]
    if not has_gpu:
        own += [no_devices(), {"name": "CUDA_VISIBLE_DEVICES", "value": ""}]
    users = [_entry(item) for item in container.env if not is_reserved(item.name)]
    if all(item.name != "HOME" for item in container.env):
        own.append({"name": "HOME", "value": HOME})
    return own + users


def no_devices() -> dict[str, Any]:
    """Most CUDA images ask for all GPUs of the machine; a container that was promised none must get none."""
    return {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}


def is_reserved(name: str) -> bool:
    """Whether a variable is no user's to set. It was refused before; here it is left out whoever made the spec."""
    return name in SET_BY_STOKER or name in OF_THE_DEVICE or name in OF_THE_LOADER or name.startswith(OWN_VARIABLES)


def _entry(item: EnvVar) -> dict[str, Any]:
    if item.source is None:
        return {"name": item.name, "value": item.value}
    key = {"name": item.source.name, "key": item.source.key}
    return {"name": item.name, "valueFrom": {item.source.kind.value: key}}
