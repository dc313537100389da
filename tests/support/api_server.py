"""A real API server (etcd and kube-apiserver, no nodes) for contract tests: one per session, a namespace per test.

A test file takes it by `pytest_plugins = ("api_server",)` and the fixtures `api_server`, `kube`, `namespace`.
Where its programs are not built, tests that want it are skipped with one sentence; with STOKER_REQUIRE_CLUSTER=1
they fail instead, so that CI cannot skip them.

PYTEST_DONT_REWRITE: a test file imports this module for its functions before it names it as a plugin.
"""

import base64
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from settings_of_tests import REQUIRE_CLUSTER

from cluster import api_only, binaries
from cluster.api_only import ApiServer
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.objects import Resource

NAMESPACES: Resource[Any] = Resource("", "v1", "namespaces", namespaced=False, type=object)
SERVICE_ACCOUNTS: Resource[Any] = Resource("", "v1", "serviceaccounts", namespaced=True, type=object)


def lacking() -> str:
    """Why there can be no API server here, in one sentence; empty when there can."""
    missing = [name for name in api_only.programs() if not binaries.available([name])]
    built = f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not built"
    return f"needs a real API server, but {built}: `make cluster` builds them" if missing else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where it cannot run, one test stands for all that want the server, so that the report has one line."""
    why = "" if REQUIRE_CLUSTER else lacking()
    wanting = [item for item in items if "api_server" in getattr(item, "fixturenames", ())]
    if why and wanting:
        wanting[0].add_marker(pytest.mark.skip(reason=f"{why} (for {len(wanting)} tests)"))
        config.hook.pytest_deselected(items=wanting[1:])
        items[:] = [item for item in items if item not in wanting[1:]]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Ready to answer. A test that kills it starts it again."""
    if why := lacking():
        pytest.fail(f"This {why}; STOKER_REQUIRE_CLUSTER=1 forbids to skip it.")
    with api_only.start(tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest.fixture
def kube_config(api_server: ApiServer) -> KubeConfig:
    """Of an administrator."""
    return load_kubeconfig(api_server.kubeconfig)


@pytest_asyncio.fixture
async def kube(kube_config: KubeConfig) -> AsyncIterator[KubeClient]:
    """As administrator."""
    async with KubeClient(kube_config, user_agent="stoker-tests") as client:
        yield client


@pytest_asyncio.fixture
async def namespace(kube: KubeClient) -> str:
    """A new namespace with an account `default`, as the controller manager would make it. It is left behind: without
    that manager nothing deletes it, and the server ends with the session.
    """
    name = f"t-{uuid.uuid4().hex[:12]}"
    await make_namespace(kube, name)
    return name


async def make_namespace(kube: KubeClient, name: str) -> None:
    await kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await kube.create(SERVICE_ACCOUNTS, account, name)


def compact(server: ApiServer) -> None:
    """Make etcd forget all but the newest state: what refers to older versions is answered 410 from then on, except
    where the API server's own cache still has it.
    """
    etcd = f"http://127.0.0.1:{server._plane.ports.etcd_client}/v3/kv"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{etcd}/{path}", json.dumps(content).encode())
        with opener.open(request, timeout=5) as answer:
            return json.load(answer)

    revision = ask("range", {"key": base64.b64encode(b"/").decode()})["header"]["revision"]
    ask("compaction", {"revision": revision, "physical": True})
