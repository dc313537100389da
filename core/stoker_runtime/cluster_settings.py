"""Where a process of Stoker stands in its cluster: what the chart tells every pod by environment.

Most of it is the downward API. Knows no component and asks no API server.
"""

import socket

from msgspec import Struct

from stoker_runtime.settings import BadSetting, variable_of


class ClusterSettings(Struct, frozen=True, kw_only=True):
    """What every process on Kubernetes reads besides ProcessSettings and KubeSettings."""

    namespace: str = ""
    """The release's own namespace. Empty: that of the pod's account, or of the kubeconfig's context."""
    pod_name: str = ""
    """Empty: the name of the host, which inside a pod is the pod's."""
    pod_ip: str = ""
    """Where other processes reach this one."""
    node_name: str = ""
    """The node that the pod runs on. Only the node agent needs it."""
    cluster_domain: str = "cluster.local"
    """Ends every full Service name: SERVICE.NAMESPACE.svc.CLUSTER_DOMAIN."""

    @property
    def pod(self) -> str:
        """The name of this pod."""
        return self.pod_name or socket.gethostname()

    def need(self, *fields: str) -> None:
        """Raise BadSetting for the first of these that the chart should have set and did not."""
        for name in fields:
            if not getattr(self, name):
                raise BadSetting(
                    f"The environment variable {variable_of(name)} is not set: this process cannot run without it in a "
                    "cluster; the chart sets it by the downward API."
                )
