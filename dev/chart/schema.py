"""The schema of the chart's values (draft-07). Closed at every level that is Stoker's own, so that a misspelt value is
refused; what Kubernetes defines is left to the API server.
"""

from typing import Any

from chart.settings import settable
from gpus.changes import NODE_WORDS

Schema = dict[str, Any]


def _of(kind: str, text: str, **more: Any) -> Schema:
    return {"type": kind, "description": text, **more}


def _text(text: str, pattern: str = "", **more: Any) -> Schema:
    return _of("string", text, **({"pattern": pattern} if pattern else {}), **more)


def _flag(text: str) -> Schema:
    return _of("boolean", text)


def _choice(text: str, *values: str) -> Schema:
    return {"enum": list(values), "description": text}


def _number(text: str, least: float, most: float, kind: str = "integer") -> Schema:
    return _of(kind, text, minimum=least, maximum=most)


def _texts(text: str, pattern: str) -> Schema:
    return _of("array", text, items={"type": "string", "pattern": pattern})


def _map(text: str) -> Schema:
    return _of("object", text, additionalProperties={"type": "string"})


def _kubernetes(text: str, kind: str = "object") -> Schema:
    """What Kubernetes defines."""
    return _of(kind, text, **({"items": {"type": "object"}} if kind == "array" else {}))


def _closed(properties: Schema, **more: Any) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_MEMORY = r"^[1-9][0-9]*(Mi|Gi|Ti)$"
_DURATION = r"^[1-9][0-9]*(ms|s|m)$"
_PREFERRED = ("spread", "packed", "smallest", "largest", "fullest", "order")
_TAG = _text("Tag; empty: that of `image.tag`, then the chart's appVersion", r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?$")
_REGISTRY = _text("Registry and the path that all repositories share", r"^[A-Za-z0-9][A-Za-z0-9.:/_-]*[A-Za-z0-9]$")
_REPOSITORY = _text("Repository below the registry", r"^[a-z0-9][a-z0-9._/-]*$")
_DIGEST = _text("`sha256:...`; wins over the tag", r"^(sha256:[0-9a-f]{64})?$")

_SHARED: Schema = {
    "resources": _kubernetes("Requests and limits of the container"),
    "serviceAccount": {"$ref": "#/definitions/serviceAccount"},
    "nodeSelector": _map("Labels of nodes that its pods may be on"),
    "tolerations": _kubernetes("Taints that its pods bear", "array"),
    "affinity": _kubernetes("Affinity of its pods"),
    "priorityClassName": _text("Priority class of its pods"),
    "podAnnotations": _map("More annotations of its pods"),
    "podLabels": _map("More labels of its pods"),
    "extraEnv": _kubernetes("More environment of its container, as in a pod; for STOKER_* use `settings`", "array"),
}
_REPLICATED: Schema = {
    "topologySpreadConstraints": _kubernetes("Empty: spread over hosts and zones where that can be", "array"),
    "pdb": {"$ref": "#/definitions/pdb"},
}


def _component(name: str, own: Schema, *, replicated: bool, most: int = 100) -> Schema:
    settings = {
        "type": "object",
        "description": "STOKER_* variables of its process beyond those that the chart sets",
        "additionalProperties": False,
        "properties": settable(name),
    }
    counted = {"replicas": _number("Pods", 1, most), **_REPLICATED} if replicated else {}
    return _closed({**own, "settings": settings, **counted, **_SHARED})


def _definitions() -> Schema:
    return {
        "image": _closed({"repository": _REPOSITORY, "tag": _TAG, "digest": _DIGEST, "registry": _REGISTRY}),
        "serviceAccount": _closed(
            {
                "create": _flag("Make an account"),
                "name": _text("Its name; empty: FULLNAME-COMPONENT", r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$"),
                "annotations": _map("Its annotations"),
            }
        ),
        "pdb": _closed(
            {
                "enabled": _flag("Keep some of its pods while nodes are drained; never with one replica"),
                "minAvailable": {
                    "description": "Pods that stay, as a number or a percentage",
                    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}],
                },
            }
        ),
        "monitor": _closed(
            {
                "enabled": _flag("Make it; refused where the cluster does not know the kind"),
                "interval": _text("How often Prometheus asks", _DURATION),
                "labels": _map("More labels of it, for Prometheus' selector"),
            }
        ),
    }


def _operator() -> Schema:
    own = {"productLabel": _text("Node label with the product of its GPUs; empty where nothing writes one")}
    return _component("operator", own, replicated=True, most=5)


def _scheduler() -> Schema:
    tag = _TAG | {"description": "`vMAJOR.MINOR.PATCH` of the cluster; empty: as the cluster says when it is rendered"}
    kube_scheduler = {
        "image": _closed({"registry": _REGISTRY, "repository": _REPOSITORY, "tag": tag, "digest": _DIGEST}),
        "verbosity": _number("Of its log", 0, 10),
        "qps": _number("Requests per second to the API server", 1, 10_000),
        "burst": _number("Requests at once to the API server", 1, 10_000),
        "resources": _kubernetes("Requests and limits of the container"),
    }
    own = {
        "schedulerName": _text("Name that pods of functions ask for", _SUBDOMAIN),
        "ignorable": _flag("Place pods without Stoker's judgement while the extender is down, instead of waiting"),
        "extenderTimeout": _text("How long kube-scheduler waits for the extender", _DURATION),
        "kubeScheduler": _closed(kube_scheduler),
    }
    return _component("scheduler", own, replicated=True, most=5)


def _node() -> Schema:
    alone = {
        "hostPID": _flag("See the host's processes, so as to tell which pod uses too much memory of a shared GPU"),
        "runtimeClassName": _text("Runtime class of the agent, where NVIDIA's runtime is not the default one"),
    }
    own = {
        "drainSeconds": _number("What accepted requests get to finish when an agent is replaced", 0, 3600, "number"),
        **alone,
        "visibleDevices": _text("NVIDIA_VISIBLE_DEVICES of the agent"),
        "kubeletPath": _text("The kubelet's root folder on the host", r"^/[A-Za-z0-9._/-]*[A-Za-z0-9._-]$"),
        "updateStrategy": _kubernetes("Of the DaemonSet"),
        "groups": {
            "type": "object",
            "description": "Several DaemonSets instead of one, by name, for nodes that differ",
            "propertyNames": {"pattern": _NAME, "maxLength": 20},
            "additionalProperties": _closed(
                alone
                | {
                    key: _SHARED[key]
                    for key in ("nodeSelector", "affinity", "tolerations", "priorityClassName", "resources")
                }
            ),
        },
    }
    return _component("node", own, replicated=False)


def _gateway() -> Schema:
    hostnames = _closed(
        {
            "kind": _choice("What leads functions' own hostnames to the gateways", "None", "Ingress", "HTTPRoute"),
            "ingressClassName": _text("Class of the Ingress; empty: the cluster's default"),
            "parentGateway": _text("NAMESPACE/NAME of the Gateway of HTTPRoutes", r"^([^/]+/[^/]+)?$"),
            "tlsSecretName": _text("Secret with the certificate of the Ingress, in this namespace"),
        },
        **{
            "if": {"properties": {"kind": {"const": "HTTPRoute"}}, "required": ["kind"]},
            "then": {"properties": {"parentGateway": {"minLength": 3}}, "required": ["parentGateway"]},
        },
    )
    service = {
        "type": _choice("How the gateways are reached from outside", "ClusterIP", "NodePort", "LoadBalancer"),
        "annotations": _map("Annotations of the Service"),
        "loadBalancerClass": _text("For LoadBalancer"),
        "externalTrafficPolicy": _choice("For NodePort and LoadBalancer", "", "Cluster", "Local"),
    }
    own = {
        "endpointsGraceSeconds": _number("How long a gateway that ends goes on as before", 0, 300, "number"),
        "drainSeconds": _number("What accepted requests get to finish after that", 0, 86_400, "number"),
        "pathHosts": _texts("More host names under which functions are called as /NAMESPACE/FUNCTION/...", _SUBDOMAIN),
        "hostnames": hostnames,
        "service": _closed(service),
    }
    return _component("gateway", own, replicated=True)


def _simulated_gpus() -> Schema:
    words = {
        "gpus": _number("GPUs of a node", 0, 64),
        "product": _text("Their product", "^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        "memory": _text("Memory of each", _MEMORY),
        "shares": _number("Pods that a GPU is offered to at a time", 1, 64),
        "strategy": _choice("What makes it several", "time-slicing", "mps"),
        "prefer": _choice("Which GPU the plugin gives away first", *_PREFERRED),
    }
    more = {name: {"type": "string"} for name in NODE_WORDS if name not in words}
    shared = ("resources", "nodeSelector", "tolerations", "affinity", "podAnnotations")
    return _closed(
        {
            "enabled": _flag("Give nodes GPUs that are none, for trying and testing"),
            **words,
            "nodes": {
                "type": "object",
                "description": "What differs by node: NODE: {gpus, product, memory, shares, strategy, prefer, ...}",
                "additionalProperties": _closed(words | more),
            },
            **{key: _SHARED[key] for key in shared},
        }
    )


def schema() -> Schema:
    """All of values.schema.json."""
    properties = {
        "global": {"type": "object"},
        "fullnameOverride": _text("Prefix of all names", r"^[a-z]([-a-z0-9]*[a-z0-9])?$", maxLength=40),
        "commonLabels": _map("More labels of everything"),
        "clusterDomain": _text("The domain that ends full Service names", _SUBDOMAIN),
        "image": _closed(
            {
                "registry": _REGISTRY,
                "tag": _TAG | {"description": "Tag of Stoker's images; empty: the chart's appVersion"},
                "pullPolicy": _choice("When images are pulled", "Always", "IfNotPresent", "Never"),
                "pullSecrets": _of(
                    "array", "Secrets to pull with", items=_closed({"name": {"type": "string"}}, required=["name"])
                ),
            }
        ),
        "images": _closed(
            {name: {"$ref": "#/definitions/image"} for name in ("stoker", "waitForDevice", "simulatedGpus", "pause")}
        ),
        "logLevel": _choice("Lowest level that is logged", "debug", "info", "warning", "error"),
        "logFormat": _choice("Form of a line of the log", "json", "console", "auto"),
        "metricsNamespaces": _texts("Namespaces that may scrape Stoker, and the metricsPort of functions", _NAME),
        "rbac": _closed({"create": _flag("Make roles and bindings")}),
        "podSecurityContext": _kubernetes("Of all pods but those with folders of the kubelet"),
        "crds": _closed(
            {
                "enabled": _flag("Install and upgrade the CRDs"),
                "keep": _flag("Leave them, and with them all functions, when the release is uninstalled"),
            }
        ),
        "admission": _closed(
            {
                "enabled": _flag("Install the ValidatingAdmissionPolicies"),
                "bounds": _choice("What happens to functions beyond the bounds of GpuPolicy", "Deny", "Warn", "Audit"),
            }
        ),
        "networkPolicy": _closed({"enabled": _flag("Let Stoker's ports be reached by those that need them only")}),
        "operator": _operator(),
        "scheduler": _scheduler(),
        "node": _node(),
        "gateway": _gateway(),
        "simulatedGpus": _simulated_gpus(),
        "monitoring": _closed(
            {
                "podMonitor": {"$ref": "#/definitions/monitor"},
                "serviceMonitor": {"$ref": "#/definitions/monitor"},
                "dashboards": _closed(
                    {
                        "enabled": _flag("ConfigMaps with Grafana dashboards"),
                        "labels": _map("Labels by which Grafana's sidecar finds them"),
                        "annotations": _map("Annotations of them, such as the folder"),
                    }
                ),
            }
        ),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the Stoker chart",
        "definitions": _definitions(),
        **_closed(properties),
    }
