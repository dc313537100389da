"""The objects beside a function's pods: Service, NetworkPolicy, and one ControllerRevision per revision. Pure."""

from collections.abc import Iterable
from typing import Any

from stoker.model.function import Function, Variant
from stoker.wire import cluster

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def owner_reference(function: Function) -> dict[str, Any]:
    """By uid: what a function owns goes with it, and never belongs to a later one of the same name."""
    return {
        "apiVersion": cluster.API_VERSION,
        "kind": "GpuFunction",
        "name": function.name,
        "uid": function.uid,
        "controller": True,
    }


def object_metadata(function: Function, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """`metadata` of an object that the function owns."""
    return {
        "name": name,
        "namespace": function.namespace,
        "labels": labels or {cluster.L_FUNCTION: function.name},
        "ownerReferences": [owner_reference(function)],
    }


def service(function: Function, target: str) -> dict[str, Any]:
    """`http://FUNCTION.NAMESPACE.svc` leads to the gateways: `target` is their full name with the cluster's domain."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(function, function.name),
        "spec": {"type": "ExternalName", "externalName": target},
    }


def network_policy(
    function: Function,
    *,
    system_namespace: str,
    metrics_namespaces: Iterable[str] = (),
    older: Iterable[Function] = (),
) -> dict[str, Any]:
    """Only agents reach the replicas' port, only `metrics_namespaces` their metricsPort. Outgoing traffic is untouched.

    `older` are the revisions that still have replicas, whose ports may differ.
    """
    containers = [one.container_of(variant) for one in (function, *older) for variant in one.variants]
    agents = {
        "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: system_namespace}},
        "podSelector": {
            "matchLabels": {cluster.L_NAME: cluster.NAME, cluster.L_COMPONENT: cluster.COMPONENT_NODE},
        },
    }
    ingress = [{"from": [agents], "ports": _ports(container.port for container in containers)}]
    metrics = _ports(container.metrics_port for container in containers if container.metrics_port is not None)
    namespaces = sorted(set(metrics_namespaces))
    if metrics and namespaces:
        scrapers = [{"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: name}}} for name in namespaces]
        ingress.append({"from": scrapers, "ports": metrics})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_metadata(function, function.name),
        "spec": {
            "podSelector": {
                "matchLabels": {cluster.L_FUNCTION: function.name, cluster.L_ROLE: cluster.ROLE_REPLICA},
            },
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def revision_name(function: Function) -> str:
    """Name of the ControllerRevision of the function's revision."""
    return f"{function.name}-{function.revision}"


def controller_revision(
    function: Function, spec: dict[str, Any], templates: dict[Variant, dict[str, Any]]
) -> dict[str, Any]:
    """What is kept of a revision: its spec as it was applied, to return to, and the templates of its pods."""
    labels = {cluster.L_FUNCTION: function.name, cluster.L_REVISION: function.revision}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": object_metadata(function, revision_name(function), labels),
        "revision": function.generation,
        "data": {"spec": spec, "pods": {variant.value: template for variant, template in templates.items()}},
    }


def _ports(numbers: Iterable[int]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": number} for number in sorted(set(numbers))]
