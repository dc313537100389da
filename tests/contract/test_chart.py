"""The chart on its own: what is made of other files, which values it takes, and what follows from them."""

import json
from typing import Any

import pytest
import yaml
from chart_renders import CHART, EVERYTHING, KUBERNETES, NAMESPACE, WORLDS, helm, objects, pods, rendered, try_render

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]

Values = dict[str, Any]


@pytest.fixture(params=WORLDS)
def values(request: pytest.FixtureRequest) -> Values:
    return WORLDS[request.param]


def test_what_is_made_of_other_files_is_as_they_say() -> None:
    """Copies of crds/, the schema of values, the table of docs/reference/chart.md."""
    from chart.sync import differing

    assert differing() == [], "run `PYTHONPATH=dev python -m chart`"


def test_helm_finds_no_fault(values: Values) -> None:
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), "--values", "-", given=json.dumps(values))
    assert done.returncode == 0, done.stdout + done.stderr


# Values.

REFUSED: dict[str, tuple[Values, str]] = {
    "misspelt at the top": ({"gatway": {}}, "gatway"),
    "misspelt in a component": ({"gateway": {"replica": 3}}, "replica"),
    "no replicas": ({"gateway": {"replicas": 0}}, "replicas"),
    "replicas as text": ({"operator": {"replicas": "two"}}, "replicas"),
    "a setting that the process does not know": ({"gateway": {"settings": {"STOKER_HOLD_REQUEST": 5}}}, "HOLD_REQUEST"),
    "a setting of another process": ({"operator": {"settings": {"STOKER_HOLD_REQUESTS": 5}}}, "STOKER_HOLD_REQUESTS"),
    "a setting out of range": ({"operator": {"settings": {"STOKER_SYNC_WORKERS": 65}}}, "STOKER_SYNC_WORKERS"),
    "a setting that the chart sets": ({"node": {"settings": {"STOKER_DRAIN_S": 5}}}, "STOKER_DRAIN_S"),
    "a port": ({"node": {"settings": {"STOKER_DATA_PORT": 5}}}, "STOKER_DATA_PORT"),
    "an unknown level": ({"logLevel": "trace"}, "logLevel"),
    "an unknown pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    "a digest that is none": ({"images": {"stoker": {"digest": "abc"}}}, "digest"),
    "a pull secret by its bare name": ({"image": {"pullSecrets": ["pull"]}}, "pullSecrets"),
    "an unknown service type": ({"gateway": {"service": {"type": "ExternalName"}}}, "type"),
    "an unknown kind of hostnames": ({"gateway": {"hostnames": {"kind": "Route"}}}, "kind"),
    "HTTPRoutes without a Gateway": ({"gateway": {"hostnames": {"kind": "HTTPRoute"}}}, "parentGateway"),
    "a Gateway without its namespace": (
        {"gateway": {"hostnames": {"kind": "HTTPRoute", "parentGateway": "public"}}},
        "parentGateway",
    ),
    "a timeout without a unit": ({"scheduler": {"extenderTimeout": "500"}}, "extenderTimeout"),
    "a timeout as a number": ({"scheduler": {"extenderTimeout": 500}}, "extenderTimeout"),
    "a namespace that is none": ({"metricsNamespaces": ["*"]}, "metricsNamespaces"),
    "a name in capitals": ({"fullnameOverride": "Stoker"}, "fullnameOverride"),
    "a group's misspelt field": ({"node": {"groups": {"gpu": {"nodeselector": {}}}}}, "nodeselector"),
    "a group's bad name": ({"node": {"groups": {"GPU": {}}}}, "GPU"),
    "a label that is a number": ({"node": {"nodeSelector": {"gpu": 1}}}, "nodeSelector"),
    "simulated memory without a unit": ({"simulatedGpus": {"memory": "40"}}, "memory"),
    "no shares": ({"simulatedGpus": {"shares": 0}}, "shares"),
    "an unknown word of a simulated node": ({"simulatedGpus": {"nodes": {"node-a": {"gpu": 1}}}}, "gpu"),
    "bounds that do nothing": ({"admission": {"bounds": "Ignore"}}, "bounds"),
    "a relative folder": ({"node": {"kubeletPath": "var/lib/kubelet"}}, "kubeletPath"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_value_is_refused_by_its_name(case: str) -> None:
    wrong, name = REFUSED[case]
    done = try_render(wrong)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert name in done.stderr


def test_monitors_are_refused_in_one_sentence_where_their_kind_is_missing() -> None:
    for monitor, kind in (("podMonitor", "PodMonitor"), ("serviceMonitor", "ServiceMonitor")):
        done = try_render({"monitoring": {monitor: {"enabled": True}}})
        assert done.returncode != 0
        assert f"monitoring.{monitor}.enabled needs the kind {kind}, which this cluster does not know" in done.stderr


def test_an_account_that_is_not_made_must_be_named() -> None:
    done = try_render({"node": {"serviceAccount": {"create": False}}})
    assert "node.serviceAccount.name must name an account" in done.stderr


def test_clusters_that_are_too_old_are_refused() -> None:
    done = helm("template", "stoker", str(CHART), "--kube-version", "1.32.9")
    assert "kubeVersion: >=1.33.0-0" in done.stderr


# Names.


def test_names_follow_namespace_and_prefix_everywhere() -> None:
    """The admission policies are copies in which the names of the default are replaced."""
    text = rendered({"fullnameOverride": "fn", "scheduler": {"schedulerName": "gpus"}}, namespace="platform")
    for name in ("stoker-system", "stoker-operator", "stoker-gateway", "stoker-scheduler'"):
        assert name not in text, name
    # The agents' Leases have a name of their own.
    assert text.count("stoker-node") == text.count("stoker-node-")
    for account in ("fn-operator", "fn-node"):
        assert f"'system:serviceaccount:platform:{account}'" in text
    assert "values: [platform]" in text
    assert "schedulerName == 'gpus'" in text


def test_only_the_bounds_of_the_administrator_may_be_softened() -> None:
    actions = {
        each["metadata"]["name"]: each["spec"]["validationActions"]
        for each in objects({"admission": {"bounds": "Warn"}})
        if each["kind"] == "ValidatingAdmissionPolicyBinding"
    }
    assert actions.pop("gpufunctions.stoker.dev") == ["Warn"]
    assert actions
    assert all(each == ["Deny"] for each in actions.values())


def test_crds_are_those_of_the_repository_and_stay_when_the_release_goes() -> None:
    kept = {each["metadata"]["name"]: each for each in objects() if each["kind"] == "CustomResourceDefinition"}
    files = [yaml.safe_load(file.read_text()) for file in sorted((CHART.parents[1] / "crds").glob("*.yaml"))]
    assert {each["metadata"]["name"]: each["spec"] for each in files} == {
        name: each["spec"] for name, each in kept.items()
    }
    assert all(each["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for each in kept.values())
    loose = [each for each in objects({"crds": {"keep": False}}) if each["kind"] == "CustomResourceDefinition"]
    assert [each["metadata"].get("annotations") for each in loose] == [None] * len(kept)


def test_the_scheduler_follows_the_version_of_the_cluster_unless_told() -> None:
    def image(kube_version: str, values: Values) -> str:
        done = helm(
            "template", "stoker", str(CHART), "--kube-version", kube_version, "-f", "-", given=json.dumps(values)
        )
        documents = tuple(each for each in yaml.safe_load_all(done.stdout) if each)
        return str(dict(pods(documents))["stoker-scheduler"]["spec"]["containers"][1]["image"])

    assert image("v1.34.5-gke.1201", {}) == "registry.k8s.io/kube-scheduler:v1.34.5"
    assert image("1.33.0+k3s1", {}) == "registry.k8s.io/kube-scheduler:v1.33.0"
    own = {"scheduler": {"kubeScheduler": {"image": {"registry": "localhost", "tag": "1.37.2"}}}}
    assert image("1.37.2", own) == "localhost/kube-scheduler:1.37.2"


def test_a_changed_configuration_restarts_what_reads_it() -> None:
    def sums(values: Values) -> dict[str, str]:
        found = dict(pods(objects(values)))
        return {
            name: pod["metadata"]["annotations"]["checksum/config"]
            for name, pod in found.items()
            if "checksum/config" in pod["metadata"].get("annotations", {})
        }

    simulated = {"simulatedGpus": {"enabled": True}}
    before = sums(simulated)
    after = sums({"simulatedGpus": {"enabled": True, "nodes": {"a": {"gpus": 0}}}, "scheduler": {"ignorable": True}})
    assert before.keys() == {"stoker-scheduler", "stoker-simulated-gpus"}
    assert all(before[name] != after[name] for name in before)


def test_a_group_of_nodes_has_its_own_daemon_set_that_serves_the_same_service() -> None:
    documents = objects(EVERYTHING)
    found = dict(pods(documents))
    gpu, cpu = found["stoker-node-gpu"], found["stoker-node-cpu"]
    assert gpu["spec"]["runtimeClassName"] == "nvidia"
    assert gpu["spec"]["hostPID"] is True
    assert gpu["spec"]["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert not {"hostPID", "tolerations", "affinity", "runtimeClassName"} & cpu["spec"].keys()
    selectors = [each["spec"]["selector"]["matchLabels"] for each in documents if each["kind"] == "DaemonSet"]
    assert len({json.dumps(each, sort_keys=True) for each in selectors}) == len(selectors)
    service = next(
        each for each in documents if each["kind"] == "Service" and each["metadata"]["name"] == "stoker-node"
    )
    assert all(service["spec"]["selector"].items() <= pod["metadata"]["labels"].items() for pod in (gpu, cpu))
    assert service["spec"]["internalTrafficPolicy"] == "Local"


def test_budgets_are_made_only_where_there_is_more_than_one_replica() -> None:
    def budgets(values: Values) -> set[str]:
        return {each["metadata"]["name"] for each in objects(values) if each["kind"] == "PodDisruptionBudget"}

    assert budgets({}) == {"stoker-operator", "stoker-gateway"}
    assert budgets({"gateway": {"replicas": 1}, "operator": {"pdb": {"enabled": False}}}) == set()


def test_a_gateway_and_an_agent_get_the_time_that_they_take_to_end() -> None:
    found = dict(pods(objects({"gateway": {"drainSeconds": 100}, "node": {"drainSeconds": 7.5}})))
    assert found["stoker-gateway"]["spec"]["terminationGracePeriodSeconds"] == 5 + 100 + 10
    assert found["stoker-node"]["spec"]["terminationGracePeriodSeconds"] == 8 + 15


def test_no_role_has_a_wildcard_lists_secrets_or_writes_endpoints(values: Values) -> None:
    for each in objects(values):
        for rule in each.get("rules", ()) if each["kind"] in ("Role", "ClusterRole") else ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], each["metadata"]["name"]
            assert not {"endpoints", "endpointslices"} & set(rule["resources"])
            if "secrets" in rule["resources"]:
                assert each["kind"] == "Role"
                assert each["metadata"]["namespace"] == NAMESPACE
                assert rule["verbs"] == ["create"] or rule["resourceNames"]
                assert not {"list", "watch"} & set(rule["verbs"])
