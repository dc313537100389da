"""Plain HTTP requests to a real API server, as whom one likes, and Stoker's CRDs and admission policies for it.

No client of ours and none of others: what is judged is the API server. The fixture is in crd_server_fixture.py.
"""

import http.client
import json
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml
from msgspec import Struct

from cluster.api_only import ApiServer

CRDS = Path(__file__).parents[2] / "crds"
SYSTEM = "stoker-system"
OPERATOR = f"system:serviceaccount:{SYSTEM}:stoker-operator"
AGENT = f"system:serviceaccount:{SYSTEM}:stoker-node"
NODE_CLAIM = "authentication.kubernetes.io/node-name"
_PATIENCE_S = 20.0
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Who(Struct, frozen=True, kw_only=True):
    """Whom a request is made as. `node` is the claim in the token of a pod's account."""

    name: str
    groups: tuple[str, ...] = ("system:masters",)
    node: str | None = None

    def headers(self) -> Iterator[tuple[str, str]]:
        yield "Impersonate-User", self.name
        for group in self.groups:
            yield "Impersonate-Group", group
        if self.node is not None:
            yield f"Impersonate-Extra-{quote(NODE_CLAIM, safe='')}", self.node


class Answer(Struct, frozen=True):
    """What the server said."""

    status: int
    content: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        """Why it refused; empty when it did not."""
        return "" if self.ok else str(self.content.get("message", ""))


class Server:
    """Requests to one API server on one kept connection."""

    def __init__(self, server: ApiServer) -> None:
        context = ssl.create_default_context(cafile=server.authority)
        context.load_cert_chain(*map(str, server.client_certificate))
        self._connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        who: Who | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        body = b"" if content is None else json.dumps(content).encode()
        headers = [
            *(who.headers() if who else ()),
            ("Accept", accept),
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
        ]
        target = path + ("?" + urlencode(query) if query else "")
        try:
            return self._ask(method, target, body, headers)
        except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
            # The server closes what was idle for some minutes.
            self._connection.close()
            return self._ask(method, target, body, headers)

    def _ask(self, method: str, target: str, body: bytes, headers: list[tuple[str, str]]) -> Answer:
        self._connection.putrequest(method, target)
        for name, value in headers:
            self._connection.putheader(name, value)
        self._connection.endheaders(body)
        response = self._connection.getresponse()
        return Answer(response.status, json.loads(response.read()))

    def create(self, document: dict[str, Any], *, who: Who | None = None, dry_run: bool = True) -> Answer:
        """Unknown fields are refused, as kubectl asks for."""
        query = {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})
        return self.request("POST", collection(document), document, who=who, query=query)

    def update(
        self, document: dict[str, Any], change: dict[str, Any], *, who: Who | None = None, part: str = ""
    ) -> Answer:
        """A merge patch of the object (or of a subresource)."""
        path = f"{collection(document)}/{document['metadata']['name']}{part}"
        return self.request("PATCH", path, change, who=who, content_type=_MERGE)

    def apply(self, document: dict[str, Any], *, who: Who | None = None, part: str = "") -> Answer:
        """Server-side apply."""
        path = f"{collection(document)}/{document['metadata']['name']}{part}"
        query = {"fieldManager": "test", "force": "true"}
        return self.request("PATCH", path, document, who=who, content_type=_APPLY, query=query)

    def delete(self, document: dict[str, Any]) -> Answer:
        return self.request("DELETE", f"{collection(document)}/{document['metadata']['name']}")

    def namespace(self) -> str:
        """A new one, whose account `default` is there."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.make_namespace(name)
        return name

    def make_namespace(self, name: str) -> None:
        made = self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, dry_run=False)
        assert made.ok, made
        self.until(lambda: self.request("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default").ok)

    def make_node(self, name: str) -> str:
        """A Node, and its uid: what names an owner that is not there is collected as garbage."""
        made = self.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}, dry_run=False)
        assert made.ok, made
        return str(made.content["metadata"]["uid"])

    def until(self, holds: Any) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"the API server did not get there in {_PATIENCE_S:g} s"
            time.sleep(0.02)


PLURALS = {
    "GpuFunction": "gpufunctions",
    "GpuPolicy": "gpupolicies",
    "FunctionNode": "functionnodes",
    "Namespace": "namespaces",
    "Node": "nodes",
    "ServiceAccount": "serviceaccounts",
    "Pod": "pods",
    "ControllerRevision": "controllerrevisions",
    "Lease": "leases",
    "CustomResourceDefinition": "customresourcedefinitions",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
}
_NAMESPACED = ("GpuFunction", "ServiceAccount", "Pod", "ControllerRevision", "Lease")


def collection(document: dict[str, Any]) -> str:
    """The path of the collection that an object belongs to."""
    version, kind = document["apiVersion"], document["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    within = f"/namespaces/{document['metadata'].get('namespace', 'default')}" if kind in _NAMESPACED else ""
    return f"{root}{within}/{PLURALS[kind]}"


def crds() -> list[dict[str, Any]]:
    return [yaml.load(file.read_text(), Loader=yaml.CSafeLoader) for file in sorted(CRDS.glob("*.yaml"))]


def admission_policies() -> list[dict[str, Any]]:
    """The policies, then their bindings."""
    documents = [
        each for file in sorted((CRDS / "admission").glob("*.yaml")) for each in yaml.safe_load_all(file.read_text())
    ]
    return sorted(documents, key=lambda each: str(each["kind"]))
