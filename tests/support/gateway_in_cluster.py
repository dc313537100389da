"""A ClusterGateway against a real API server: its account with the rights that it needs, its certificates, pods that
stand for agents and gateways, and functions.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from gateway_fake_agent import Answer, Client, FakeAgent, clock_us, request
from msgspec import Struct
from msgspec.structs import replace

from stoker.wire.cluster import (
    API_VERSION,
    COMPONENT_GATEWAY,
    COMPONENT_NODE,
    DEMAND_PATH,
    L_COMPONENT,
    L_NAME,
    NAME,
    ROLES,
    DemandFrame,
)
from stoker_gateway.config import GatewaySettings
from stoker_gateway.kubernetes.cluster_gateway import ClusterGateway, Parts
from stoker_gateway.kubernetes.settings import ClusterGatewaySettings
from stoker_operator.authority import CertificateAuthority
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.errors import AlreadyExists, NotFound
from stoker_runtime.kube.objects import Resource
from stoker_runtime.line_stream import LineStream
from stoker_runtime.settings import ProcessSettings

CRDS = Path(__file__).parents[2] / "crds"
MANAGER = "tests"


def _resource(group: str, version: str, plural: str, *, namespaced: bool = True) -> Resource[Any]:
    return Resource(group, version, plural, namespaced, dict[str, Any])


CRD = _resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
PODS = _resource("", "v1", "pods")
ACCOUNTS = _resource("", "v1", "serviceaccounts")
FUNCTIONS = _resource("stoker.dev", "v1alpha1", "gpufunctions")
POLICIES = _resource("stoker.dev", "v1alpha1", "gpupolicies", namespaced=False)
LEDGERS = _resource("stoker.dev", "v1alpha1", "functionnodes", namespaced=False)
RBAC = "rbac.authorization.k8s.io"
ROLES_OF = _resource(RBAC, "v1", "roles")
ROLE_BINDINGS = _resource(RBAC, "v1", "rolebindings")
CLUSTER_ROLES = _resource(RBAC, "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = _resource(RBAC, "v1", "clusterrolebindings", namespaced=False)

CLUSTER_RULES = [
    {
        "apiGroups": ["stoker.dev"],
        "resources": ["gpufunctions", "gpupolicies", "functionnodes"],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
]
NAMESPACE_RULES = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    {
        "apiGroups": [""],
        "resources": ["secrets"],
        "resourceNames": ["stoker-tls-gateway", "stoker-tickets"],
        "verbs": ["get"],
    },
]
"""All that a gateway may do."""


class _Token(Struct, frozen=True):
    token: str


class _TokenRequest(Struct, frozen=True):
    status: _Token


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


class GatewayInCluster:
    """`kube` acts as administrator. `await prepare()`, then `await start()`; `await close()` in the end."""

    def __init__(self, kube: KubeClient, config: KubeConfig, namespace: str) -> None:
        self.kube = kube
        self.config = config
        self.namespace = namespace
        self.agent = FakeAgent()
        self.clients: list[Client] = []
        self.frames: list[DemandFrame] = []
        self.account: KubeClient | None = None
        self._platform: ClusterGateway | None = None
        self._identities: list[Identity] = []
        self._streams: list[LineStream] = []

    @property
    def platform(self) -> ClusterGateway:
        assert self._platform is not None
        return self._platform

    async def prepare(self) -> None:
        """Kinds, rights, certificates, one agent with its pod, and the gateway's own pod."""
        await install_kinds(self.kube)
        await self._allow()
        await CertificateAuthority(self.kube, self.namespace, lambda: dt.datetime.now(dt.UTC)).ensure()
        node = await self.identity("node")
        await self.agent.start("0.0.0.0", node.server_context({"gateway", "scheduler"}))
        await self.pod("agent-1", COMPONENT_NODE, "127.0.0.1")
        await self.pod("gateway-1", COMPONENT_GATEWAY, "127.0.0.1")

    async def start(self, **settings: Any) -> None:
        self._platform = await self.make(**settings)
        await self._platform.start()

    async def make(self, **settings: Any) -> ClusterGateway:
        """Not started yet."""
        token = await self.token("gateway", self.namespace, audience="")
        config = replace(self.config, token=token, client_certificate=None, client_key=None, namespace=self.namespace)
        self.account = KubeClient(config, user_agent="stoker-gateway")
        options = {"endpoints_grace_s": 0.0, "drain_s": 2.0} | settings
        parts = Parts(
            process=ProcessSettings(),
            place=ClusterSettings(pod_name="gateway-1", pod_ip="127.0.0.1"),
            cluster=ClusterGatewaySettings(public_port=0, control_port=0, internal_port=0, **options),
            gateway=GatewaySettings(hangup_poll_s=0.05, lingering_s=0.1),
        )
        return ClusterGateway(self.account, parts, clock_us, data_port=self.agent.port)

    async def close(self) -> None:
        for client in self.clients:
            client.hang_up()
        for stream in self._streams:
            await stream.stop()
        if self._platform is not None:
            await self._platform.stop()
        for identity in self._identities:
            await identity.stop()
        await self.agent.close()
        if self.account is not None:
            await self.account.close()
        # Cluster-wide objects would meet the next test.
        for resource, name in ((LEDGERS, "node-1"), (POLICIES, "default")):
            with contextlib.suppress(NotFound):
                await self.kube.delete(resource, name)

    async def identity(self, component: str) -> Identity:
        identity = Identity(self.kube, self.namespace, component)
        self._identities.append(identity)
        await identity.load()
        return identity

    async def apply(self, resource: Resource[Any], kind: str, name: str, **content: Any) -> None:
        namespace = self.namespace if resource.namespaced else ""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {}) | content.pop("metadata", {})
        body = {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, **content}
        await self.kube.apply(resource, name, body, namespace, manager=MANAGER, force=True)

    async def function(self, name: str = "f", **spec: Any) -> None:
        content = {"container": {"image": "x"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}} | spec
        await self.apply(FUNCTIONS, "GpuFunction", name, spec=content)

    async def say_status(self, name: str, status: dict[str, Any]) -> None:
        body = {"apiVersion": API_VERSION, "kind": "GpuFunction", "status": status}
        await self.kube.apply(FUNCTIONS, name, body, self.namespace, manager=MANAGER, force=True, subresource="status")

    async def ledger(self, *devices: dict[str, Any]) -> None:
        await self.apply(LEDGERS, "FunctionNode", "node-1", spec={})
        status = {"agent": {"pod": "agent-1", "address": "127.0.0.1"}, "devices": list(devices)}
        body = {"apiVersion": API_VERSION, "kind": "FunctionNode", "status": status}
        await self.kube.apply(LEDGERS, "node-1", body, manager=MANAGER, force=True, subresource="status")

    async def pod(self, name: str, component: str, address: str, *, ready: bool = True) -> None:
        """A pod of Stoker that runs at `address`."""
        await self.apply(
            PODS,
            "Pod",
            name,
            metadata={"labels": {L_NAME: NAME, L_COMPONENT: component}},
            spec={"containers": [{"name": "x", "image": "x"}]},
        )
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        }
        await self.kube.patch(PODS, name, {"status": status}, self.namespace, subresource="status")

    async def delete_pod(self, name: str) -> None:
        await self.kube.delete(PODS, name, self.namespace, grace_s=0)

    async def token(self, account: str, namespace: str, audience: str = "stoker") -> str:
        """Of a service account, which is made."""
        try:
            body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
            await self.kube.create(ACCOUNTS, body, namespace)
        except AlreadyExists:
            pass
        answer = await self.kube.request(
            "POST",
            f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
            _TokenRequest,
            body={
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": [audience] if audience else []},
            },
        )
        return answer.status.token

    async def follow_demand(self, component: str = "operator") -> LineStream:
        """Read the demand as a component; frames come into `frames`."""
        identity = await self.identity(component)
        decoder = msgspec.json.Decoder(DemandFrame)
        stream = LineStream(
            "127.0.0.1",
            self.platform.control.port,
            DEMAND_PATH,
            ssl=identity.client_context(),
            server_hostname=ROLES[COMPONENT_GATEWAY].dns_name,
            on_line=lambda line: self.frames.append(decoder.decode(line)),
            on_lost=lambda: None,
        )
        self._streams.append(stream)
        stream.start()
        return stream

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.platform.gateway.port))
        self.clients.append(client)
        return client

    async def call(self, target: str = "", *, host: str = "127.0.0.1", token: str = "") -> Answer:
        headers = f"stoker-authorization: Bearer {token}\r\n" if token else ""
        client = await self.client()
        await client.send(request(target or f"/{self.namespace}/f/", headers=headers, host=host))
        return await client.answer()

    async def known(self, *names: str) -> None:
        """Until the gateway serves exactly these."""
        wanted = {f"{self.namespace}/{name}" for name in names}
        await until(lambda: self.here() == wanted)

    def here(self) -> set[str]:
        return {key for key in self.platform.gateway._states if key.startswith(f"{self.namespace}/")}

    async def warm(self, name: str = "f") -> None:
        key = f"{self.namespace}/{name}"
        self.agent.load(key, warm=1, free=1)
        await until(lambda: key in self.platform.gateway._states and self.platform.gateway._states[key].gpu.warm > 0)

    async def _allow(self) -> None:
        await self.token("gateway", self.namespace)
        subject = [{"kind": "ServiceAccount", "name": "gateway", "namespace": self.namespace}]
        cluster_wide = f"gateway-{self.namespace}"
        await self.apply(ROLES_OF, "Role", "gateway", rules=NAMESPACE_RULES)
        await self.apply(CLUSTER_ROLES, "ClusterRole", cluster_wide, rules=CLUSTER_RULES)
        role = {"apiGroup": RBAC, "kind": "Role", "name": "gateway"}
        await self.apply(ROLE_BINDINGS, "RoleBinding", "gateway", roleRef=role, subjects=subject)
        role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": cluster_wide}
        await self.apply(CLUSTER_ROLE_BINDINGS, "ClusterRoleBinding", cluster_wide, roleRef=role, subjects=subject)


async def install_kinds(kube: KubeClient) -> None:
    """The CRDs, served."""
    for file in sorted(CRDS.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        name = document["metadata"]["name"]
        await kube.apply(CRD, name, document, manager=MANAGER, force=True)
        while True:
            conditions = (await kube.get(CRD, name)).get("status", {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                break
            await asyncio.sleep(0.05)
