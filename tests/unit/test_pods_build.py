"""What the one builder puts into a pod, field by field."""

from typing import Any

import msgspec
import pytest
from pod_shapes import SERVERS, decoded, document_of, look_up, params, pod_of, server

from stoker.errors import InvalidObject
from stoker.model.container import EnvVar
from stoker.model.function import Function, GpuOption, Sharing, Variant
from stoker.model.policy import NamespaceRule, PodSecurity, Pool, Toleration
from stoker.pods.build import build_pod
from stoker.pods.scheduling import product_labels
from stoker.wire import cluster

pytestmark = pytest.mark.unit


def one(container: dict[str, Any] | None = None, **spec: Any) -> Function:
    return decoded(document_of(container=container, spec=spec))


def main(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def env(container: dict[str, Any]) -> dict[str, str | None]:
    return {item["name"]: item.get("value") for item in container["env"]}


def paths(container: dict[str, Any]) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_the_smallest_function_gets_a_restricted_pod() -> None:
    spec = pod_of(one())["spec"]
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    (container,) = spec["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert spec["restartPolicy"] == "Never"
    assert spec["schedulerName"] == "stoker-scheduler"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert paths(container) == {"/stoker/home": "stoker-home", "/tmp": "stoker-tmp"}
    absent = (
        "serviceAccountName",
        "initContainers",
        "hostname",
        "subdomain",
        "nodeName",
        "imagePullSecrets",
        "affinity",
    )
    assert [name for name in absent if name in spec] == []
    assert "readinessProbe" not in container


def test_a_baseline_namespace_lets_an_image_keep_its_own_user() -> None:
    spec = pod_of(one(), with_params=params(PodSecurity.BASELINE))["spec"]
    assert "runAsNonRoot" not in spec["securityContext"]
    context = spec["containers"][0]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert "ALL" not in context["capabilities"]["drop"]
    assert {"MKNOD", "NET_RAW"} <= set(context["capabilities"]["drop"])


def test_the_users_environment_comes_after_stokers_and_never_over_it() -> None:
    container = main(pod_of(one({"env": [{"name": "URL", "value": "http://localhost:$(PORT)"}], "port": 9000})))
    names = [item["name"] for item in container["env"]]
    assert names == ["PORT", "LD_PRELOAD", "HOME", "URL"]
    assert env(container)["PORT"] == "9000"


def test_reserved_variables_are_left_out_whoever_made_the_spec() -> None:
    function = one(cpuVariant={})
    tricks = tuple(
        EnvVar(name=name, value="x")
        for name in ("LD_PRELOAD", "LD_AUDIT", "NVIDIA_VISIBLE_DEVICES", "PORT", "STOKER_X", "CUDA_MPS_LOG_DIRECTORY")
    )
    hostile = msgspec.structs.replace(function.spec.container, env=tricks)
    function = msgspec.structs.replace(function, spec=msgspec.structs.replace(function.spec, container=hostile))
    assert env(main(pod_of(function))) == {"PORT": "8080", "LD_PRELOAD": "", "HOME": "/stoker/home"}


def test_only_a_pod_with_a_gpu_leaves_the_visible_devices_to_the_device_plugin() -> None:
    function = one(cpuVariant={})
    assert "NVIDIA_VISIBLE_DEVICES" not in env(main(pod_of(function, Variant.GPU)))
    on_cpu = main(pod_of(function, Variant.CPU))
    assert env(on_cpu)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "limits" not in on_cpu["resources"]


def test_resources_are_asked_for_as_written() -> None:
    resources = main(pod_of(one({"resources": {"cpu": "1.5", "memory": "2Gi"}}, gpu={"memory": "1Gi", "count": 2})))
    assert resources["resources"] == {
        "requests": {"cpu": "1500m", "memory": "2048Mi", "nvidia.com/gpu": "2"},
        "limits": {"memory": "2048Mi", "nvidia.com/gpu": "2"},
    }
    bounded = main(pod_of(one(), with_params=params(ephemeral_storage_mib=1024)))["resources"]
    assert bounded["limits"]["ephemeral-storage"] == bounded["requests"]["ephemeral-storage"] == "1024Mi"


def test_scratch_space_gives_way_to_what_the_user_mounts_there() -> None:
    mounts = [{"name": "v", "mountPath": "/tmp/"}]
    pod = pod_of(one({"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], "mounts": mounts, "shm": "2Gi"}))
    assert paths(main(pod)) == {"/tmp": "v", "/stoker/home": "stoker-home", "/dev/shm": "stoker-shm"}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes["stoker-shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2048Mi"}
    assert volumes["v"] == {"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}


def test_artifacts_are_mounted_read_only_in_both_variants() -> None:
    artifacts = [{"claim": "c", "mountPath": "/a"}, {"image": "registry.example/w:1", "mountPath": "/b/"}]
    function = one(artifacts=artifacts, cpuVariant={})
    for variant in function.variants:
        pod = pod_of(function, variant)
        mounts = {mount["mountPath"]: mount for mount in main(pod)["volumeMounts"]}
        assert mounts["/a"]["readOnly"] is mounts["/b"]["readOnly"] is True
        assert pod["spec"]["volumes"][1]["image"] == {"reference": "registry.example/w:1", "pullPolicy": "IfNotPresent"}


def test_a_shared_device_is_waited_for_and_an_exclusive_one_or_none_is_not() -> None:
    function = one(gpu={"memory": "1Gi", "sharing": "Shared"}, cpuVariant={})
    (waiting,) = pod_of(function)["spec"]["initContainers"]
    assert waiting["name"] == cluster.WAIT_CONTAINER
    assert env(waiting)[cluster.E_GRANT_HOST] == params().grant_host
    assert env(waiting)[cluster.E_GRANT_PORT] == str(cluster.PORT_GRANT)
    assert look_up(waiting, "env.2.valueFrom.fieldRef.fieldPath") == "metadata.uid"
    assert env(waiting)["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert waiting["securityContext"]["runAsNonRoot"] is True
    assert "initContainers" not in pod_of(function, Variant.CPU)["spec"]
    assert "initContainers" not in pod_of(one())["spec"]


def test_probes_are_the_kubelets_only_where_liveness_is_asked_for_and_leave_time_to_start_and_work() -> None:
    timed = {"liveness": {"path": "/live"}, "startupTimeout": "62s", "terminationGracePeriod": "1500ms"}
    pod = pod_of(one(timed, timeout="90s"))
    container = main(pod)
    assert container["startupProbe"]["httpGet"] == {"path": "/live", "port": 8080}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 62
    assert container["livenessProbe"]["failureThreshold"] * container["livenessProbe"]["periodSeconds"] >= 90
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] == 2
    assert pod["spec"]["terminationGracePeriodSeconds"] == 92
    by_port = main(pod_of(one({"liveness": {"tcp": True}})))
    assert by_port["livenessProbe"]["tcpSocket"] == {"port": 8080}


def test_low_ports_are_opened_by_a_safe_sysctl() -> None:
    spec = pod_of(one({"port": 8080, "metricsPort": 81}))["spec"]
    assert spec["securityContext"]["sysctls"] == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "81"}]
    assert spec["containers"][0]["ports"][1] == {"name": "metrics", "containerPort": 81}


def test_products_become_a_node_affinity_over_all_kinds_and_any_kind_makes_none() -> None:
    kinds = [{"memory": "1Gi", "products": ["T4-16GB"]}, {"memory": "1Gi", "products": ["L4"]}]
    term = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.0"
    expression = look_up(pod_of(one(gpu={"anyOf": kinds})), f"{term}.matchExpressions.0")
    assert expression["key"] == "nvidia.com/gpu.product"
    assert {"T4-16GB", "Tesla-T4", "NVIDIA-L4", "L4"} <= set(expression["values"])
    assert not any(value.endswith("-SHARED") for value in expression["values"])
    assert "affinity" not in pod_of(one(gpu={"anyOf": [*kinds, {"memory": "1Gi"}]}))["spec"]
    no_discovery = params(product_label=None)
    assert "affinity" not in pod_of(one(gpu={"anyOf": kinds}), with_params=no_discovery)["spec"]


def test_labels_of_a_shared_product_may_be_marked_and_none_is_longer_than_a_label() -> None:
    shared = GpuOption(memory_mib=1, products=("A100-SXM4-40GB", "x" * 60), sharing=Sharing.SHARED)
    labels = product_labels(shared)
    assert {"NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-SXM4-40GB-SHARED", "x" * 60} <= set(labels)
    assert max(len(label) for label in labels) <= 63


def test_only_kinds_with_the_first_ones_resource_count() -> None:
    kinds = [{"memory": "4Gi"}, {"memory": "5Gi", "resourceName": "nvidia.com/mig-1g.5gb"}, {"memory": "8Gi"}]
    pod = pod_of(one(gpu={"anyOf": kinds}))
    replica = msgspec.json.decode(pod["metadata"]["annotations"][cluster.A_REPLICA], type=cluster.PodReplica)
    assert [option.memory_mib for option in replica.options] == [4096, 8192]
    assert main(pod)["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_the_administrators_pool_decides_where_pods_go() -> None:
    pool = Pool(
        name="gpus",
        resource_names=("gpu.example/slice",),
        node_selector={"pool": "gpus"},
        tolerations=(Toleration(key="team", value="a", effect="NoExecute", toleration_seconds=0),),
        runtime_class="nvidia",
        priority_class="inference",
    )
    gpu = {"memory": "1Gi", "resourceName": "gpu.example/slice"}
    spec = pod_of(one(gpu=gpu), with_params=params(pool=pool))["spec"]
    assert spec["nodeSelector"] == {"pool": "gpus"}
    assert (spec["runtimeClassName"], spec["priorityClassName"]) == ("nvidia", "inference")
    assert spec["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Equal", "value": "a", "effect": "NoExecute", "tolerationSeconds": 0},
    ]
    with pytest.raises(InvalidObject, match="the administrator must name it"):
        pod_of(one(gpu=gpu))
    assert "tolerations" not in pod_of(one(cpuVariant={}), Variant.CPU)["spec"]


def test_labels_reach_the_pod_by_the_administrators_prefixes_only() -> None:
    document = document_of(
        metadata={"labels": {"team.example/a": "1", "other": "2"}, "annotations": {"team.example/b": "3"}}
    )
    template = build_pod(decoded(document), Variant.GPU, params(label_prefixes=("team.example/",)))
    labels = template["metadata"]["labels"]
    assert labels == {
        "team.example/a": "1",
        cluster.L_FUNCTION: "f",
        cluster.L_REVISION: decoded(document).revision,
        cluster.L_VARIANT: "gpu",
        cluster.L_ROLE: cluster.ROLE_REPLICA,
    }
    assert template["metadata"]["annotations"]["team.example/b"] == "3"


def test_a_labelled_account_is_used_without_its_token() -> None:
    spec = pod_of(one({"serviceAccountName": "runner"}))["spec"]
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("runner", False)


@pytest.mark.parametrize(
    ("function", "variant", "words"),
    [
        (one({"serviceAccountName": "admin"}), Variant.GPU, "is not labelled"),
        (one(), Variant.CPU, "has no cpu variant"),
        (decoded(document_of(metadata={"namespace": "stoker-system"})), Variant.GPU, "is Stoker's own"),
    ],
)
def test_what_the_administrator_does_not_allow_is_refused_with_a_sentence(
    function: Function, variant: Variant, words: str
) -> None:
    with pytest.raises(InvalidObject, match=words):
        build_pod(function, variant, params())


@pytest.mark.parametrize("file", SERVERS, ids=lambda file: file.stem)
def test_a_template_names_nothing_and_is_the_same_every_time(file: Any) -> None:
    function = decoded(server(file))
    for variant in function.variants:
        template = build_pod(function, variant, params())
        assert set(template) == {"metadata", "spec"}
        assert set(template["metadata"]) == {"labels", "annotations"}
        assert template == build_pod(function, variant, params())
        volumes = [volume["name"] for volume in template["spec"]["volumes"]]
        assert len(set(volumes)) == len(volumes)
        assert {mount["name"] for mount in main(template)["volumeMounts"]} <= set(volumes)


def test_the_default_rule_of_a_namespace_is_restricted() -> None:
    assert params(rule=NamespaceRule()).rule.pod_security is PodSecurity.RESTRICTED
