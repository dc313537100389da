"""From apply to the answer and back to zero, updates included, on a real cluster."""

import time

import pytest
from cluster_under_test import ClusterUnderTest, wait_until

from stoker.reasons import Reason

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def test_an_applied_function_answers_under_its_url_from_a_pod_and_goes_back_to_zero(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(namespace, "hello")
    cluster.wait_ready(namespace, "hello", reason="ScaledToZero")
    status = cluster.status(namespace, "hello")
    assert status["url"] == f"http://hello.{namespace}.svc.cluster.local/"
    assert cluster.replica_pods(namespace) == []
    cluster.start_caller(namespace)
    code, body = cluster.call_from_pod(namespace, status["url"] + "x")
    assert code == 200, body
    again = cluster.call(namespace, "hello")
    assert (again.status, again.was_cold, again.headers["stoker-outcome"]) == (200, False, "served")
    cluster.wait_warm(namespace, "hello", 1)
    (pod,) = cluster.replica_pods(namespace)
    placed = cluster.status(namespace, "hello")["placements"]
    assert [each["node"] for each in placed] == [pod.spec.node_name]
    assert cluster.call_from_pod(namespace, "http://hello/")[0] == 421, "the bare name lacks its namespace"
    cluster.wait_warm(namespace, "hello", 0)
    wait_until("its pod is gone", lambda: not cluster.replica_pods(namespace), 20)
    assert cluster.condition(namespace, "hello")["reason"] == "ScaledToZero"
    assert cluster.condition(namespace, "hello", "Active")["status"] == "False"


def test_demand_makes_several_replicas_and_its_end_takes_all_of_them(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "wide", scaling={"maxReplicas": 3})
    cluster.wait_ready(namespace, "wide")
    calls = [cluster.begin(namespace, "wide", "/?sleep_ms=3000") for _ in range(6)]
    answers = [call.result(timeout=60) for call in calls]
    assert [answer.status for answer in answers] == [200] * 6, [answer.text for answer in answers]
    assert 2 <= len({answer.pod for answer in answers}) <= 3
    wait_until("all replicas are gone", lambda: not cluster.replica_pods(namespace), 40)


def test_every_pending_moment_has_a_reason(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "slow", env={"START_DELAY_MS": "3000"})
    wait_until("there is a status", lambda: cluster.condition(namespace, "slow"), 15)
    call = cluster.begin(namespace, "slow")
    seen: list[tuple[str, str]] = []
    while not call.done():
        ready = cluster.condition(namespace, "slow")
        assert ready["reason"] in set(Reason), ready
        assert ready["message"], ready
        if (ready["status"], ready["reason"]) not in seen:
            seen.append((ready["status"], ready["reason"]))
        time.sleep(0.1)
    assert call.result().status == 200
    assert seen[0] == ("True", "ScaledToZero")
    assert ("False", "Initialising") in seen or ("True", "Initialising") in seen, seen
    cluster.wait_ready(namespace, "slow", reason="Ready")


def test_what_no_device_can_hold_is_refused_and_says_so(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "huge", gpu={"memory": "500Gi"})

    def told() -> bool:
        return cluster.condition(namespace, "huge").get("reason") == "NoFittingDevice"

    wait_until("its condition says NoFittingDevice", told, 20, lambda: cluster.condition(namespace, "huge"))
    answer = cluster.call(namespace, "huge")
    assert (answer.status, answer.value["reason"]) == (503, "NoFittingDevice")
    assert cluster.replica_pods(namespace) == []


def test_an_update_replaces_all_replicas_without_a_failed_request(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "rolling", scaling={"minReplicas": 1, "maxReplicas": 2})
    cluster.wait_warm(namespace, "rolling", 1)
    before = cluster.status(namespace, "rolling")["revision"]["current"]
    with cluster.calling(namespace, "rolling", "/?sleep_ms=100") as answers:
        time.sleep(1)
        cluster.change(namespace, "rolling", container={"env": [{"name": "SHAPE", "value": "new"}]})

        def replaced() -> bool:
            pods = cluster.replica_pods(namespace)
            return bool(pods) and all(pod.metadata.labels["stoker.dev/revision"] != before for pod in pods)

        wait_until("only pods of the new revision are there", replaced, 60)
        time.sleep(1)
    failed = [answer for answer in answers if answer.status != 200]
    assert not failed, failed[:3]
    assert len({answer.pod for answer in answers}) >= 2

    def current() -> bool:
        revision = cluster.status(namespace, "rolling")["revision"]
        return revision["current"] != before and not revision.get("updating")

    wait_until("the new revision is current", current, 20, lambda: cluster.status(namespace, "rolling"))


def test_an_update_that_never_gets_ready_is_given_up_while_the_old_revision_serves(
    cluster: ClusterUnderTest, namespace: str
) -> None:
    cluster.apply(
        namespace,
        "stays",
        scaling={"minReplicas": 1, "maxReplicas": 2},
        rollout={"progressDeadline": "8s"},
    )
    cluster.wait_warm(namespace, "stays", 1)
    before = cluster.status(namespace, "stays")["revision"]["current"]
    with cluster.calling(namespace, "stays") as answers:
        cluster.change(namespace, "stays", container={"env": [{"name": "START_DELAY_MS", "value": "600000"}]})

        def stalled() -> bool:
            found = cluster.condition(namespace, "stays", "Stalled")
            return (found["status"], found["reason"]) == ("True", "RolloutFailed")

        wait_until("it is Stalled", stalled, 60, lambda: cluster.status(namespace, "stays"))
    assert {answer.status for answer in answers} == {200}
    assert cluster.status(namespace, "stays")["revision"]["current"] == before
    ready = cluster.condition(namespace, "stays")
    assert ready["status"] == "True", ready

    def only_old() -> bool:
        pods = cluster.replica_pods(namespace)
        return [pod.metadata.labels["stoker.dev/revision"] for pod in pods] == [before]

    wait_until("only the old revision's pod is left", only_old, 30)
