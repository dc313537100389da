"""The release itself: `helm test` passes, an upgrade restarts no pod of a function."""

import time

import pytest
from cluster_under_test import ClusterUnderTest, wait_until

from cluster import release

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]


def test_helm_test_passes(as_is: ClusterUnderTest) -> None:
    said = release.helm(as_is.kubeconfig, "test", release.NAME, "--timeout=100s", timeout_s=120)
    assert "Succeeded" in said, said


def test_an_upgrade_restarts_all_of_stoker_and_no_pod_of_a_function(cluster: ClusterUnderTest, namespace: str) -> None:
    cluster.apply(namespace, "stays", scaling={"minReplicas": 1, "maxReplicas": 1, "concurrency": 4})
    cluster.wait_warm(namespace, "stays", 1)
    (before,) = cluster.replica_pods(namespace)
    own = {pod.metadata.uid for pod in cluster.component_pods("gateway")}
    mark = {"test.stoker.dev/upgrade": str(time.time_ns())}
    changed = {name: {"podAnnotations": mark} for name in ("operator", "scheduler", "node", "gateway")}
    with cluster.calling(namespace, "stays") as answers:
        release.install(cluster.kubeconfig, changed, "--reset-then-reuse-values")
        cluster.wait_whole(120)
        time.sleep(2)
    assert not own & {pod.metadata.uid for pod in cluster.component_pods("gateway")}
    failed = [answer for answer in answers if answer.status != 200]
    assert not failed, failed[:3]
    (after,) = cluster.replica_pods(namespace)
    assert after.metadata.uid == before.metadata.uid
    assert after.status.container_statuses[0].restart_count == 0
    wait_until("it is Ready", lambda: cluster.condition(namespace, "stays")["status"] == "True", 20)
