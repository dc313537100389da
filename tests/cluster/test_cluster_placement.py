"""Where replicas go and what is made ready ahead: images, warmth, cron windows, images kept from the kubelet."""

import datetime as dt
import time
from typing import Any

import pytest
from cluster_of_ours import ClusterOfOurs
from cluster_under_test import ClusterUnderTest, image, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]


def test_replicas_go_where_the_image_is_and_then_where_the_function_is_warm(
    cluster: ClusterUnderTest, namespace: str, ours: ClusterOfOurs
) -> None:
    rare = image("echo-function").replace(":", "-here:")
    ours.name_image(cluster.second, image("echo-function"), rare)

    def listed(node: str) -> bool:
        return any(rare in (each.names or ()) for each in cluster.core.read_node(node).status.images)

    wait_until("the kubelet of the second node tells of the image", lambda: listed(cluster.second), 30)
    assert not listed(cluster.first)
    cluster.apply(namespace, "placed", container={"image": rare}, scaling={"maxReplicas": 2})
    cluster.wait_ready(namespace, "placed")

    def known() -> bool:
        return any(each["reference"] == rare for each in cluster.node(cluster.second).get("images", ()))

    wait_until("the FunctionNode of the second node tells of it", known, 30)
    first = cluster.call(namespace, "placed")
    assert first.status == 200, first.text
    scores = scores_of(cluster, namespace, first.pod)
    assert (scores[cluster.second]["warmth"], scores[cluster.first]["warmth"]) == ("image", "cold")
    assert cluster.node_of(namespace, first.pod) == cluster.second
    cluster.change(namespace, "placed", scaling={"minReplicas": 2})
    cluster.wait_warm(namespace, "placed", 2)
    (second,) = {pod.metadata.name for pod in cluster.replica_pods(namespace)} - {first.pod}
    scores = scores_of(cluster, namespace, second)
    assert (scores[cluster.second]["warmth"], scores[cluster.first]["warmth"]) == ("warm", "cold")
    assert scores[cluster.second]["points"] > scores[cluster.first]["points"]
    assert cluster.node_of(namespace, second) == cluster.second


def scores_of(cluster: ClusterUnderTest, namespace: str, pod: str) -> dict[str, dict[str, Any]]:
    """Node to score, as the extender explains them."""
    said = cluster.explain_placement(namespace, pod)
    return {each["node"]: each["score"] for each in said["scores"]}


def test_a_cron_window_makes_a_replica_before_anybody_calls(cluster: ClusterUnderTest, namespace: str) -> None:
    begins = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    window = {"cron": f"{begins.minute} {begins.hour} * * *", "duration": "5m", "replicas": 1}
    cluster.apply(
        namespace,
        "early",
        scaling={"preWarm": {"policy": "Cron", "windows": [window]}, "keepAlive": {"policy": "FixedTTL", "ttl": "5s"}},
    )
    cluster.wait_ready(namespace, "early", reason="ScaledToZero")
    assert cluster.replica_pods(namespace) == []
    cluster.wait_warm(namespace, "early", 1, timeout_s=100)
    answer = cluster.call(namespace, "early")
    assert (answer.status, answer.was_cold, answer.value["served"]) == (200, False, 1)
    time.sleep(8)
    assert cluster.status(namespace, "early")["replicas"]["warm"] == 1, "it outlives its keep-alive in the window"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_image_that_is_promised_survives_the_collection_of_images(
    cluster: ClusterUnderTest, namespace: str, ours: ClusterOfOurs
) -> None:
    kept, loose = image("example-vad"), image("example-ocr")
    never = {"cron": "0 0 1 1 *", "duration": "1s", "replicas": 1}
    cluster.apply(
        namespace, "kept", container={"image": kept}, scaling={"preWarm": {"policy": "Cron", "windows": [never]}}
    )

    def promised() -> str:
        return next((n for n in (cluster.first, cluster.second) if is_promised(cluster, n, kept)), "")

    node = wait_until("a FunctionNode promises the image", promised, 60)
    assert ours.has_image(node, loose)
    try:
        ours.collect_images(node)
        wait_until("the kubelet has collected an image that nobody uses", lambda: not ours.has_image(node, loose), 60)
        time.sleep(2)
        assert ours.has_image(node, kept)
        assert is_promised(cluster, node, kept)
    finally:
        ours.give_images_back(node)


def is_promised(cluster: ClusterUnderTest, node: str, reference: str) -> bool:
    images = cluster.node(node).get("images", ())
    return any(each["reference"] == reference and each["promised"] for each in images)
