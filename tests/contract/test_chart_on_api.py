"""Every object of the chart on a real API server (dry run, strict), and its pods against the levels of Pod Security."""

from collections.abc import Iterator
from typing import Any

import pytest
from chart_renders import EVERYTHING, WORLDS, component_of, objects, pods
from crd_server import SYSTEM, Answer, Server

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]
pytest_plugins = ("crd_server_fixture",)

FOREIGN = "monitoring.coreos.com"
"""Kinds of the Prometheus operator, which this server does not have."""
_APPLY = "application/apply-patch+yaml"


class Api:
    """Paths by kind, as the server itself tells them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: dict[str, dict[str, dict[str, Any]]] = {}

    def path(self, document: dict[str, Any]) -> str:
        version, kind = document["apiVersion"], document["kind"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        if version not in self._known:
            resources = self._server.request("GET", root).content["resources"]
            self._known[version] = {each["kind"]: each for each in resources if "/" not in each["name"]}
        resource = self._known[version][kind]
        within = f"/namespaces/{document['metadata']['namespace']}" if resource["namespaced"] else ""
        return f"{root}{within}/{resource['name']}"

    def try_apply(self, document: dict[str, Any]) -> Answer:
        query = {"dryRun": "All", "fieldManager": "helm", "force": "true", "fieldValidation": "Strict"}
        path = f"{self.path(document)}/{document['metadata']['name']}"
        return self._server.request("PATCH", path, document, query=query, content_type=_APPLY)

    def try_pod(self, pod: dict[str, Any], namespace: str) -> Answer:
        """As its controller would make it, but under an account that is there."""
        spec = pod["spec"] | {"serviceAccountName": "default", "runtimeClassName": None}
        meta = {"name": "pod", "namespace": namespace, "labels": pod["metadata"]["labels"]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        query = {"dryRun": "All", "fieldValidation": "Strict"}
        return self._server.request("POST", self.path(document), document, query=query)


@pytest.fixture(scope="module")
def api(server: Server) -> Api:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "stoker-check", "namespace": SYSTEM}}
    made = server.create(account, dry_run=False)
    assert made.ok, made.message
    return Api(server)


@pytest.fixture(scope="module")
def levels(server: Server) -> dict[str, str]:
    """Namespaces that enforce a level of Pod Security."""
    found = {level: server.namespace() for level in ("restricted", "baseline", "privileged")}
    for level, name in found.items():
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
        path = f"/api/v1/namespaces/{name}"
        assert server.request("PATCH", path, label, content_type="application/merge-patch+json").ok
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_the_api_server_takes_every_object(api: Api, world: str) -> None:
    documents = [each for each in objects(WORLDS[world], namespace=SYSTEM) if FOREIGN not in each["apiVersion"]]
    wrong = {}
    for document in documents:
        if document["kind"].startswith("ValidatingAdmissionPolicy"):
            # Those of this server belong to somebody else, whose lists ours would be added to.
            document = document | {"metadata": {"name": "tried"}}  # noqa: PLW2901
        answer = api.try_apply(document)
        if not answer.ok:
            wrong[f"{document['kind']} {document['metadata']['name']}"] = answer.message
    assert len(documents) > 10
    assert wrong == {}


def test_every_object_belongs_to_the_release(api: Api) -> None:
    """Two that differ in kind, namespace or name only: nothing is rendered twice, and what has a namespace names it."""
    for world in WORLDS.values():
        documents = [each for each in objects(world, namespace=SYSTEM) if FOREIGN not in each["apiVersion"]]
        paths = [f"{api.path(each)}/{each['metadata']['name']}" for each in documents]
        assert len(set(paths)) == len(paths)
        for each in documents:
            labels = each["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == "stoker", each["metadata"]["name"]
            assert labels["app.kubernetes.io/managed-by"] == "Helm"


def workloads() -> Iterator[tuple[str, dict[str, Any]]]:
    for world in WORLDS.values():
        yield from pods(objects(world))


def test_operator_scheduler_and_gateway_meet_restricted(api: Api, levels: dict[str, str]) -> None:
    tried = set()
    for name, pod in workloads():
        if component_of(pod) not in ("node", "simulated-gpus"):
            answer = api.try_pod(pod, levels["restricted"])
            assert answer.ok, (name, answer.message)
            tried.add(component_of(pod))
    assert tried == {"operator", "scheduler", "gateway", "check"}


def test_the_pods_of_nodes_lack_of_restricted_what_the_reference_says_and_nothing_more(
    api: Api, levels: dict[str, str]
) -> None:
    """docs/reference/chart.md has them as a table: folders of the host and the user id 0; hostPID only where asked."""
    found = dict(pods(objects({"simulatedGpus": {"enabled": True}})))
    host_pid = dict(pods(objects(EVERYTHING)))["stoker-node-gpu"]
    folders = {
        "stoker-node": '"pod-resources", "state", "simulated-gpus"',
        "stoker-simulated-gpus": '"device-plugins", "state"',
    }
    for name, volumes in folders.items():
        pod = found[name]
        message = api.try_pod(pod, levels["restricted"]).message
        container = component_of(pod)
        assert message.partition('"restricted:latest": ')[2] == (
            f'restricted volume types (volumes {volumes} use restricted volume type "hostPath"), '
            f'runAsNonRoot != true (pod or container "{container}" must set securityContext.runAsNonRoot=true), '
            "runAsUser=0 (pod must not set runAsUser=0)"
        )
        only = api.try_pod(pod, levels["baseline"]).message.partition('"baseline:latest": ')[2]
        assert only == f"hostPath volumes (volumes {volumes})"
        assert api.try_pod(pod, levels["privileged"]).ok
    message = api.try_pod(host_pid, levels["baseline"]).message
    assert "host namespaces (hostPID=true)" in message


def test_host_folders_are_read_only_where_nothing_is_written(api: Api) -> None:
    pod = dict(pods(objects({"simulatedGpus": {"enabled": True}})))["stoker-node"]
    mounts = {each["name"]: each.get("readOnly", False) for each in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts == {"pod-resources": True, "state": False, "simulated-gpus": True, "tmp": False}
