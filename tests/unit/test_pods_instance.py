"""From templates to pods, and the objects beside them."""

from typing import Any

import msgspec
import pytest
from pod_shapes import decoded, document_of, look_up, params

from stoker.errors import InvalidObject
from stoker.model.function import Function, Sharing, Variant
from stoker.model.policy import PodSecurity, Pool
from stoker.names import pod_name, replica_id
from stoker.pods.build import build_pod
from stoker.pods.forbidden import forbidden
from stoker.pods.instance import instantiate, replica_of
from stoker.pods.objects import controller_revision, network_policy, revision_name, service
from stoker.pods.prefetch import A_IMAGE, prefetch_name, prefetch_pod
from stoker.wire import cluster

pytestmark = pytest.mark.unit


def one(container: dict[str, Any] | None = None, **spec: Any) -> Function:
    return decoded(document_of(container=container, spec=spec))


def replica(function: Function, ordinal: int, variant: Variant = Variant.GPU) -> str:
    return replica_id(function.key, variant, function.primary, function.revision, ordinal)


def test_a_pod_is_named_owned_and_says_which_replica_it_is() -> None:
    function = one(gpu={"memory": "4Gi", "count": 2})
    template = build_pod(function, Variant.GPU, params())
    pod = instantiate(template, function=function, replica_id=replica(function, 7))
    metadata = pod["metadata"]
    assert (metadata["name"], metadata["namespace"]) == (pod_name(replica(function, 7)), "team")
    assert metadata["ownerReferences"] == [
        {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuFunction", "name": "f", "uid": "uid-1", "controller": True}
    ]
    assert metadata["labels"] == template["metadata"]["labels"]
    said = replica_of(pod)
    assert (said.id, said.ordinal, said.function, said.function_uid) == (replica(function, 7), 7, "team/f", "uid-1")
    assert (said.variant, said.count, said.sharing, said.millicores) == (Variant.GPU, 2, Sharing.EXCLUSIVE, 0)


def test_a_replica_on_the_cpu_says_what_it_holds_there() -> None:
    function = one(cpuVariant={"resources": {"cpu": 2, "memory": "1Gi"}})
    template = build_pod(function, Variant.CPU, params())
    said = replica_of(instantiate(template, function=function, replica_id=replica(function, 0, Variant.CPU)))
    assert (said.options, said.millicores, said.memory_mib) == ((), 2000, 1024)


def test_a_template_makes_many_pods_and_stays_as_it_is() -> None:
    function = one({"liveness": {"tcp": True}})
    template = build_pod(function, Variant.GPU, params())
    stored = msgspec.json.encode(template)
    pods = [instantiate(template, function=function, replica_id=replica(function, ordinal)) for ordinal in range(3)]
    pods[0]["spec"]["containers"][0]["env"].clear()
    assert msgspec.json.encode(template) == stored
    assert pods[1]["spec"] == pods[2]["spec"]
    assert len({pod["metadata"]["name"] for pod in pods}) == 3


def test_fields_that_act_live_act_on_later_pods_of_a_stored_template() -> None:
    then = one({"liveness": {"tcp": True}}, timeout="60s")
    template = build_pod(then, Variant.GPU, params())
    container = {"liveness": {"tcp": True}, "readiness": {"path": "/ready"}, "startupTimeout": "1h"}
    now = one(container, timeout="10m")
    assert now.revision == then.revision
    pod = instantiate(template, function=now, replica_id=replica(now, 0))
    assert replica_of(pod).readiness_path == "/ready"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 630
    assert look_up(pod, "spec.containers.0.startupProbe.failureThreshold") == 721
    assert look_up(pod, "spec.containers.0.livenessProbe.failureThreshold") == 60


def test_a_pod_of_an_older_revision_keeps_what_its_program_answers_to() -> None:
    then = one({"readiness": {"path": "/old"}, "port": 8000})
    template = build_pod(then, Variant.GPU, params())
    now = one({"readiness": {"path": "/new"}, "port": 9000}, timeout="10m")
    pod = instantiate(template, function=now, replica_id=replica(then, 0))
    assert (replica_of(pod).readiness_path, replica_of(pod).port) == ("/old", 8000)
    assert pod["metadata"]["labels"][cluster.L_REVISION] == then.revision
    without_gpu = document_of(spec={"cpuVariant": {}})
    del without_gpu["spec"]["gpu"]
    assert instantiate(template, function=decoded(without_gpu), replica_id=replica(then, 0))["spec"] == template["spec"]


def test_a_template_of_another_revision_function_or_form_is_refused() -> None:
    function, other = one(), one({"port": 9000})
    template = build_pod(function, Variant.GPU, params())
    with pytest.raises(InvalidObject, match="is no replica of revision"):
        instantiate(template, function=other, replica_id=replica(other, 0))
    with pytest.raises(InvalidObject, match="is no replica of revision"):
        instantiate(template, function=function, replica_id=f"team/g-{function.revision}-0")
    for broken in ({}, {"metadata": {"annotations": None}}, {"metadata": {"annotations": {cluster.A_REPLICA: "{}"}}}):
        with pytest.raises(InvalidObject, match="says no replica"):
            instantiate(broken, function=function, replica_id=replica(function, 0))


def test_a_template_of_an_older_stoker_still_makes_pods() -> None:
    """The revision is over the spec alone, so another builder restarts nothing, and pods go on as they were stored."""
    function = one()
    old = build_pod(function, Variant.GPU, params())
    old["spec"]["containers"][0]["env"] = [{"name": "HOME", "value": "/stoker/home"}]
    old["spec"]["somethingNew"] = True
    pod = instantiate(old, function=function, replica_id=replica(function, 0))
    assert pod["spec"] == old["spec"]
    changed = build_pod(function, Variant.GPU, params(wait_image="registry.example/stoker/wait:2", scheduler_name="x"))
    assert changed["metadata"]["labels"] == old["metadata"]["labels"]


def test_a_policy_that_changed_acts_on_later_pods_of_a_stored_template() -> None:
    function = one({"runAsUser": 7})
    template = build_pod(function, Variant.GPU, params())
    pool = Pool(name="p", node_selector={"a": "b"}, runtime_class="nvidia")
    baseline = params(PodSecurity.BASELINE, pool=pool)
    pod = instantiate(template, function=function, replica_id=replica(function, 0), params=baseline)
    built = instantiate(build_pod(function, Variant.GPU, baseline), function=function, replica_id=replica(function, 0))
    assert pod == built
    assert "runAsNonRoot" not in pod["spec"]["securityContext"]
    assert pod["spec"]["nodeSelector"] == {"a": "b"}
    back = build_pod(function, Variant.GPU, baseline)
    pod = instantiate(back, function=function, replica_id=replica(function, 0), params=params())
    assert forbidden(pod) is None
    assert "nodeSelector" not in pod["spec"]


def test_a_policy_that_means_the_same_leaves_a_stored_template_as_it_is() -> None:
    function = one()
    old = build_pod(function, Variant.GPU, params())
    old["spec"]["tolerations"] = []
    pod = instantiate(old, function=function, replica_id=replica(function, 0), params=params(wait_image="x:2"))
    assert pod["spec"] == old["spec"]


def test_the_service_is_a_name_for_the_gateways() -> None:
    made = service(one(), "gateway.stoker-system.svc.cluster.local")
    assert made["spec"] == {"type": "ExternalName", "externalName": "gateway.stoker-system.svc.cluster.local"}
    assert (made["metadata"]["name"], made["metadata"]["ownerReferences"][0]["uid"]) == ("f", "uid-1")


def test_only_agents_and_named_scrapers_reach_the_replicas_of_every_living_revision() -> None:
    function, older = one({"port": 9000, "metricsPort": 9100}), one({"port": 8000})
    policy = network_policy(
        function, system_namespace="stoker-system", metrics_namespaces=["b", "a", "a"], older=[older]
    )["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"]["matchLabels"] == {cluster.L_FUNCTION: "f", cluster.L_ROLE: "replica"}
    agents, scrapers = policy["ingress"]
    assert [port["port"] for port in agents["ports"]] == [8000, 9000]
    assert agents["from"][0]["podSelector"]["matchLabels"][cluster.L_COMPONENT] == "node"
    assert look_up(agents, "from.0.namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name") == "stoker-system"
    assert [port["port"] for port in scrapers["ports"]] == [9100]
    assert len(scrapers["from"]) == 2
    assert len(network_policy(function, system_namespace="s")["spec"]["ingress"]) == 1


def test_a_revision_keeps_the_spec_and_the_templates() -> None:
    document = document_of(spec={"cpuVariant": {}})
    function = decoded(document)
    templates = {variant: build_pod(function, variant, params()) for variant in function.variants}
    kept = controller_revision(function, document["spec"], templates)
    assert kept["metadata"]["name"] == revision_name(function) == f"f-{function.revision}"
    assert kept["data"] == {
        "spec": document["spec"],
        "pods": {"gpu": templates[Variant.GPU], "cpu": templates[Variant.CPU]},
    }
    again = decoded({**document, "spec": kept["data"]["spec"]})
    assert again.revision == function.revision


def test_an_image_is_kept_on_a_node_by_a_pod_that_mounts_it() -> None:
    function = one({"imagePullSecrets": [{"name": "pull"}]})
    pod = prefetch_pod(function, "registry.example/w:1", "node-a", params())
    spec = pod["spec"]
    assert spec["containers"][0]["volumeMounts"] == [{"name": "image", "mountPath": "/image", "readOnly": True}]
    assert spec["volumes"][0]["image"]["reference"] == pod["metadata"]["annotations"][A_IMAGE] == "registry.example/w:1"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert "schedulerName" not in spec
    assert "nodeName" not in spec
    term = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.0.matchFields.0"
    assert look_up(spec, term) == {"key": "metadata.name", "operator": "In", "values": ["node-a"]}
    assert pod["metadata"]["labels"][cluster.L_ROLE] == cluster.ROLE_PREFETCH
    assert forbidden(pod) is None
    names = {prefetch_name(function, image, node) for image in ("a", "b") for node in ("n", "m")}
    assert len(names) == 4
    assert all(len(name) <= 63 for name in names)
