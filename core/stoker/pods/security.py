"""Security contexts of the two Pod Security levels that the pods of functions keep to.

Restricted is the standard's own. Baseline, where the administrator allows it, is for images that run as root: the
image's own user and the runtime's default capabilities, without those by which it could make devices or forge packets.
"""

from typing import Any

from stoker.model.container import ContainerSpec
from stoker.model.policy import PodSecurity

NOBODY = 65532
"""User of Stoker's own containers in a pod."""
_UNPRIVILEGED_PORTS_FROM = 1024


def pod_security_context(container: ContainerSpec) -> dict[str, Any]:
    """`securityContext` of the pod at every level; what differs is stoker.pods.administration's."""
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if container.run_as_user is not None:
        context["runAsUser"] = container.run_as_user
    if container.fs_group is not None:
        # OnRootMismatch: a big claim is not walked at each start.
        context |= {"fsGroup": container.fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    lowest = min(container.port, container.metrics_port or container.port)
    if lowest < _UNPRIVILEGED_PORTS_FROM:
        context["sysctls"] = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": str(lowest)}]
    return context


def container_security_context(level: PodSecurity) -> dict[str, Any]:
    """`securityContext` of the function's container."""
    dropped = ["ALL"] if level is PodSecurity.RESTRICTED else ["AUDIT_WRITE", "MKNOD", "NET_RAW"]
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": dropped}}


def own_security_context(user: int = NOBODY) -> dict[str, Any]:
    """`securityContext` of Stoker's own containers: restricted in every namespace."""
    return {
        **container_security_context(PodSecurity.RESTRICTED),
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": user,
    }
