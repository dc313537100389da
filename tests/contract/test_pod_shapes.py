"""The pods of functions, hostile ones too, against a real API server with Pod Security admission, by dry run."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import yaml
from pod_shapes import ROOT, SERVERS, decoded, document_of, entries, params, pod_of, put, server

from stoker.model.function import Function, Variant
from stoker.model.policy import PodSecurity
from stoker.pods.build import build_pod
from stoker.pods.forbidden import forbidden
from stoker.pods.objects import controller_revision, network_policy, service
from stoker.pods.prefetch import prefetch_pod
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists, ApiError, Forbidden, NotFound
from stoker_runtime.kube.objects import Resource

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]
pytest_plugins = ("api_server",)

CRDS: Resource[Any] = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False, type=dict[str, Any]
)
NAMESPACES: Resource[Any] = Resource("", "v1", "namespaces", namespaced=False, type=dict[str, Any])
ACCOUNTS: Resource[Any] = Resource("", "v1", "serviceaccounts", namespaced=True, type=dict[str, Any])
PODS: Resource[Any] = Resource("", "v1", "pods", namespaced=True, type=dict[str, Any])
FUNCTIONS: Resource[Any] = Resource("stoker.dev", "v1alpha1", "gpufunctions", namespaced=True, type=dict[str, Any])
HOSTILE = entries("hostile_functions")
PARTS = ("container", "spec", "metadata")


class Place:
    """Namespaces of the three levels of Pod Security."""

    def __init__(self, kube: KubeClient) -> None:
        self._kube = kube
        mark = uuid.uuid4().hex[:8]
        self.restricted, self.baseline, self.privileged = (
            f"{level}-{mark}" for level in ("restricted", "baseline", "privileged")
        )

    async def make(self) -> None:
        for name in (self.restricted, self.baseline, self.privileged):
            labels = {"pod-security.kubernetes.io/enforce": name.partition("-")[0]}
            metadata = {"name": name, "labels": labels}
            await self._kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            for account in ("default", "runner"):
                body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}
                await self._kube.create(ACCOUNTS, body, name)

    async def try_pod(self, pod: dict[str, Any], namespace: str) -> dict[str, Any] | ApiError:
        """What the API server makes of the pod, or why it refuses it."""
        return await self.attempt(PODS, put(pod, {"metadata.namespace": namespace}), namespace)

    async def attempt(self, resource: Resource[Any], body: dict[str, Any], namespace: str) -> dict[str, Any] | ApiError:
        try:
            made: dict[str, Any] = await self._kube.create(resource, body, namespace, dry_run=True)
        except ApiError as error:
            return error
        return made

    async def install_functions(self) -> None:
        crd = yaml.safe_load((ROOT / "crds" / "gpufunctions.stoker.dev.yaml").read_text())
        with contextlib.suppress(AlreadyExists):
            await self._kube.create(CRDS, crd)
        for _ in range(100):
            try:
                await self._kube.list(FUNCTIONS, self.restricted)
            except NotFound:
                await asyncio.sleep(0.1)
            else:
                return
        pytest.fail("the CRD was not served within 10 s")


@pytest_asyncio.fixture
async def place(kube: KubeClient) -> AsyncIterator[Place]:
    place = Place(kube)
    await place.make()
    yield place


def hostile_document(entry: dict[str, Any]) -> dict[str, Any]:
    return document_of(**{part: entry[part] for part in PARTS if part in entry})


@pytest.mark.parametrize("file", SERVERS, ids=lambda file: file.stem)
async def test_unmodified_servers_pass_pod_security(file: Any, place: Place) -> None:
    function = decoded(server(file))
    for variant in function.variants:
        made = await place.try_pod(pod_of(function, variant), place.restricted)
        assert isinstance(made, dict), made
        assert forbidden(made, allowed_service_accounts=("runner",)) is None
        as_root = pod_of(function, variant, params(PodSecurity.BASELINE))
        made = await place.try_pod(as_root, place.baseline)
        assert isinstance(made, dict), made
        assert forbidden(made, level=PodSecurity.BASELINE, allowed_service_accounts=("runner",)) is None
        assert isinstance(await place.try_pod(as_root, place.restricted), Forbidden)


async def test_the_objects_beside_the_pods_are_accepted(place: Place) -> None:
    kinds = {"Service": ("", "services"), "NetworkPolicy": ("networking.k8s.io", "networkpolicies")}
    for file in SERVERS:
        function = decoded(server(file))
        templates = {variant: build_pod(function, variant, params()) for variant in function.variants}
        made: list[dict[str, Any]] = [
            service(function, "stoker-gateway.stoker-system.svc.cluster.local"),
            network_policy(function, system_namespace="stoker-system", metrics_namespaces=["monitoring"]),
            controller_revision(function, server(file)["spec"], templates),
            prefetch_pod(function, "registry.example/weights:1", "node-a", params()),
        ]
        for body in made:
            group, plural = (
                kinds.get(body["kind"])
                or {
                    "ControllerRevision": ("apps", "controllerrevisions"),
                    "Pod": ("", "pods"),
                }[body["kind"]]
            )
            resource: Resource[Any] = Resource(group, "v1", plural, namespaced=True, type=dict[str, Any])
            body["metadata"]["namespace"] = place.restricted
            answer = await place.attempt(resource, body, place.restricted)
            assert isinstance(answer, dict), answer
            if body["kind"] == "Pod":
                assert forbidden(answer) is None


async def test_the_schema_refuses_exactly_the_hostile_functions_that_it_can(place: Place) -> None:
    await place.install_functions()
    wrong = []
    for entry in HOSTILE:
        answer = await place.attempt(
            FUNCTIONS, put(hostile_document(entry), {"metadata.namespace": place.restricted}), place.restricted
        )
        if isinstance(answer, ApiError) != (entry["by"] == "schema"):
            wrong.append((entry["name"], entry["by"], str(answer)[:200]))
    assert wrong == []


async def test_fields_that_no_function_has_are_pruned_where_a_client_is_not_strict(
    place: Place, kube: KubeClient
) -> None:
    """So an old kubectl gets a function without them, never a pod with them."""
    await place.install_functions()
    path = f"/apis/stoker.dev/v1alpha1/namespaces/{place.restricted}/gpufunctions"
    names = set()
    for entry in HOSTILE:
        if entry["by"] != "schema" or "unknown field" not in entry["says"]:
            continue
        body = put(hostile_document(entry), {"metadata.namespace": place.restricted})
        try:
            made = await kube.request(
                "POST", path, dict[str, Any], body=body, parameters={"dryRun": "All", "fieldValidation": "Ignore"}
            )
        except ApiError:
            continue
        names.add(entry["name"])
        assert forbidden(pod_of(decoded(made))) is None, entry["name"]
    assert len(names) >= 20


async def test_what_is_not_refused_gets_a_restricted_pod(place: Place) -> None:
    for entry in HOSTILE:
        if entry["by"] == "nobody":
            pod = pod_of(decoded(hostile_document(entry)))
            made = await place.try_pod(pod, place.restricted)
            assert isinstance(made, dict), (entry["name"], made)
            assert forbidden(made) is None, entry["name"]


async def test_pod_security_and_the_operator_agree_on_forbidden_pods(place: Place) -> None:
    wrong = []
    function = decoded(document_of(spec={"gpu": {"memory": "1Gi"}, "cpuVariant": {}}))
    for entry in entries("hostile_pods"):
        pod = put(pod_of(function, Variant(entry.get("variant", "gpu"))), entry["set"])
        refused = {
            level: isinstance(await place.try_pod(pod, namespace), Forbidden)
            for level, namespace in (("restricted", place.restricted), ("baseline", place.baseline))
        }
        expected = {"restricted": entry["standard"] != "none", "baseline": entry["standard"] == "baseline"}
        if refused != expected:
            wrong.append((entry["name"], refused, str(await place.try_pod(pod, place.restricted))[:200]))
    assert wrong == []


async def test_the_operator_refuses_forbidden_pods_as_a_server_without_admission_gives_them_back(place: Place) -> None:
    function: Function = decoded(document_of(spec={"gpu": {"memory": "1Gi"}, "cpuVariant": {}}))
    accepted = 0
    for entry in entries("hostile_pods"):
        pod = put(pod_of(function, Variant(entry.get("variant", "gpu"))), entry["set"])
        made = await place.try_pod(pod, place.privileged)
        if isinstance(made, dict):
            accepted += 1
            assert forbidden(made) is not None, entry["name"]  # the server may have said the same in another field
    assert accepted >= 25
