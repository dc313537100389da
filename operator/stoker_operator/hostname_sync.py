"""Own hostnames of Public functions: one Ingress, or HTTPRoutes, in Stoker's own namespace that lead to the gateways.

Functions' namespaces get no Ingress of their own: a backend must be in the same namespace, and a tenant must not be
able to take a name by writing one. Who gets which name is decided by stoker.hostnames, here and in the gateways.
"""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Struct

from stoker.hostnames import Conflict as NameConflict
from stoker.hostnames import owners
from stoker.metrics import WRITES, MetricsSink
from stoker.model.function import Function
from stoker.model.policy import Policy
from stoker.wire.cluster import FIELD_MANAGER, L_NAME, NAME
from stoker_operator.kinds import HTTP_ROUTES, INGRESSES, Object
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import Conflict, NotFound
from stoker_runtime.kube.objects import Resource, Seen

log = structlog.get_logger(__name__)

OBJECT = "stoker-hostnames"
_PER_ROUTE = 16
"""Hostnames that one HTTPRoute may have."""
_PORT = 80


class HostnameSettings(Struct, frozen=True, kw_only=True):
    """How the world outside reaches the gateways."""

    kind: Literal["None", "Ingress", "HTTPRoute"] = "None"
    service: str
    """Name of the gateways' Service."""
    ingress_class: str = ""
    parent_gateway: str = ""
    """HTTPRoute: `NAMESPACE/NAME` of the Gateway that it is attached to."""
    tls_secret: str = ""
    """Ingress: a Secret with a certificate for all names; empty: no TLS by the Ingress."""


class HostnameSync:
    """`look` after every change of a function or of the policy, then `await write()`; `await audit()` now and then."""

    def __init__(self, kube: KubeClient, namespace: str, settings: HostnameSettings, metrics: MetricsSink) -> None:
        self._kube = kube
        self._namespace = namespace
        self._settings = settings
        self._metrics = metrics
        self._conflicts: dict[str, tuple[NameConflict, ...]] = {}
        self._names: tuple[str, ...] | None = None
        """None until the first look: who does not know what is wanted removes nothing."""
        self._written: tuple[str, ...] | None = None
        self._applied: dict[str, tuple[str, int, bytes]] = {}
        """By name of the object: its uid and generation after it was applied, and what was."""

    def look(self, functions: Iterable[Function], policy: Policy) -> list[str]:
        """Decide who gets which name; `functions` come in the order of their creation. Those with news about that."""
        before = self._conflicts
        taken, self._conflicts = owners(functions, lambda namespace: policy.rule(namespace).hostname_suffixes)
        self._names = tuple(sorted(taken))
        return [key for key in before.keys() | self._conflicts.keys() if before.get(key) != self._conflicts.get(key)]

    def conflicts(self, key: str) -> tuple[str, ...]:
        """What a function does not get, one sentence each."""
        return tuple(conflict.detail for conflict in self._conflicts.get(key, ()))

    async def write(self) -> None:
        """Bring the Ingress or the HTTPRoutes up to date. Raises KubeError."""
        if self._names != self._written:
            await self.audit()

    async def audit(self) -> None:
        """Look at them and put back what somebody has edited or deleted: nobody tells of that. Raises KubeError."""
        names = self._names
        if names is None:
            return
        if self._settings.kind == "Ingress":
            await self._put(INGRESSES, [ingress(names, self._namespace, self._settings)] if names else [])
        elif self._settings.kind == "HTTPRoute":
            await self._put(HTTP_ROUTES, http_routes(names, self._namespace, self._settings))
        self._written = names

    async def _put(self, resource: Resource[Object], bodies: list[dict[str, Any]]) -> None:
        wanted = {body["metadata"]["name"]: body for body in bodies}
        page = await self._kube.list(resource, self._namespace, label_selector=f"{L_NAME}={NAME}")
        present = {item.metadata.name: item.metadata for item in page.items}
        self._applied = {name: applied for name, applied in self._applied.items() if name in wanted}
        for name, body in wanted.items():
            content, now = msgspec.json.encode(body), present.get(name)
            # The generation counts changes of the spec; a controller that writes the status changes none.
            if now is not None and self._applied.get(name) == (now.uid, now.generation, content):
                continue
            done = await self._kube.apply(resource, name, body, self._namespace, manager=FIELD_MANAGER, force=True)
            self._metrics.inc(WRITES, resource.plural, "apply")
            self._applied[name] = (done.metadata.uid, done.metadata.generation, content)
        for item in page.items:
            name = item.metadata.name
            if name.startswith(OBJECT) and name not in wanted:
                try:
                    await self._kube.delete(resource, name, self._namespace, seen=Seen.of(item))
                except (NotFound, Conflict):
                    continue
                self._metrics.inc(WRITES, resource.plural, "delete")


def ingress(names: Iterable[str], namespace: str, settings: HostnameSettings) -> dict[str, Any]:
    """One Ingress for all names."""
    hosts = list(names)
    backend = {"service": {"name": settings.service, "port": {"number": _PORT}}}
    spec: dict[str, Any] = {
        "rules": [
            {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            for host in hosts
        ]
    }
    if settings.ingress_class:
        spec["ingressClassName"] = settings.ingress_class
    if settings.tls_secret:
        spec["tls"] = [{"hosts": hosts, "secretName": settings.tls_secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(OBJECT, namespace),
        "spec": spec,
    }


def http_routes(names: Iterable[str], namespace: str, settings: HostnameSettings) -> list[dict[str, Any]]:
    """As many HTTPRoutes as the names need."""
    hosts = list(names)
    parent_namespace, _, parent = settings.parent_gateway.partition("/")
    return [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": _metadata(f"{OBJECT}-{index // _PER_ROUTE}", namespace),
            "spec": {
                "parentRefs": [{"namespace": parent_namespace, "name": parent}],
                "hostnames": hosts[index : index + _PER_ROUTE],
                "rules": [{"backendRefs": [{"name": settings.service, "port": _PORT}]}],
            },
        }
        for index in range(0, len(hosts), _PER_ROUTE)
    ]


def _metadata(name: str, namespace: str) -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "labels": {L_NAME: NAME, "app.kubernetes.io/managed-by": NAME}}
