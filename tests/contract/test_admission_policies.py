"""The ValidatingAdmissionPolicies of crds/admission on a real API server: who may do what, and how it is refused."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crd_server import AGENT, OPERATOR, SYSTEM, Answer, Server, Who, admission_policies, collection
from pod_shapes import SERVERS, decoded, document_of, entries, params, pod_of, put
from pod_shapes import server as document_in

from stoker.pods.prefetch import prefetch_pod
from stoker.wire.cluster import A_REPLICA, L_FUNCTION, L_ROLE
from stoker.wire.function_node import AgentStatus, FunctionNodeStatus, encode_status, function_node

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]
pytest_plugins = ("crd_server_fixture",)

BY_OPERATOR = Who(name=OPERATOR)
TENANT = Who(name="somebody")
Over = dict[str, Any]
LEFT_TO_POD_SECURITY = {"another account", "no environment where there is no GPU"}
"""Hostile pods of no standard that admission cannot tell: it knows no allowed accounts, and nothing must be there."""


@pytest.fixture(scope="module")
def namespace(server: Server) -> str:
    """With an account `runner` besides, which some functions ask for."""
    name = server.namespace()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "runner", "namespace": name}}
    assert server.create(account, dry_run=False).ok
    return name


def replica(namespace: str, **paths: Any) -> dict[str, Any]:
    """The pod that the builder makes, in a namespace, with values at paths."""
    return put(pod_of(decoded(document_of())), {"metadata.namespace": namespace} | paths)


def lasting(server: Server) -> dict[str, Any]:
    """One that is there, in a namespace of its own. Without an owner: one that is not there is collected as garbage."""
    pod = replica(server.namespace(), **{"metadata.ownerReferences": None})
    made = server.create(pod, who=BY_OPERATOR, dry_run=False)
    assert made.ok, made.message
    return pod


def test_the_controllers_of_the_server_find_no_fault_with_the_types(server: Server) -> None:
    for policy in admission_policies():
        if policy["kind"] != "ValidatingAdmissionPolicy":
            continue
        path = f"{collection(policy)}/{policy['metadata']['name']}"
        server.until(lambda path=path: "observedGeneration" in server.request("GET", path).content.get("status", {}))
        assert not server.request("GET", path).content["status"].get("typeChecking", {}).get("expressionWarnings"), path


@pytest.mark.parametrize("file", SERVERS, ids=lambda file: file.stem)
def test_the_pods_that_the_builder_makes_of_real_servers_are_let_in(file: Any, server: Server, namespace: str) -> None:
    function = decoded(document_in(file))
    for variant in function.variants:
        answer = server.create(put(pod_of(function, variant), {"metadata.namespace": namespace}), who=BY_OPERATOR)
        assert answer.ok, answer.message
    kept = prefetch_pod(function, "registry.example/app:1", "node-a", params())
    answer = server.create(put(kept, {"metadata.namespace": namespace}), who=BY_OPERATOR)
    assert answer.ok, answer.message


def test_what_webhooks_normally_add_is_let_in(server: Server, namespace: str) -> None:
    for entry in entries("additions"):
        answer = server.create(replica(namespace, **entry["set"]), who=BY_OPERATOR)
        assert answer.ok, (entry["name"], answer.message)


def test_hostile_pods_are_refused_by_the_policy_itself_wherever_pod_security_is_off(
    server: Server, namespace: str
) -> None:
    """The namespace enforces no Pod Security level here. What only `restricted` refuses is left to that label."""
    wrong = []
    for entry in entries("hostile_pods"):
        if "has not the form" in entry["says"] or entry["name"] in LEFT_TO_POD_SECURITY:
            continue
        cpu = document_of(spec={"gpu": None, "cpuVariant": {}})
        base = pod_of(decoded(cpu)) if entry.get("variant") == "cpu" else pod_of(decoded(document_of()))
        answer = server.create(put(base, {"metadata.namespace": namespace} | entry["set"]), who=BY_OPERATOR)
        refused = "ValidatingAdmissionPolicy 'pods.stoker.dev'" in answer.message
        itself = answer.status == 422  # the API server's own validation came to it first
        if entry["standard"] != "restricted" and not (refused or itself):
            wrong.append((entry["name"], answer))
    assert not wrong


FIRST = "spec.containers.0"
REFUSED: list[tuple[Over, str]] = [
    ({"spec.hostNetwork": True}, "may not use hostNetwork, hostPID, hostIPC or shareProcessNamespace"),
    ({"spec.shareProcessNamespace": True}, "may not use hostNetwork, hostPID, hostIPC or shareProcessNamespace"),
    ({f"{FIRST}.securityContext": {"privileged": True}}, "may not be privileged: function"),
    ({f"{FIRST}.securityContext.capabilities.add": ["NET_ADMIN"]}, "beyond the runtime's defaults: function"),
    ({f"{FIRST}.ports.0.hostPort": 80}, "may not take a hostPort: function"),
    ({"spec.securityContext.seccompProfile": {"type": "Unconfined"}}, "seccomp and AppArmor"),
    ({f"{FIRST}.securityContext.appArmorProfile": {"type": "Unconfined"}}, "seccomp and AppArmor"),
    ({"spec.securityContext.seLinuxOptions": {"role": "r"}}, "seLinuxOptions of a pod of a function"),
    ({"spec.securityContext.sysctls": [{"name": "kernel.msgmax", "value": "1"}]}, "may set safe sysctls only"),
    ({"spec.volumes.9": {"name": "x", "hostPath": {"path": "/"}}}, "or secret only: x"),
    (
        {"spec.volumes.9": {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}},
        "no token that the API server takes, and no certificate: x",
    ),
    ({"spec.automountServiceAccountToken": None}, "needs automountServiceAccountToken: false"),
    ({f"{FIRST}.readinessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 1}}}, "may not name a host"),
    ({f"{FIRST}.env.9": {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}}, "may only be void: function"),
    ({f"{FIRST}.volumeMounts.9": {"name": "x", "mountPath": "/x", "mountPropagation": "HostToContainer"}}, "mounts"),
    ({f"{FIRST}.volumeDevices": [{"name": "x", "devicePath": "/dev/x"}]}, "block devices: function"),
    ({"metadata.annotations.cdi\\.k8s\\.io/x": "nvidia.com/gpu=all"}, "other schedulers: cdi.k8s.io/x"),
    ({"metadata.annotations.scheduling\\.volcano\\.sh/g": "x"}, "other schedulers: scheduling.volcano.sh/g"),
    ({"spec.schedulerName": "default-scheduler"}, "needs schedulerName: stoker-scheduler"),
    ({"spec.hostUsers": False, f"{FIRST}.securityContext.procMount": "Unmasked"}, "a procMount of its own: function"),
]


@pytest.mark.parametrize(("over", "sentence"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_pod_of_a_function_may_not_have_is_told_in_one_sentence(
    over: Over, sentence: str, server: Server, namespace: str
) -> None:
    if "spec.volumes.9" not in over:
        over = over | {"spec.volumes.9": {"name": "x", "persistentVolumeClaim": {"claimName": "x"}}}
    answer = server.create(replica(namespace, **over), who=BY_OPERATOR)
    assert answer.status == 403, answer
    assert sentence in answer.message


def test_a_pod_that_is_no_function_is_not_judged(server: Server, namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other", "namespace": namespace, "labels": {"app": "x"}},
        "spec": {"hostNetwork": True, "containers": [{"name": "c", "image": "i"}]},
    }
    answer = server.create(pod, who=TENANT)
    assert answer.ok, answer.message


def test_nobody_enters_a_pod_of_a_function_from_outside(server: Server) -> None:
    pod = lasting(server)
    change = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "d"}]}}
    path = f"{collection(pod)}/{pod['metadata']['name']}/ephemeralcontainers"
    answer = server.request("PATCH", path, change, who=TENANT, content_type="application/strategic-merge-patch+json")
    assert "takes no ephemeral containers" in answer.message, answer


@pytest.mark.parametrize("key", [L_ROLE, L_FUNCTION, "stoker.dev/anything"])
def test_only_the_operator_makes_pods_that_carry_labels_of_stoker(key: str, server: Server, namespace: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "impostor", "namespace": namespace, "labels": {key: "replica"}},
        "spec": {
            "schedulerName": "stoker-scheduler",
            "automountServiceAccountToken": False,
            "containers": [{"name": "c", "image": "i"}],
        },
    }
    answer = server.create(pod, who=TENANT)
    assert answer.status == 403
    assert f"only the operator of Stoker sets, changes or removes {key}" in answer.message
    assert server.create(pod, who=BY_OPERATOR).ok
    annotated = put(pod, {"metadata.labels": None, "metadata.annotations": {A_REPLICA: "{}"}})
    assert A_REPLICA in server.create(annotated, who=TENANT).message


def test_labels_of_stoker_stay_as_the_operator_made_them_and_all_else_may_be_changed(server: Server) -> None:
    pod = lasting(server)

    def changed(metadata: dict[str, Any], who: Who = TENANT) -> Answer:
        return server.update(pod, {"metadata": metadata}, who=who)

    assert changed({"annotations": {"note": "mine"}, "labels": {"team": "a"}}).ok
    assert L_FUNCTION in changed({"labels": {L_FUNCTION: "other"}}).message
    assert L_FUNCTION in changed({"labels": {L_FUNCTION: None}}).message
    assert A_REPLICA in changed({"annotations": {A_REPLICA: "{}"}}).message
    assert A_REPLICA in changed({"annotations": {A_REPLICA: None}}).message
    assert "stoker.dev/more" in changed({"labels": {"stoker.dev/more": "x"}}).message
    assert changed({"annotations": {"stoker.dev/poke": "1"}}, BY_OPERATOR).ok


def test_a_revision_of_a_function_can_be_forged_by_nobody(server: Server, namespace: str) -> None:
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "ocr-0123456789", "namespace": namespace, "labels": {L_FUNCTION: "ocr"}},
        "data": {"template": {"spec": {"hostNetwork": True}}},
        "revision": 1,
    }
    assert "reserved" in server.create(revision, who=TENANT).message
    assert server.create(revision, who=BY_OPERATOR).ok
    assert server.create(put(revision, {"metadata.labels": {"app": "x"}}), who=TENANT).ok


def test_the_namespace_of_stoker_itself_is_left_to_its_rights(server: Server) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "own", "namespace": SYSTEM, "annotations": {"stoker.dev/checksum": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    assert server.create(pod, who=TENANT).ok


@pytest.fixture
def bound(server: Server, namespace: str) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """Makes the GpuPolicy have these namespaces, and waits until the API server judges by it; none is left behind."""
    policy = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}

    def bind(rules: list[dict[str, Any]]) -> None:
        mark = f"{uuid.uuid4().hex}.example"
        probe = {"name": namespace, "hostnameSuffixes": [mark], "maxPriority": "Critical", "maxGpus": 9}
        made = server.apply(policy | {"spec": {"namespaces": [*rules, probe]}})
        assert made.ok, made.message
        asked = function(namespace, access={"visibility": "Public", "hostnames": ["elsewhere.example"]})
        server.until(lambda: mark in server.create(asked).message)

    yield bind
    server.delete(policy)
    critical = function(namespace, priority="Critical", access=PUBLIC | {"hostnames": ["elsewhere.example"]})
    server.until(lambda: server.create(critical).ok)


def function(namespace: str, **spec: Any) -> dict[str, Any]:
    base = {"container": {"image": "ocr:1"}, "gpu": {"memory": "4Gi"}, "slo": {"latency": "250ms"}}
    return {
        "apiVersion": "stoker.dev/v1alpha1",
        "kind": "GpuFunction",
        "metadata": {"name": "ocr", "namespace": namespace},
        "spec": base | spec,
    }


PUBLIC = {"visibility": "Public"}


def test_each_bound_of_the_policy_is_told_in_one_sentence(server: Server, bound: Any) -> None:
    there = server.namespace()
    bound(
        [
            {"name": "*", "maxPriority": "Batch", "maxCostPerHour": 10},
            {"name": there, "maxPriority": "Standard", "maxGpus": 4, "hostnameSuffixes": ["a.example.org"]},
        ]
    )

    def judged(**spec: Any) -> str:
        return server.create(function(there, **spec)).message

    assert not judged()
    assert not judged(
        priority="Batch",
        gpu={"memory": "1Gi", "count": 2},
        scaling={"minReplicas": 2},
        slo={"latency": "1s", "maxCostPerHour": 10},
        access=PUBLIC | {"hostnames": ["a.example.org", "x.a.example.org"]},
    )
    above = f"spec.priority: Critical is above Standard, the highest that GpuPolicy default allows in namespace {there}"
    assert above in judged(priority="Critical")
    many = "spec.gpu: 6 GPUs at least (count x minReplicas) are more than the 4"
    assert many in judged(gpu={"memory": "1Gi", "count": 2}, scaling={"minReplicas": 3})
    assert "spec.gpu: 5 GPUs" in judged(gpu={"memory": "1Gi", "count": 5})
    dear = "spec.slo.maxCostPerHour: 10.5 is above 10, the most that GpuPolicy default allows"
    assert dear in judged(slo={"latency": "1s", "maxCostPerHour": 10.5})
    foreign = judged(access=PUBLIC | {"hostnames": ["x.a.example.org", "xa.example.org"]})
    assert "only hostnames under a.example.org" in foreign
    assert foreign.endswith(": xa.example.org")


def test_the_entry_for_all_counts_where_a_namespace_has_none_or_says_nothing(server: Server, bound: Any) -> None:
    there, other = server.namespace(), server.namespace()
    bound([{"name": "*", "maxGpus": 1}, {"name": there, "weight": 2}])
    for namespace in (there, other):
        asked = function(namespace, gpu={"memory": "1Gi", "count": 2})
        assert "more than the 1 that" in server.create(asked).message
    asked = function(other, access=PUBLIC | {"hostnames": ["a.example"]})
    assert "GpuPolicy default allows no own hostnames" in server.create(asked).message


def test_a_bound_that_is_lowered_later_freezes_nothing(server: Server, bound: Any) -> None:
    there = server.namespace()
    bound([{"name": there, "hostnameSuffixes": ["example.org"]}])
    ocr = function(
        there,
        priority="Critical",
        gpu={"memory": "1Gi", "count": 4},
        slo={"latency": "1s", "maxCostPerHour": 8},
        access=PUBLIC | {"hostnames": ["ocr.example.org"]},
    )
    made = server.create(ocr, dry_run=False)
    assert made.ok, made.message
    lowered = {"maxPriority": "Batch", "maxGpus": 1, "maxCostPerHour": 1, "hostnameSuffixes": ["example.net"]}
    bound([{"name": there} | lowered])

    def edited(spec: dict[str, Any]) -> str:
        return server.update(ocr, {"spec": spec}).message

    assert not server.update(ocr, {"metadata": {"annotations": {"note": "mine"}}}).message
    assert not edited({"slo": {"latency": "2s"}})
    assert not edited({"access": {"hostnames": ["ocr.example.org", "ocr.example.net"]}})
    assert "spec.gpu: 8 GPUs" in edited({"scaling": {"minReplicas": 2}})
    assert "12.5 is above 1" in edited({"slo": {"maxCostPerHour": 12.5}})
    assert "more.example.org" in edited({"access": {"hostnames": ["ocr.example.org", "more.example.org"]}})
    assert not edited({"priority": "Standard", "gpu": {"count": 2}, "slo": {"maxCostPerHour": 4}})
    assert "spec.priority: Critical is above Batch" in edited({"priority": "Critical"})
    assert "spec.gpu: 4 GPUs" in edited({"gpu": {"count": 4}})
    assert server.delete(ocr).ok


def test_without_a_policy_every_function_is_let_in(server: Server, namespace: str) -> None:
    policy = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
    server.delete(policy)
    asked = function(namespace, priority="Critical", access=PUBLIC | {"hostnames": ["anything.example"]})
    server.until(lambda: server.create(asked).ok)


def test_the_status_of_a_node_is_written_by_its_own_agent_only(server: Server) -> None:
    node = f"node-{uuid.uuid4().hex[:8]}"
    assert server.create(function_node(node, server.make_node(node)), who=BY_OPERATOR, dry_run=False).ok
    status = encode_status(node, FunctionNodeStatus(agent=AgentStatus(pod="p", address="10.0.0.1")))

    def written(who: Who) -> str:
        return server.apply(status, who=who, part="/status").message

    sentence = f"the status of FunctionNode {node} is written by the agent of that node only, not by "
    assert sentence + f"{AGENT} of node other" in written(Who(name=AGENT, node="other"))
    assert sentence + AGENT in written(Who(name=AGENT))
    assert sentence + OPERATOR in written(BY_OPERATOR)
    assert sentence in written(Who(name=OPERATOR, node=node))
    assert sentence in written(Who(name="system:admin"))
    assert not written(Who(name=AGENT, node=node))


def test_an_agent_has_the_lease_of_its_own_node_and_no_other(server: Server) -> None:
    def taken(name: str, who: Who, namespace: str = SYSTEM) -> str:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
        return server.create(put(lease, {"metadata.namespace": namespace}), who=who).message

    agent = Who(name=AGENT, node="a")
    assert not taken("stoker-node-a", agent)
    assert "the agent of node NODE writes stoker-node-NODE" in taken("stoker-node-b", agent)
    assert f"Lease stoker-operator is not for {AGENT} of node a" in taken("stoker-operator", agent)
    assert taken("stoker-node-a", Who(name=AGENT))
    assert taken("stoker-node-a", BY_OPERATOR)
    assert not taken("stoker-operator", BY_OPERATOR)
    assert not taken("stoker-node-a", TENANT, server.namespace())
