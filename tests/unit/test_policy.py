"""The GpuPolicy: what a profile stands for, which entry counts for a namespace, where a pod goes, what does not act."""

from typing import Any

import pytest

from stoker.errors import InvalidObject
from stoker.model.function import KeepAlivePolicy, PreWarmPolicy, Priority, Variant
from stoker.model.mode import Mode
from stoker.model.policy import PROFILES, AdmissionMode, NamespaceRule, PodSecurity, Policy, Toleration, default_policy
from stoker.policies.allocation.registry import ALLOCATION
from stoker.testing.builders import make_function
from stoker.wire.policy import decode_policy, default_policy_document

pytestmark = pytest.mark.unit

GPUS = "nvidia.com/gpu"


def policy(*, mode: Mode = Mode.KUBERNETES, **spec: Any) -> Policy:
    kind = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
    return decode_policy({**kind, "spec": spec}, mode=mode)


def test_an_empty_policy_the_document_of_the_operator_and_the_default_are_one() -> None:
    assert policy() == default_policy() == decode_policy(default_policy_document(), mode=Mode.KUBERNETES)


def test_a_named_policy_counts_instead_of_the_profile_s() -> None:
    chosen = policy(queueing="edf", preWarm={"policy": "Histogram"})
    assert (chosen.queueing, chosen.pre_warm) == ("edf", PreWarmPolicy.HISTOGRAM)
    assert (chosen.allocation, chosen.keep_alive) == ("greedy-dual", KeepAlivePolicy.FIXED_TTL)


def test_every_part_of_a_profile_counts_until_another_is_named() -> None:
    fair = policy(profile="FairShare")
    assert (fair.queueing, fair.allocation) == ("mqfq-sticky", "fair")
    assert policy(profile="FairShare", allocation="lru").allocation == "lru"
    assert policy(keepAlive={"policy": "SkiRental"}).keep_alive is KeepAlivePolicy.SKI_RENTAL


def test_admission_and_device_choice_are_the_profile_s_until_named() -> None:
    assert (default_policy().admission_policy, default_policy().device_choice) == ("schedule-based", "slack")
    throughput = policy(profile="Throughput")
    assert (throughput.admission_policy, throughput.device_choice) == ("utilisation-threshold", "speed-up")
    named = policy(profile="Throughput", admission={"policy": "none"}, deviceChoice="landlord")
    assert (named.admission_policy, named.device_choice) == ("none", "landlord")
    assert named.admission is AdmissionMode.ENFORCE


@pytest.mark.parametrize("name", sorted(set(ALLOCATION) - {"greedy-dual"}))
def test_a_keep_alive_that_has_an_order_tells_where_another_one_says_who_gives_way(name: str) -> None:
    (warning,) = policy(allocation=name, keepAlive={"policy": "GreedyDual"}).warnings
    assert warning.endswith(f"spec.allocation does, which is {name}.")
    assert not policy(allocation=name, keepAlive={"policy": "SkiRental"}).warnings
    assert not policy(keepAlive={"policy": "GreedyDual"}).warnings


def test_switches_are_what_they_say() -> None:
    chosen = policy(admission={"mode": "Observe"}, memoryEnforcement="Observe", prefetch={"nodesPerFunction": 0})
    assert chosen.admission is AdmissionMode.OBSERVE
    assert chosen.waive_memory_enforcement
    assert chosen.prefetch_nodes == 0
    assert not default_policy().waive_memory_enforcement


def test_the_longest_keep_alive_is_a_duration_or_none() -> None:
    assert policy(keepAlive={"maxTtl": "1m"}).keep_alive_max_us == 60_000_000
    assert policy(keepAlive={"maxTtl": "0s"}).keep_alive_max_us == 0
    assert policy().keep_alive_max_us is None


RULES = [
    {"name": "*", "weight": 2, "maxPriority": "Standard", "maxGpus": 8, "hostnameSuffixes": ["example.org"]},
    {"name": "a", "maxPriority": "Critical", "podSecurity": "Baseline", "hostnameSuffixes": []},
    {"name": "b", "maxGpus": 0, "maxCostPerHour": 2, "crossTenantSharing": True, "allowedLabelPrefixes": ["team-"]},
]


def test_what_an_entry_leaves_out_is_taken_from_the_one_for_all() -> None:
    chosen = policy(namespaces=RULES)
    assert chosen.rule("a") == NamespaceRule(
        weight=2, max_priority=Priority.CRITICAL, max_gpus=8, pod_security=PodSecurity.BASELINE
    )
    assert chosen.rule("b") == NamespaceRule(
        weight=2,
        max_priority=Priority.STANDARD,
        max_gpus=0,
        max_cost_per_hour=2,
        cross_tenant=True,
        hostname_suffixes=("example.org",),
        label_prefixes=("team-",),
    )
    assert chosen.rule("nobody-named-it").max_gpus == 8
    assert policy().rule("any") == NamespaceRule()
    assert chosen.cross_tenant(("a", "b", "c")) == {"b"}
    assert policy(namespaces=[{"name": "*", "crossTenantSharing": True}]).cross_tenant(("x",)) == {"x"}


@pytest.mark.parametrize("key", ["stoker.dev/role", "x.stoker.dev/a", "app.kubernetes.io/name", "k8s.io/x"])
def test_reserved_labels_never_reach_a_pod(key: str) -> None:
    assert not NamespaceRule(label_prefixes=("s", "x", "app", "k8s.io/")).allows_label(key)


def test_a_label_reaches_a_pod_by_its_prefix_only() -> None:
    rule = NamespaceRule(label_prefixes=("team-", "example.org/"))
    assert rule.allows_label("team-a")
    assert rule.allows_label("example.org/cost")
    assert not rule.allows_label("other")
    assert rule.allows_label("team-notstoker.dev/x")
    assert not NamespaceRule().allows_label("other")


def test_a_pod_goes_to_the_first_pool_that_takes_it() -> None:
    chosen = policy(
        pools=[
            {"name": "mine", "namespaces": ["a"], "variants": ["gpu"], "resourceNames": [GPUS]},
            {"name": "gpus", "variants": ["gpu"], "tolerations": [{"key": GPUS, "operator": "Exists"}]},
            {"name": "cores", "namespaces": ["a", "b"], "variants": ["cpu"], "nodeSelector": {"tier": "cpu"}},
        ]
    )

    def name(namespace: str, variant: Variant, resource: str | None) -> str | None:
        pool = chosen.pool(namespace, variant, resource)
        return None if pool is None else pool.name

    assert name("a", Variant.GPU, GPUS) == "mine"
    assert name("a", Variant.GPU, "nvidia.com/mig-1g.10gb") == "gpus"
    assert name("b", Variant.GPU, GPUS) == "gpus"
    assert name("b", Variant.CPU, None) == "cores"
    assert name("c", Variant.CPU, None) is None
    assert chosen.pools[1].tolerations == (Toleration(key=GPUS, operator="Exists"),)
    assert chosen.pools[2].node_selector == {"tier": "cpu"}


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"queueing": "lifo"}, "spec.queueing", "Invalid enum value"),
        ({"profile": "Cheapest"}, "spec.profile", "Invalid enum value"),
        ({"admission": {"policy": "by-luck"}}, "spec.admission.policy", "Invalid enum value"),
        ({"deviceChoice": "coin"}, "spec.deviceChoice", "Invalid enum value"),
        ({"more": 1}, "spec", "unknown field more"),
        ({"namespaces": [{"name": "a"}, {"name": "a"}]}, "spec.namespaces", "must not name anything twice"),
        ({"pools": [{"name": "p", "nodeSelector": {"a b": "c"}}]}, "spec.pools[0].nodeSelector", "must be a label key"),
        ({"pools": [{"name": "p", "tolerations": [{}]}]}, "spec.pools[0].tolerations[0].operator", "must be Exists"),
        ({"keepAlive": {"maxTtl": "soon"}}, "spec.keepAlive.maxTtl", "is not a duration"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(spec: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(InvalidObject) as caught:
        policy(**spec)
    assert caught.value.path == path
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"memoryEnforcement": "Observe"}, "memoryEnforcement"),
        ({"prefetch": {"nodesPerFunction": 2}}, "prefetch"),
        ({"pools": [{"name": "p"}]}, "pools"),
        ({"namespaces": [{"name": "a", "podSecurity": "Baseline", "allowedLabelPrefixes": ["x"]}]}, "namespaces[].pod"),
        ({"namespaces": [{"name": "*", "hostnameSuffixes": ["example.org"]}]}, "namespaces[].podSecurity"),
        ({"namespaces": [{"name": "a", "maxCostPerHour": 2}]}, "namespaces[].maxCostPerHour"),
        ({"namespaces": [{"name": "a", "weight": 2}]}, "namespaces[].weight"),
    ],
)
def test_each_field_that_does_not_act_embedded_is_told_in_one_sentence(spec: dict[str, Any], field: str) -> None:
    (warning,) = policy(mode=Mode.EMBEDDED, **spec).warnings
    assert warning.startswith(f"spec.{field}")
    assert warning.endswith(".")


def test_prices_act_and_with_them_the_bounds_of_namespaces() -> None:
    prices = [{"product": "cpu", "perHour": 1}]
    for mode in Mode:
        assert policy(mode=mode, prices=prices, namespaces=[{"name": "a", "maxCostPerHour": 2}]).warnings == ()


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"namespaces": [{"name": "a", "weight": 2}]}, "namespaces[].weight"),
        ({"namespaces": [{"name": "*", "maxCostPerHour": 2}, {"name": "a"}]}, "namespaces[].maxCostPerHour"),
    ],
)
def test_each_field_that_does_not_act_in_a_cluster_is_told_in_one_sentence(spec: dict[str, Any], field: str) -> None:
    (warning,) = policy(**spec).warnings
    assert warning.startswith(f"spec.{field}")
    assert warning.endswith(".")


ADMITS = "which requests are taken under contention"
ORDER = "the order of requests"
NONE = "(spec.admission is none)"
TURNS = "turns on devices"
LRU = "(spec.allocation is lru)"


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ({"queueing": "mqfq", "allocation": "fair"}, ""),
        (
            {"queueing": "cfs-affinity", "allocation": "greedy-dual"},
            f"acts on {ADMITS} and {ORDER}, and not on turns on devices (spec.allocation is greedy-dual).",
        ),
        (
            {"queueing": "fcfs", "allocation": "fair", "admission": {"policy": "none"}},
            f"acts on turns on devices, and not on {ADMITS} {NONE} or {ORDER} (spec.queueing is fcfs).",
        ),
        (
            {"queueing": "mqfq", "allocation": "fair", "admission": {"mode": "Observe"}},
            f"acts on {ORDER} and turns on devices, and not on {ADMITS} (spec.admission is mode: Observe).",
        ),
        (
            {"queueing": "rrc", "allocation": "lru", "admission": {"policy": "none"}},
            f"does not act: not on {ADMITS} {NONE}, {ORDER} (spec.queueing is rrc) or {TURNS} {LRU}.",
        ),
    ],
)
def test_where_the_weight_of_a_namespace_acts_depends_on_the_policies(
    mode: Mode, policies: dict[str, Any], words: str
) -> None:
    weighed = policy(mode=mode, **policies, namespaces=[{"name": "a", "weight": 2}])
    assert weighed.warnings == ((f"spec.namespaces[].weight {words}",) if words else ())
    alike = policy(mode=mode, **policies, namespaces=[{"name": "a", "weight": 1}])
    assert not alike.warnings


def test_requests_have_no_higher_priority_than_their_namespace_may() -> None:
    bounds = [{"name": "*", "maxPriority": "Standard"}, {"name": "low", "maxPriority": "Batch"}, {"name": "high"}]
    chosen = policy(namespaces=[*bounds[:2], {**bounds[2], "maxPriority": "Critical"}])

    def priority(namespace: str, asked: Priority) -> Priority:
        return chosen.bounded(make_function(namespace=namespace, priority=asked))

    assert [priority("any", asked) for asked in Priority] == [Priority.BATCH, Priority.STANDARD, Priority.STANDARD]
    assert {priority("low", asked) for asked in Priority} == {Priority.BATCH}
    assert [priority("high", asked) for asked in Priority] == list(Priority)
    assert default_policy().bounded(make_function(priority=Priority.CRITICAL)) is Priority.CRITICAL


def test_gpus_are_bounded_where_a_bound_is_named() -> None:
    chosen = policy(namespaces=[{"name": "*", "maxGpus": 8}, {"name": "a", "maxGpus": 0}])
    assert chosen.max_gpus(["b", "a"]) == {"a": 0, "b": 8}
    assert default_policy().max_gpus(["a"]) == {}


def test_weights_are_told_of_the_namespaces_that_do_not_weigh_one() -> None:
    chosen = policy(namespaces=[{"name": "*", "weight": 2}, {"name": "a", "weight": 1}, {"name": "b", "weight": 5}])
    assert chosen.weights(["c", "b", "a"]) == {"b": 5, "c": 2}
    assert default_policy().weights(["a"]) == {}


def test_what_acts_in_a_cluster_is_not_warned_about() -> None:
    assert not policy(
        profile="LatencyFirst",
        queueing="edf",
        admission={"mode": "Observe"},
        keepAlive={"maxTtl": "1m"},
        preWarm={"policy": "Histogram"},
        memoryEnforcement="Observe",
        prefetch={"nodesPerFunction": 2},
        pools=[{"name": "p"}],
        namespaces=[{"name": "*", "weight": 1, "maxGpus": 8}, {"name": "a", "podSecurity": "Baseline"}],
    ).warnings


def test_what_acts_embedded_is_not_warned_about() -> None:
    assert not policy(
        mode=Mode.EMBEDDED,
        profile="LatencyFirst",
        queueing="edf",
        allocation="greedy-dual",
        admission={"policy": "utilisation-threshold", "mode": "Observe"},
        deviceChoice="landlord",
        keepAlive={"maxTtl": "1m"},
        preWarm={"policy": "Histogram"},
        namespaces=[{"name": "*", "maxPriority": "Standard"}, {"name": "a", "maxGpus": 1}],
    ).warnings


def test_the_profile_for_fair_shares_queues_by_mqfq_sticky() -> None:
    assert PROFILES["FairShare"].queueing == "mqfq-sticky"
