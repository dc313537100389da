"""Fixtures of the tests on a cluster. A test that failed leaves logs and objects under build/cluster-e2e/TEST."""

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from cluster_of_ours import ClusterOfOurs, cluster_of_ours
from cluster_under_test import ClusterUnderTest

from cluster import release

LEFT = Path(__file__).parents[2] / "build" / "cluster-e2e"
_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def as_is() -> Iterator[ClusterUnderTest]:
    path = os.environ.get("KUBECONFIG", "")
    if not path:
        pytest.fail("KUBECONFIG is not set: run `make e2e-cluster`, which brings a cluster up and installs the chart")
    with release.way_in(Path(path)) as way_in:
        under_test = ClusterUnderTest(Path(path), way_in)
        under_test.wait_whole()
        yield under_test
        under_test.close()


@pytest.fixture
def namespace(as_is: ClusterUnderTest, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh one. Afterwards its functions are gone and their devices free."""
    with as_is.fresh_namespace() as name:
        yield name
        if request.node.stash.get(_FAILED, False):
            as_is.collect(LEFT / re.sub(r"\W+", "-", request.node.name)[:100], name)


@pytest.fixture
def cluster(as_is: ClusterUnderTest) -> ClusterUnderTest:
    """The cluster with its usual GPUs, two on each node. `as_is` is for tests that arrange others."""
    as_is.arrange({as_is.first: (), as_is.second: ()})
    return as_is


@pytest.fixture
def ours() -> ClusterOfOurs:
    found = cluster_of_ours()
    if found is None:
        pytest.skip("this needs a cluster of dev/cluster")
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when in ("setup", "call"):
        item.stash[_FAILED] = True
    return report
