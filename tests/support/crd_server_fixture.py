"""The fixture `server`: a real API server with Stoker's CRDs and admission policies in effect, apart from other tests'.

One per session. A test file takes it by `pytest_plugins = ("crd_server_fixture",)`. Where its programs are not built
tests are skipped with one sentence; with STOKER_REQUIRE_CLUSTER=1 they fail instead.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from crd_server import SYSTEM, Server, admission_policies, collection, crds
from settings_of_tests import REQUIRE_CLUSTER

from cluster import api_only, binaries


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With all CRDs and admission policies in effect, the namespace of Stoker, and the controllers that judge CEL."""
    missing = [name for name in api_only.programs(controller_manager=True) if not binaries.available([name])]
    if missing:
        why = f"needs a real API server, and {' and '.join(missing)} are not built: `make cluster` builds them"
        if REQUIRE_CLUSTER:
            pytest.fail(why)
        pytest.skip(why)
    with api_only.start(tmp_path_factory.mktemp("crd-server"), controller_manager=True) as running:
        server = Server(running)
        try:
            for crd in crds():
                made = server.create(crd, dry_run=False)
                assert made.ok, made.message
            for crd in crds():
                server.until(lambda crd=crd: _established(server, crd))
            for policy in admission_policies():
                made = server.create(policy, dry_run=False)
                assert made.ok, made.message
            server.make_namespace(SYSTEM)
            server.until(lambda: _effective(server))
            yield server
        finally:
            server.close()


def _established(server: Server, crd: dict[str, Any]) -> bool:
    found = server.request("GET", f"{collection(crd)}/{crd['metadata']['name']}").content
    conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions", ())}
    path = f"/apis/stoker.dev/v1alpha1/{crd['spec']['names']['plural']}"
    return conditions.get("Established") == "True" and server.request("GET", path).ok


def _effective(server: Server) -> bool:
    """Policies act when the API server's own watch has seen them: a lease that only an agent may have is refused."""
    probe = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "stoker-node-probe", "namespace": SYSTEM},
    }
    return not server.create(probe).ok
