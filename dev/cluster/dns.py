"""Cluster DNS: CoreDNS as a Deployment behind the Service `kube-dns`, as every cluster has it.

It answers for the cluster's own names only: pods have no way out of the machine, so forwarding would only add time-
outs.
"""

from typing import Any, Final

from cluster.groups import COREDNS_VERSION
from cluster.layout import CLUSTER_DOMAIN, Layout

IMAGE: Final = f"localhost/coredns:{COREDNS_VERSION.removeprefix('v')}"
NAME: Final = "coredns"
NAMESPACE: Final = "kube-system"

_COREFILE: Final = f"""\
.:53 {{
    errors
    health
    ready
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        pods insecure
        ttl 5
    }}
    cache 5
}}
"""


def manifests(layout: Layout) -> list[dict[str, Any]]:
    labels = {"k8s-app": "kube-dns"}
    return [
        _object("v1", "ServiceAccount", NAME),
        _object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "system:coredns",
            namespaced=False,
            rules=[
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        ),
        _object(
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "system:coredns",
            namespaced=False,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
        ),
        _object("v1", "ConfigMap", NAME, data={"Corefile": _COREFILE}),
        _object(
            "v1",
            "Service",
            "kube-dns",
            spec={
                "clusterIP": layout.dns_address,
                "selector": labels,
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        ),
        _object(
            "apps/v1",
            "Deployment",
            NAME,
            spec={
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod()},
            },
        ),
    ]


def _pod() -> dict[str, Any]:
    return {
        "serviceAccountName": NAME,
        "dnsPolicy": "Default",
        "priorityClassName": "system-cluster-critical",
        "containers": [
            {
                "name": NAME,
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "args": ["-conf", "/etc/coredns/Corefile"],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                    "runAsUser": 0,
                },
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }


def _object(api: str, kind: str, name: str, *, namespaced: bool = True, **rest: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": NAMESPACE} if namespaced else {})}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}
