"""What `helm test` (charts/stoker/files/check.py) believes of the workloads of a release."""

import runpy
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.unit

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "charts" / "stoker" / "files" / "check.py"))
DEPLOYMENT = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
DAEMONSET = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberReady": 3}


def said_of(kind: str, status: dict[str, Any], wanted: int = 2) -> str:
    spec = {"replicas": wanted} if kind == "Deployment" else {}
    found = {"kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status}
    return str(SCRIPT["unready"]("deployments/x", found))


def test_what_runs_in_its_newest_version_everywhere_is_ready() -> None:
    assert said_of("Deployment", DEPLOYMENT) == ""
    assert said_of("DaemonSet", DAEMONSET) == ""
    assert said_of("Deployment", {"observedGeneration": 2}, wanted=0) == ""


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        # The old pods are ready, and the new one never is.
        ("Deployment", {"replicas": 3, "updatedReplicas": 1}, "1 of 2 pods of deployments/x are of the newest version"),
        ("DaemonSet", {"updatedNumberScheduled": 1}, "1 of 3 pods of deployments/x are of the newest version"),
        # The old ones have not gone: two of the three that are ready may be theirs.
        ("Deployment", {"replicas": 3}, "3 pods of deployments/x are there and 2 are wanted"),
        ("Deployment", {"replicas": 4, "readyReplicas": 3}, "4 pods of deployments/x are there and 2 are wanted"),
        ("Deployment", {"readyReplicas": 1}, "1 of 2 pods of deployments/x are ready"),
        ("DaemonSet", {"numberReady": 2}, "2 of 3 pods of deployments/x are ready"),
        ("Deployment", {"observedGeneration": 1}, "deployments/x has just been changed"),
        ("DaemonSet", {"observedGeneration": 1}, "deployments/x has just been changed"),
    ],
)
def test_a_release_whose_new_version_does_not_run_everywhere_is_not_ready(
    kind: str, change: dict[str, Any], why: str
) -> None:
    assert said_of(kind, (DEPLOYMENT if kind == "Deployment" else DAEMONSET) | change) == why


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_what_its_controller_has_not_looked_at_is_not_ready(kind: str) -> None:
    assert said_of(kind, {}) != ""
