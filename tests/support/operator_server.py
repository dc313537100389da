"""The fixtures of the operator's tests on a real API server: a server per test file, a clean world per test.

An operator acts on the whole cluster, so it gets one that no other test uses.

PYTEST_DONT_REWRITE: a test file imports from modules beside this one before it names it as a plugin.
"""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from operator_in_cluster import OperatorInCluster

from cluster import api_only
from cluster.api_only import ApiServer
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.kubeconfig import load_kubeconfig


@pytest.fixture(scope="module")
def own_server(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """`api_server` is asked for because it knows what to do where the programs are missing."""
    with api_only.start(tmp_path_factory.mktemp("operator-server")) as server:
        yield server


@pytest_asyncio.fixture
async def world(own_server: ApiServer) -> AsyncIterator[OperatorInCluster]:
    """Prepared: no operator, no node."""
    config = load_kubeconfig(own_server.kubeconfig)
    async with KubeClient(config, user_agent="stoker-tests") as kube, OperatorInCluster(kube, config) as made:
        yield made
