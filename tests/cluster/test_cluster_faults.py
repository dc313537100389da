"""Parts of Stoker and of a node end while requests are under way. What was accepted is answered, and all heals.

"Accepted" is per part: the operator, the scheduler and a kubelet take no requests, so every held one is answered. A
gateway and an agent that are ended in order finish theirs. An agent that dies takes what it had dispatched with it:
such a request is done again where its function is idempotent.
"""

import time

import pytest
from cluster_of_ours import ClusterOfOurs
from cluster_under_test import ClusterUnderTest, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]

SLOW_START = {"START_DELAY_MS": "3000"}


def test_a_request_held_for_a_cold_start_survives_the_end_of_the_leading_operator(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "held", env=SLOW_START)
    cluster.apply(namespace, "later")
    for name in ("held", "later"):
        cluster.wait_ready(namespace, name)
    leader = cluster.leader()
    call = cluster.begin(namespace, "held")
    time.sleep(0.3)
    cluster.kill(leader)
    woken_meanwhile = cluster.begin(namespace, "later")
    for answer in (call.result(timeout=90), woken_meanwhile.result(timeout=90)):
        assert answer.status == 200, answer.text
    pods = cluster.replica_pods(namespace, "held")
    assert len(pods) <= 1, "the next leader found the pod that the first one made"
    assert cluster.leader().metadata.uid != leader.metadata.uid
    cluster.wait_whole()


def test_a_request_held_for_a_cold_start_survives_the_end_of_the_scheduler(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "held")
    cluster.wait_ready(namespace, "held")
    for pod in cluster.component_pods("scheduler"):
        cluster.kill(pod)
    answer = cluster.call(namespace, "held")
    assert answer.status == 200, answer.text
    cluster.wait_whole()


def test_a_gateway_that_is_ended_in_order_finishes_what_it_has_and_no_caller_notices(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "steady", scaling={"minReplicas": 1, "maxReplicas": 2, "concurrency": 8})
    cluster.wait_warm(namespace, "steady", 1)
    with cluster.calling(namespace, "steady", "/?sleep_ms=200", at_once=4) as answers:
        long = [cluster.begin(namespace, "steady", "/?sleep_ms=4000") for _ in range(4)]
        time.sleep(0.5)
        cluster.kill(cluster.component_pods("gateway")[0], grace_s=None)
        assert {call.result(timeout=30).status for call in long} == {200}
        time.sleep(6)
    failed = [answer for answer in answers if answer.status != 200]
    assert not failed, failed[:3]
    cluster.wait_whole()


def test_an_agent_that_is_ended_in_order_finishes_what_it_has_and_its_next_takes_over(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "steady", scaling={"minReplicas": 1, "maxReplicas": 1, "concurrency": 4})
    cluster.wait_warm(namespace, "steady", 1)
    (pod,) = cluster.replica_pods(namespace)
    long = cluster.begin(namespace, "steady", "/?sleep_ms=4000")
    time.sleep(0.5)
    cluster.kill(cluster.component_on("node", pod.spec.node_name), grace_s=None)
    assert long.result(timeout=30).status == 200
    after = cluster.call(namespace, "steady")
    assert (after.status, after.pod) == (200, pod.metadata.name), "the replica outlives the agent"
    cluster.wait_whole()


def test_an_agent_that_dies_loses_no_request_of_an_idempotent_function(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "again", scaling={"minReplicas": 1, "maxReplicas": 1, "concurrency": 4}, idempotent=True)
    cluster.wait_warm(namespace, "again", 1)
    (pod,) = cluster.replica_pods(namespace)
    calls = [cluster.begin(namespace, "again", "/?sleep_ms=3000") for _ in range(3)]
    time.sleep(0.5)
    cluster.kill(cluster.component_on("node", pod.spec.node_name))
    answers = [call.result(timeout=90) for call in calls]
    assert {answer.status for answer in answers} == {200}, [answer.text for answer in answers]
    cluster.wait_whole()


def test_a_replica_that_dies_is_replaced(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "dies", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.wait_warm(namespace, "dies", 1)
    assert cluster.call(namespace, "dies", "/?exit=3").status == 502

    def served() -> bool:
        return cluster.call(namespace, "dies").status == 200

    wait_until("another replica serves", served, 60)


def test_a_pod_that_somebody_deletes_finishes_its_requests_and_comes_back(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "deleted", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.wait_warm(namespace, "deleted", 1)
    (pod,) = cluster.replica_pods(namespace)
    with cluster.calling(namespace, "deleted", at_once=1) as answers:
        time.sleep(0.5)
        cluster.core.delete_namespaced_pod(pod.metadata.name, namespace)

        def renewed() -> bool:
            return [each.metadata.uid for each in cluster.replica_pods(namespace)] not in ([], [pod.metadata.uid])

        wait_until("another pod stands in its place", renewed, 40)
        time.sleep(2)
    assert sum(answer.status != 200 for answer in answers) <= 1, [a for a in answers if a.status != 200][:3]
    assert answers[-1].status == 200


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_node_whose_kubelet_stands_still_goes_on_serving_and_new_replicas_go_elsewhere(
    cluster: ClusterUnderTest, namespace: str, ours: ClusterOfOurs
) -> None:
    cluster.apply(namespace, "warm", scaling={"minReplicas": 1, "maxReplicas": 1})
    cluster.apply(namespace, "cold", scaling={"maxReplicas": 1})
    cluster.wait_warm(namespace, "warm", 1)
    cluster.wait_ready(namespace, "cold")
    (pod,) = cluster.replica_pods(namespace, "warm")
    node = pod.spec.node_name
    ours.stop("kubelet", node)
    try:
        with cluster.calling(namespace, "warm", at_once=1) as answers:

            def told() -> bool:
                found = cluster.node(node)["conditions"]
                return any(each["type"] == "Ready" and each["status"] == "False" for each in found)

            wait_until("its FunctionNode says that the kubelet is away", told, 40, lambda: cluster.node(node))
            answer = cluster.call(namespace, "cold", timeout_s=70)
        assert {each.status for each in answers} == {200}
        assert answer.status == 200, answer.text
        assert cluster.node_of(namespace, answer.pod) != node
    finally:
        ours.begin("kubelet", node)
        cluster.disturbed(node)
    cluster.wait_whole(90)
    assert [each.metadata.uid for each in cluster.replica_pods(namespace, "warm")] == [pod.metadata.uid]
