"""Who gets which GPU: shared, fought for, unfit, sick, or none, on a real cluster with simulated GPUs."""

import time

import pytest
from cluster_under_test import Answer, ClusterUnderTest, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

SHARED = {"memory": "4Gi", "sharing": "Shared"}
NONE = ("gpus=0",)
RARE = {"keepAlive": {"policy": "FixedTTL", "ttl": "5m"}, "maxReplicas": 1}


def test_two_functions_on_one_time_sliced_gpu_run_in_the_order_of_their_slack(
    as_is: ClusterUnderTest, namespace: str
) -> None:
    as_is.arrange({as_is.first: ("gpus=1", "shares=4"), as_is.second: NONE})
    kept = {"minReplicas": 1, "maxReplicas": 1}
    as_is.apply(namespace, "patient", gpu=SHARED, scaling=kept, slo={"latency": "30s"})
    as_is.apply(namespace, "urgent", gpu=SHARED, scaling=kept, slo={"latency": "3s"})
    for name in ("patient", "urgent"):
        as_is.wait_warm(namespace, name, 1)
    first = [as_is.call(namespace, name) for name in ("patient", "urgent")]
    assert len({answer.headers["stoker-device"] for answer in first}) == 1, "both are on the one GPU"
    running = as_is.begin(namespace, "patient", "/?sleep_ms=1500")
    time.sleep(0.4)
    waiting = [as_is.begin(namespace, "patient", "/?sleep_ms=300") for _ in range(3)]
    time.sleep(0.4)
    urgent = as_is.begin(namespace, "urgent", "/?sleep_ms=300").result(timeout=30)
    late = [call.result(timeout=30) for call in waiting]
    assert {answer.status for answer in (running.result(timeout=30), urgent, *late)} == {200}
    assert running.result().ended_s < urgent.ended_s, "what runs is not interrupted"
    assert all(urgent.ended_s < answer.ended_s for answer in late), "it came last and had the least slack"


def test_three_exclusive_functions_take_turns_on_two_gpus(as_is: ClusterUnderTest, namespace: str) -> None:
    as_is.arrange({as_is.first: (), as_is.second: NONE})
    names = ("one", "two", "three")
    for name in names:
        as_is.apply(namespace, name, scaling=RARE)
        as_is.wait_ready(namespace, name)
    answers = [as_is.call(namespace, name) for name in (*names, *names)]
    assert [answer.status for answer in answers] == [200] * 6, [answer.text for answer in answers]
    assert len({answer.headers["stoker-device"] for answer in answers}) == 2
    assert len(as_is.replica_pods(namespace)) <= 3, "two hold a GPU, one may be going"


def test_under_constant_backlog_every_function_gets_a_turn(as_is: ClusterUnderTest, namespace: str) -> None:
    as_is.arrange({as_is.first: (), as_is.second: NONE})
    names = ("one", "two", "three")
    for name in names:
        as_is.apply(namespace, name, scaling=RARE)
        as_is.wait_ready(namespace, name)
    served: dict[str, list[Answer]] = {}
    with (
        as_is.calling(namespace, "one", "/?sleep_ms=300") as served["one"],
        as_is.calling(namespace, "two", "/?sleep_ms=300") as served["two"],
    ):
        time.sleep(3)
        waited = as_is.call(namespace, "three", "/?sleep_ms=300", timeout_s=60)
        time.sleep(15)
    assert waited.status == 200
    for name, answers in served.items():
        assert {answer.status for answer in answers} == {200}, (name, [a for a in answers if a.status != 200][:2])


def test_a_request_that_the_gpu_would_answer_too_late_is_diverted_to_a_node_without_gpus(
    as_is: ClusterUnderTest, namespace: str
) -> None:
    as_is.arrange({as_is.first: (), as_is.second: NONE})
    as_is.apply(
        namespace,
        "divert",
        scaling={"maxReplicas": 1, "minReplicas": 1},
        slo={"latency": "1500ms"},
        cpuVariant={"resources": {"cpu": "20m", "memory": "64Mi"}, "maxReplicas": 1},
        onPredictedMiss=["Divert", "ServeLate"],
    )
    as_is.wait_warm(namespace, "divert", 1)
    as_is.core.patch_node(as_is.first, {"spec": {"unschedulable": True}})
    try:
        for _ in range(3):
            assert as_is.call(namespace, "divert", "/?sleep_ms=1000").status == 200

        def diverted() -> Answer | None:
            calls = [as_is.begin(namespace, "divert", "/?sleep_ms=1000") for _ in range(3)]
            answers = [call.result(timeout=60) for call in calls]
            assert {answer.status for answer in answers} == {200}
            return next((each for each in answers if "gpu" not in each.headers["stoker-device"].lower()), None)

        answer = wait_until("a request is answered by the cpu variant", diverted, 40)
        assert as_is.node_of(namespace, answer.pod) == as_is.second
        assert as_is.node(as_is.second)["counts"]["gpus"] == 0
    finally:
        as_is.core.patch_node(as_is.first, {"spec": {"unschedulable": False}})


@pytest.mark.timeout(200)
def test_a_pod_that_the_kubelet_gave_an_unfit_gpu_is_replaced_by_one_with_the_fitting(
    as_is: ClusterUnderTest, namespace: str
) -> None:
    as_is.arrange({as_is.first: ("prefer=smallest", "0.memory=16Gi", "1.memory=80Gi"), as_is.second: NONE})
    as_is.apply(namespace, "large", gpu={"memory": "24Gi"}, scaling={"minReplicas": 1, "maxReplicas": 1})
    wait_until("it has a status", lambda: as_is.condition(namespace, "large"), 15)
    answer = as_is.call(namespace, "large")
    assert answer.status == 200, answer.text
    as_is.wait_warm(namespace, "large", 1, timeout_s=60)

    def one_left() -> bool:
        return len(as_is.replica_pods(namespace)) == 1

    wait_until("only the pod with the fitting GPU is left", one_left, 60)
    (pod,) = as_is.replica_pods(namespace)
    time.sleep(10)
    assert [each.metadata.uid for each in as_is.replica_pods(namespace)] == [pod.metadata.uid], "it stays: no livelock"
    uuid = next(uuid for uuid, memory_mib in as_is.gpu_facts(as_is.first).items() if memory_mib == 80 * 1024)
    assert uuid in as_is.call(namespace, "large").headers["stoker-device"]


def test_a_gpu_that_falls_ill_while_serving_is_quarantined_and_its_function_goes_on_elsewhere(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "ill", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.wait_warm(namespace, "ill", 1)
    first = cluster.call(namespace, "ill")
    node = cluster.node_of(namespace, first.pod)
    sick = first.headers["stoker-device"].split("/")[1].split()[0]
    index = list(cluster.gpu_facts(node)).index(sick)
    cluster.disturbed(node)
    running = cluster.begin(namespace, "ill", "/?sleep_ms=2000")
    time.sleep(0.3)
    cluster.gpus(node, "xid", str(index), "79")

    def quarantined() -> bool:
        device = next(each for each in cluster.node(node)["devices"] if each["id"] == sick)
        return not device["healthy"] and device["reason"] != ""

    wait_until("its FunctionNode says so", quarantined, 30, lambda: cluster.node(node))
    assert running.result(timeout=30).status == 200, "what ran ended well"

    def elsewhere() -> bool:
        answer = cluster.call(namespace, "ill")
        assert answer.status == 200, answer.text
        return sick not in answer.headers["stoker-device"]

    wait_until("another GPU serves it", elsewhere, 60)
