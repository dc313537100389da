"""Promises on a real cluster: refusals with tickets, device choice, live policies, cost, and parts that die."""

import time
from collections.abc import Iterator

import pytest
from cluster_of_ours import ClusterOfOurs
from cluster_promises import Promises, wait_for, when
from cluster_under_test import Answer, ClusterUnderTest, wait_until

from stoker.reasons import DeviceReason

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ONE = {"minReplicas": 1, "maxReplicas": 1, "concurrency": 1}
CPU = {"resources": {"cpu": "20m", "memory": "64Mi"}, "maxReplicas": 1}
WORK = "/?sleep_ms=300"
MANY = 16
"""Far more than end within the objective of 2 s, 300 ms each."""
SPARE_S = 0.15


@pytest.fixture
def promises(cluster: ClusterUnderTest, ours: ClusterOfOurs) -> Promises:
    """`ours` has a route to the pods."""
    return Promises(cluster)


def tight(cluster: ClusterUnderTest, namespace: str, name: str = "tight", **spec: object) -> None:
    """A function that refuses what would be late, warm, and known to take 300 ms."""
    spec = {"scaling": ONE, "slo": {"latency": "2s"}, "onPredictedMiss": ["Refuse"], "timeout": "10s", **spec}
    cluster.apply(namespace, name, **spec)
    cluster.wait_warm(namespace, name, 1)
    for _ in range(3):
        answer = cluster.call(namespace, name, WORK)
        assert answer.status == 200, answer.text


def with_ticket(answers: list[Answer]) -> list[Answer]:
    """Refusals that came with a place, the earliest first."""
    return sorted((each for each in answers if "stoker-ticket" in each.headers), key=when)


def test_a_refused_request_comes_back_with_its_ticket_by_another_gateway_and_is_served_once(
    cluster: ClusterUnderTest, promises: Promises, namespace: str
) -> None:
    tight(cluster, namespace)
    one, other = cluster.component_pods("gateway")[:2]
    answers = promises.burst(one, namespace, "tight", WORK, MANY)
    assert {answer.status for answer in answers} == {200, 429}, [answer.text for answer in answers]
    for answer in answers:
        if answer.status == 200:
            assert "latest=" in answer.headers["stoker-promised"]
            continue
        told_ms, told_s = int(answer.headers["stoker-retry-after-ms"]), int(answer.headers["retry-after"])
        assert told_ms > 0
        assert told_s == -(-told_ms // 1000)
        assert answer.value["reason"] in ("PredictedMiss", "OverShare")
    refused = next(each for each in with_ticket(answers) if when(each) > time.monotonic() + SPARE_S)
    ticket = {"Stoker-Ticket": refused.headers["stoker-ticket"]}
    wait_for(when(refused) + SPARE_S)
    crowd = cluster.submit(promises.burst, one, namespace, "tight", WORK, MANY)
    time.sleep(SPARE_S)
    redeeming = cluster.submit(promises.at, other, namespace, "tight", WORK, headers=ticket)
    time.sleep(SPARE_S)
    again = promises.at(one, namespace, "tight", WORK, headers=ticket)
    redeemed = redeeming.result(timeout=30)
    assert redeemed.status == 200, "the place was kept, whoever came before"
    assert again.status in (200, 429), "with a used ticket it is judged as any other: a run may have ended meanwhile"
    assert [promises.record(*each)["ticket"] for each in ((other, redeemed), (one, again))] == ["honoured", "used"]
    assert {answer.status for answer in crowd.result(timeout=30)} == {200, 429}
    assert promises.counted("gateway", "stoker_tickets_shown_total", namespace=namespace, outcome="honoured") == 1
    assert promises.counted("node", "stoker_admissions_total", namespace=namespace, verdict="PredictedMiss") > 0


def test_a_ticket_outlives_the_gateway_that_gave_it_and_not_its_agent_and_nobody_hangs(
    cluster: ClusterUnderTest, promises: Promises, namespace: str
) -> None:
    tight(cluster, namespace)
    giver, other = cluster.component_pods("gateway")[:2]
    tickets = with_ticket(promises.burst(giver, namespace, "tight", WORK, MANY))
    cluster.kill(giver)
    refused = next(each for each in tickets if when(each) > time.monotonic() + SPARE_S)
    wait_for(when(refused) + SPARE_S)
    ticket = {"Stoker-Ticket": refused.headers["stoker-ticket"]}
    redeemed = promises.at(other, namespace, "tight", WORK, headers=ticket)
    assert (redeemed.status, promises.record(other, redeemed)["ticket"]) == (200, "honoured")
    cluster.wait_whole()

    (pod,) = cluster.replica_pods(namespace)
    refused = with_ticket(promises.burst(other, namespace, "tight", WORK, MANY))[-1]
    crowd = [cluster.submit(promises.at, other, namespace, "tight", WORK) for _ in range(MANY)]
    time.sleep(SPARE_S)
    cluster.kill(cluster.component_on("node", pod.spec.node_name))
    ticket = {"Stoker-Ticket": refused.headers["stoker-ticket"]}
    late = [cluster.submit(promises.at, other, namespace, "tight", WORK, headers=ticket) for _ in range(MANY)]
    for answer in [call.result(timeout=60) for call in (*crowd, *late)]:
        assert answer.status in (200, 429, 502, 503, 504), answer.text
        assert answer.seconds < 10 + 1.5, "its timeout, and what a busy machine adds"
    outcomes = {promises.record(other, call.result())["ticket"] for call in late}
    assert outcomes <= {"agent_gone", "unknown"}, "the next agent knows no place of before"
    cluster.wait_whole()
    assert cluster.call(namespace, "tight", WORK).status == 200


def test_a_request_that_goes_to_a_cpu_says_so_in_its_answer_the_status_and_the_metrics(
    cluster: ClusterUnderTest, promises: Promises, namespace: str
) -> None:
    tight(cluster, namespace, cpuVariant=CPU, onPredictedMiss=["Divert", "Refuse"])
    (gateway, *_) = cluster.component_pods("gateway")

    def diverted() -> Answer | None:
        answers = promises.burst(gateway, namespace, "tight", WORK, 8)
        assert {answer.status for answer in answers} <= {200, 429}, [answer.text for answer in answers]
        taken = [each for each in answers if each.status == 200]
        assert {each.headers["stoker-device-reason"] for each in taken} <= {reason.value for reason in DeviceReason}
        return next((each for each in answers if "cpu" in each.headers["stoker-device"]), None)

    answer = wait_until("a request is answered by the cpu variant", diverted, 40)
    reason = answer.headers["stoker-device-reason"]
    assert reason in ("Chosen", "PredictedMiss", "OverShare")
    assert "latest=" in answer.headers["stoker-promised"], "there too it is promised"

    def told() -> bool:
        return bool(cluster.status(namespace, "tight").get("slo", {}).get("diverted", 0) > 0)

    wait_until("its status says how many went there", told, 30, lambda: cluster.status(namespace, "tight"))
    assert promises.counted("gateway", "stoker_requests_diverted_total", namespace=namespace, reason=reason) > 0


def test_a_changed_policy_acts_live_on_every_part_and_loses_no_request(
    cluster: ClusterUnderTest, promises: Promises, namespace: str
) -> None:
    tight(cluster, namespace)
    tight(cluster, namespace, "both", cpuVariant=CPU, onPredictedMiss=["Divert", "ServeLate"])
    (gateway, *_) = cluster.component_pods("gateway")
    system = {pod.metadata.uid for name in ("gateway", "node", "operator") for pod in cluster.component_pods(name)}

    def crowd() -> list[Answer]:
        return promises.burst(gateway, namespace, "tight", WORK, MANY)

    def is_estimated() -> bool:
        refusals = [each.value for each in crowd() if each.status == 429]
        return bool(refusals) and all(each.get("estimated", False) for each in refusals)

    def all_taken() -> bool:
        return {each.status for each in crowd()} == {200}

    def chosen_cpu() -> bool:
        answer = cluster.call(namespace, "both", WORK)
        assert answer.status == 200, answer.text
        return "cpu" in answer.headers["stoker-device"] and answer.headers["stoker-device-reason"] == "Chosen"

    with cluster.calling(namespace, "both", at_once=1) as answers:
        with promises.policy(queueing="mqfq-sticky"):
            wait_until("mqfq-sticky, which has no schedule, estimates", is_estimated, 20)
        with promises.policy(admission={"mode": "Observe"}):
            wait_until("Observe refuses nothing", all_taken, 30)
        observed = promises.counted(
            "node", "stoker_admissions_total", namespace=namespace, verdict="ObservedPredictedMiss"
        )
        assert observed > 0, "it counts what it would have refused"
        with promises.policy(deviceChoice="cpu-only"):
            wait_until("all go to the CPU", chosen_cpu, 30)
        with promises.policy(profile="Throughput"):
            wait_until("its utilisation threshold estimates", is_estimated, 20)
        wait_until("it is as before", lambda: not is_estimated(), 20)
    assert {answer.status for answer in answers} == {200}, [each.text for each in answers if each.status != 200][:3]
    after = {pod.metadata.uid for name in ("gateway", "node", "operator") for pod in cluster.component_pods(name)}
    assert after == system, "nothing was started anew"


@pytest.fixture
def priced(cluster: ClusterUnderTest, promises: Promises) -> Iterator[Promises]:
    """Each GPU costs 10 an hour, those of the second node 1000 by its label."""
    label = "stoker.dev/price-per-hour"
    cluster.core.patch_node(cluster.second, {"metadata": {"labels": {label: "1000"}}})
    try:
        with promises.policy(prices=[{"product": "A100", "perHour": 10}, {"product": "cpu", "perHour": 1}]):
            yield promises
    finally:
        cluster.core.patch_node(cluster.second, {"metadata": {"labels": {label: None}}})


def test_no_replica_is_had_beyond_a_cap_on_cost_and_the_condition_and_the_refusal_say_so(
    cluster: ClusterUnderTest, priced: Promises, namespace: str
) -> None:
    two = {"minReplicas": 2, "maxReplicas": 2}
    cluster.apply(namespace, "capped", slo={"latency": "2s", "maxCostPerHour": 15}, scaling=two)
    cluster.apply(namespace, "poor", slo={"latency": "2s", "maxCostPerHour": 0.001}, scaling=ONE)

    def bounds() -> list[object]:
        return [cluster.status(namespace, name).get("conditions") for name in ("capped", "poor")]

    def bound(name: str) -> bool:
        found = cluster.status(namespace, name).get("conditions", [])
        return any(each["reason"] == "CostBound" and "maxCostPerHour" in each["message"] for each in found)

    wait_until("conditions of both say CostBound", lambda: bound("capped") and bound("poor"), 40, bounds)
    cluster.wait_warm(namespace, "capped", 1)

    def charged() -> Answer | None:
        # One whose body comes after its head has no header.
        answer = cluster.call(namespace, "capped", WORK)
        assert answer.status == 200, answer.text
        return answer if int(answer.headers.get("stoker-cost-micro", 0)) > 0 else None

    answer = wait_until("an answer says what it cost", charged, 20)
    assert cluster.node_of(namespace, answer.pod) == cluster.first, "the other node is beyond the cap"
    refused = cluster.call(namespace, "poor", WORK)
    assert (refused.status, refused.value["reason"]) == (429, "CostBound"), refused.text

    def accounted() -> bool:
        return bool(cluster.status(namespace, "capped").get("cost", {}).get("perHour", 0) > 0)

    wait_until("its status says what it cost", accounted, 40, lambda: cluster.status(namespace, "capped"))
    assert cluster.status(namespace, "poor")["cost"]["refused"]
    assert priced.counted("node", "stoker_cost_micro_total", namespace=namespace, phase="idle") > 0
    assert len(cluster.replica_pods(namespace)) == 1
