"""Which STOKER_* variables an administrator may set by `COMPONENT.settings`: all that the component's process reads,
but those that the chart itself sets, and ports, which Services and policies name.
"""

from typing import Any

import msgspec
from msgspec import Struct

from stoker_gateway.config import GatewaySettings
from stoker_gateway.kubernetes.settings import ClusterGatewaySettings
from stoker_node.config import NodeSettings
from stoker_node.kubernetes.settings import KubernetesNodeSettings
from stoker_operator.config import OperatorSettings
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.kube.config import KubeSettings
from stoker_runtime.settings import ProcessSettings, variable_of
from stoker_scheduler.main import SchedulerSettings

KINDS: dict[str, tuple[type[Struct], ...]] = {
    "operator": (ProcessSettings, KubeSettings, ClusterSettings, OperatorSettings),
    "scheduler": (ProcessSettings, KubeSettings, ClusterSettings, SchedulerSettings),
    "node": (ProcessSettings, KubeSettings, ClusterSettings, NodeSettings, KubernetesNodeSettings),
    "gateway": (ProcessSettings, KubeSettings, ClusterSettings, ClusterGatewaySettings, GatewaySettings),
}
"""What each process reads, as its main module says."""

EVERYWHERE = {variable_of(name) for kind in (KubeSettings, ClusterSettings) for name in kind.__struct_fields__} | {
    "STOKER_LOG_LEVEL",
    "STOKER_LOG_FORMAT",
}
BY_CHART: dict[str, set[str]] = {
    "operator": {
        "STOKER_GATEWAY_SERVICE",
        "STOKER_HOSTNAME_KIND",
        "STOKER_HOSTNAME_TLS_SECRET",
        "STOKER_INGRESS_CLASS",
        "STOKER_LEASE_NAME",
        "STOKER_METRICS_NAMESPACES",
        "STOKER_NODE_SERVICE",
        "STOKER_PARENT_GATEWAY",
        "STOKER_PAUSE_IMAGE",
        "STOKER_PRODUCT_LABEL",
        "STOKER_SCHEDULER_NAME",
        "STOKER_WAIT_IMAGE",
    },
    "scheduler": set(),
    # Its paths are where the chart mounts the host's folders.
    "node": {"STOKER_DRAIN_S", "STOKER_HOST_PID", "STOKER_STATE_DIR", "STOKER_KUBELET_SOCKET"},
    "gateway": {"STOKER_DRAIN_S", "STOKER_ENDPOINTS_GRACE_S", "STOKER_PATH_HOSTS"},
}


def settable(component: str) -> dict[str, Any]:
    """Variable to the JSON schema of its value."""
    found: dict[str, Any] = {}
    for kind in KINDS[component]:
        name = kind.__name__
        for field, part in msgspec.json.schema(kind)["$defs"][name]["properties"].items():
            variable = variable_of(field)
            if variable not in EVERYWHERE | BY_CHART[component] and not variable.endswith("_PORT"):
                found[variable] = part
    return dict(sorted(found.items()))
