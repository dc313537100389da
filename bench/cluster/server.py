"""An API server for a benchmark: without nodes, with Stoker's kinds, and with an audit log of everything written."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from bench.cluster import ROOT
from bench.cluster.machine import pids_of, say
from cluster import api_only, binaries
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import KubeError
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.objects import Resource

SYSTEM = "stoker-system"
ANY: Any = object
NAMESPACES: Resource[Any] = Resource("", "v1", "namespaces", namespaced=False, type=ANY)
ACCOUNTS: Resource[Any] = Resource("", "v1", "serviceaccounts", namespaced=True, type=ANY)
PODS: Resource[Any] = Resource("", "v1", "pods", namespaced=True, type=ANY)
NODES: Resource[Any] = Resource("", "v1", "nodes", namespaced=False, type=ANY)
CRDS: Resource[Any] = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False, type=ANY)
MINE = "stoker-bench"
"""User agent of the programs here."""


SERVERS = ("kube-apiserver", "etcd")


class _Subject(Struct, frozen=True, rename="camel"):
    resource: str = ""
    subresource: str = ""
    name: str = ""


class _Event(Struct, frozen=True, rename="camel"):
    verb: str
    user_agent: str = ""
    stage: str = ""
    request_received_timestamp: str = ""
    object_ref: _Subject | None = None


class Writes:
    """Reads the audit log from where it read last."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._at = 0
        self._decoder = msgspec.json.Decoder(_Event)

    def since_last(self, agent: str) -> Counter[str]:
        """Writes by this user agent since the last call: `verb resource/subresource` and how many."""
        found: Counter[str] = Counter()
        with self._log.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                event = self._decoder.decode(line)
                if not event.user_agent.startswith(agent) or event.object_ref is None:
                    continue
                what = "/".join(filter(None, (event.object_ref.resource, event.object_ref.subresource)))
                found[f"{event.verb} {what}"] += 1
        return found


class Bench(Struct, frozen=True):
    """A running API server, and its audit log."""

    server: api_only.ApiServer
    writes: Writes
    folder: Path

    def pids(self, program: str) -> list[int]:
        """Of one of its programs."""
        return pids_of(program, str(self.folder))

    def client(self) -> KubeClient:
        return KubeClient(load_kubeconfig(self.server.kubeconfig), user_agent=MINE)


@contextmanager
def api_server(folder: Path, *, controller_manager: bool = False) -> Iterator[Bench]:
    """Ready, with CRDs and the namespace of Stoker itself."""
    binaries.ensure(api_only.programs(controller_manager=controller_manager), say)
    folder.mkdir(parents=True, exist_ok=True)
    policy, log = folder / "audit.json", folder / "audit.log"
    reads = {"level": "None", "verbs": ["get", "list", "watch"]}
    document = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [reads, {"level": "Metadata"}],
    }
    policy.write_text(json.dumps(document))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking")
    with api_only.start(folder / "server", controller_manager=controller_manager, api_server_flags=flags) as server:
        bench = Bench(server, Writes(log), folder)
        asyncio.run(_prepare(bench))
        yield bench


async def _prepare(bench: Bench) -> None:
    async with bench.client() as kube:
        await make_crds(kube)
        await make_namespace(kube, SYSTEM)


async def make_crds(kube: KubeClient) -> None:
    """Returns when their kinds are served, which is some time after their definitions were made."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
        plural = document["spec"]["names"]["plural"]
        await kube.create(CRDS, document)
        resource: Resource[Any] = Resource("stoker.dev", "v1alpha1", plural, namespaced=False, type=ANY)
        while not await _served(kube, resource):  # noqa: ASYNC110  the event is in the API server
            await asyncio.sleep(0.1)


async def _served(kube: KubeClient, resource: Resource[Any]) -> bool:
    try:
        await kube.list(resource, limit=1)
    except KubeError:
        return False
    return True


async def make_namespace(kube: KubeClient, name: str) -> None:
    """With the account that pods of it need, as the controller manager would make it."""
    await kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await kube.apply(ACCOUNTS, "default", account, name, manager=MINE, force=True)
