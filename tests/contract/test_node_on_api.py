"""The node agent's process on a real API server, with a kubelet's gRPC services and the simulated NVIDIA driver:
what it serves, writes and survives. The pod is an object; its process is a small server in the test.
"""

import asyncio
import datetime as dt
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import yaml
from agent_under_test import FakeReplica
from api_server import make_namespace
from fake_kubelet import GPU, FakeKubelet
from simulated_driver import SimulatedDriver, simulated_driver

from cluster.api_only import ApiServer
from stoker.model.function import GpuOption, Sharing, Variant
from stoker.model.replica import ReplicaState
from stoker.names import pod_name, replica_id
from stoker.wire.agent import LoadFrame
from stoker.wire.cluster import (
    A_REPLICA,
    API_VERSION,
    COMPONENT_GATEWAY,
    COMPONENT_NODE,
    COMPONENT_OPERATOR,
    L_ROLE,
    MAIN_CONTAINER,
    ROLE_REPLICA,
    ROLES,
    WAIT_CONTAINER,
    DrainAnswer,
    PodReplica,
    ReplicaFrame,
    ReplicaReport,
)
from stoker.wire.function_node import FunctionNodeStatus, decode_status, function_node
from stoker_node.config import NodeSettings
from stoker_node.kubernetes.cluster_view import CannotRun, ClusterView
from stoker_node.kubernetes.objects import NODES, PODS
from stoker_node.kubernetes.settings import KubernetesNodeSettings
from stoker_node.main import Process
from stoker_operator.authority import CertificateAuthority
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.identity import Identity
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import AlreadyExists, NotFound
from stoker_runtime.kube.kubeconfig import load_kubeconfig
from stoker_runtime.kube.lease import LEASES
from stoker_runtime.kube.objects import Resource
from stoker_runtime.own_kinds import FUNCTION_NODES, FUNCTIONS, POLICIES
from stoker_runtime.process import Environment

pytestmark = [pytest.mark.contract, pytest.mark.timeout(60)]
pytest_plugins = ("api_server",)

CRDS = Path(__file__).parents[2] / "crds"
DEFINITIONS: Resource[Any] = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False, object)
ANY_NODE: Resource[Any] = Resource("stoker.dev", "v1alpha1", "functionnodes", False, object)
REVISION = "0123456789"


async def until(condition: Callable[[], Any], what: str = "it") -> Any:
    """Until a condition, plain or awaited, is true; its value."""
    async with asyncio.timeout(20):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)
    raise AssertionError(what)


@pytest_asyncio.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[KubeClient]:
    """As administrator. The loop goes on for a moment after the end: aiohttp's TLS connections close by and by."""
    async with KubeClient(load_kubeconfig(api_server.kubeconfig), user_agent="stoker-tests") as client:
        yield client
    await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def kinds(kube: KubeClient) -> None:
    """Stoker's CRDs, served."""
    for path in sorted(CRDS.glob("*.yaml")):
        try:
            await kube.create(DEFINITIONS, yaml.safe_load(path.read_text()))
        except AlreadyExists:
            continue

    async def served() -> bool:
        try:
            kinds: tuple[Resource[Any], ...] = (FUNCTIONS, POLICIES, FUNCTION_NODES)
            for resource in kinds:
                await kube.list(resource)
        except NotFound:
            return False
        return True

    await until(served)


class NodeOnApi:
    """One node of a cluster that has nobody else."""

    def __init__(self, kube: KubeClient, api: ApiServer, namespace: str, folder: Path) -> None:
        self.kube, self.api, self.namespace, self.folder = kube, api, namespace, folder
        self.name = f"node-{uuid.uuid4().hex[:8]}"
        self.kubelet = FakeKubelet(folder / "kubelet")
        self.processes: list[tuple[Process, KubeClient]] = []
        self.identities: dict[str, Identity] = {}
        self.servers: list[FakeReplica] = []
        self.driver: SimulatedDriver

    async def start(self) -> None:
        await self.kubelet.start()
        self.kubelet.devices[GPU] = dict.fromkeys(self.driver.uuids, True)
        await CertificateAuthority(self.kube, self.namespace, lambda: dt.datetime.now(dt.UTC)).ensure()
        for component in (COMPONENT_OPERATOR, COMPONENT_GATEWAY):
            identity = self.identities[component] = Identity(self.kube, self.namespace, component)
            await identity.load()
        await self.kube.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name}})
        status = {"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}}
        node = await self.kube.patch(NODES, self.name, status, subresource="status")
        self.uid = node.metadata.uid

    async def close(self) -> None:
        for process, kube in self.processes:
            await process.stop(0)
            await kube.close()
        for server in self.servers:
            await server.close()
        for identity in self.identities.values():
            await identity.stop()
        await self.kubelet.stop()

    def process(self, **settings: Any) -> Process:
        ports = dict.fromkeys(("data_port", "control_port", "grant_port", "internal_port"), "0")
        given = {
            "node_name": self.name,
            "pod_ip": "127.0.0.1",
            "pod_name": f"agent-{len(self.processes)}",
            "namespace": self.namespace,
            "state_dir": str(self.folder / "state"),
            "kubelet_socket": str(self.kubelet.socket),
            "reservation_ttl_s": "0.5",
            "device_poll_s": "0.1",
            **ports,
            **settings,
        }
        environ = {f"STOKER_{key.upper()}": str(value) for key, value in given.items()}
        kube = KubeClient(load_kubeconfig(self.api.kubeconfig), user_agent="stoker-node")
        made = Process(kube, Environment(environ, ClusterSettings, NodeSettings, KubernetesNodeSettings))
        self.processes.append((made, kube))
        return made

    async def run(self, **settings: Any) -> Process:
        process = self.process(**settings)
        async with asyncio.timeout(30):
            assert await process.start()
        return process

    async def function(self, name: str = "f") -> str:
        """Its uid."""
        spec = {
            "container": {"image": f"localhost/{name}:1"},
            "gpu": {"memory": "1Gi"},
            "slo": {"latency": "250ms"},
        }
        body = {"apiVersion": API_VERSION, "kind": "GpuFunction", "metadata": {"name": name}, "spec": spec}
        return (await self.kube.create(FUNCTIONS, body, self.namespace)).metadata.uid

    async def pod(self, uid: str, *, ordinal: int = 0, options: tuple[GpuOption, ...] = ()) -> "PodOnApi":
        server = FakeReplica()
        await server.start()
        self.servers.append(server)
        key = f"{self.namespace}/f"
        replica = PodReplica(
            id=replica_id(key, Variant.GPU, Variant.GPU, REVISION, ordinal),
            function=key,
            function_uid=uid,
            variant=Variant.GPU,
            revision=REVISION,
            ordinal=ordinal,
            options=options or (GpuOption(memory_mib=1024),),
            port=server.port,
        )
        owner = {"apiVersion": API_VERSION, "kind": "GpuFunction", "name": "f", "uid": uid, "controller": True}
        gates = [{"name": WAIT_CONTAINER, "image": "w"}] if replica.sharing is Sharing.SHARED else []
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": pod_name(replica.id),
                "labels": {L_ROLE: ROLE_REPLICA},
                "annotations": {A_REPLICA: msgspec.json.encode(replica).decode()},
                "ownerReferences": [owner],
            },
            "spec": {
                "nodeName": self.name,
                "initContainers": gates,
                "containers": [{"name": MAIN_CONTAINER, "image": "localhost/f:1"}],
                "terminationGracePeriodSeconds": 30,
            },
        }
        made = await self.kube.create(PODS, body, self.namespace)
        return PodOnApi(self, made.metadata.name, made.metadata.uid, server)

    async def status(self) -> FunctionNodeStatus | None:
        return decode_status(await self.kube.get(ANY_NODE, self.name))

    def session(self, component: str) -> "Caller":
        return Caller(self.identities[component].client_context())

    async def frame(self, process: Process) -> ReplicaFrame:
        """The newest frame that the operator gets."""
        served = process._served
        assert served is not None
        async with self.session(COMPONENT_OPERATOR) as operator:
            line = await operator.line(served.control.port, "/v1/replicas")
        return msgspec.json.decode(line, type=ReplicaFrame)


class PodOnApi:
    def __init__(self, node: NodeOnApi, name: str, uid: str, server: FakeReplica) -> None:
        self.node, self.name, self.uid, self.server = node, name, uid, server

    def holds(self, *device_ids: str) -> None:
        self.node.kubelet.hold(self.node.namespace, self.name, MAIN_CONTAINER, device_ids)

    async def runs(self) -> None:
        """What the kubelet writes once it runs."""
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "startTime": "2026-01-01T00:00:00Z",
            "containerStatuses": [
                {
                    "name": MAIN_CONTAINER,
                    "image": "localhost/f:1",
                    "imageID": "",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
                }
            ],
        }
        await self.node.kube.patch(PODS, self.name, {"status": status}, self.node.namespace, subresource="status")

    async def report(self, process: Process) -> ReplicaReport | None:
        frame = await self.node.frame(process)
        return next((one for one in frame.replicas if one.pod_uid == self.uid), None)

    async def is_in(self, process: Process, state: ReplicaState) -> None:
        async def there() -> bool:
            report = await self.report(process)
            return report is not None and report.state is state

        await until(there)


class Caller:
    """Another component, by its certificate."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._session = aiohttp.ClientSession()
        self._context = context

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def line(self, port: int, path: str) -> bytes:
        async with self._session.get(
            f"https://127.0.0.1:{port}{path}",
            ssl=self._context or True,
            server_hostname=ROLES[COMPONENT_NODE].dns_name,
            timeout=aiohttp.ClientTimeout(total=10),
        ) as answer:
            return await answer.content.readline()

    async def post(self, port: int, path: str, body: bytes) -> tuple[int, bytes]:
        async with self._session.post(
            f"https://127.0.0.1:{port}{path}",
            data=body,
            ssl=self._context or True,
            server_hostname=ROLES[COMPONENT_NODE].dns_name,
        ) as answer:
            return answer.status, await answer.read()


@pytest_asyncio.fixture
async def node(
    kube: KubeClient, api_server: ApiServer, kinds: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[NodeOnApi]:
    namespace = f"t-{uuid.uuid4().hex[:12]}"
    await make_namespace(kube, namespace)
    with simulated_driver(monkeypatch, tmp_path) as driver:
        made = NodeOnApi(kube, api_server, namespace, tmp_path)
        made.driver = driver
        await made.start()
        yield made
        await made.close()


async def test_a_pod_becomes_warm_and_all_that_is_told_about_it_is_true(node: NodeOnApi) -> None:
    process = await node.run()
    served = process._served
    assert served is not None
    gpu = node.driver.uuids[0]
    uid = await node.function()
    pod = await node.pod(uid)
    pod.holds(gpu)
    await pod.runs()
    await pod.is_in(process, ReplicaState.WARM)
    report = await pod.report(process)
    assert report is not None
    assert (report.devices, report.unfit) == ((gpu,), "")
    await until(lambda: process.unready() is None)

    # The gateway's stream.
    async with node.session(COMPONENT_GATEWAY) as gateway:
        load = msgspec.json.decode(await gateway.line(served.agent.port, "/v1/load"), type=LoadFrame)
    assert load.functions[f"{node.namespace}/f"][Variant.GPU].warm == 1

    # The ledger: written once the operator has made the object.
    await asyncio.sleep(0.1)
    assert "does not exist" in served.ledger.problem
    await node.kube.create(FUNCTION_NODES, function_node(node.name, node.uid))
    status = await until(node.status)
    assert {one.id for one in status.devices} == {*node.driver.uuids, "cpu"}
    assert all(one.healthy for one in status.devices)
    assert [(one.pod_uid, one.state, one.devices) for one in status.residents] == [(pod.uid, ReplicaState.WARM, (gpu,))]
    assert [one.reference for one in status.images] == ["localhost/f:1"]
    assert status.agent.pod == "agent-0"
    lease = await node.kube.get(LEASES, f"stoker-node-{node.name}", node.namespace)
    assert lease.spec.holder_identity == "agent-0"

    # The drain.
    async with node.session(COMPONENT_OPERATOR) as operator:
        body = msgspec.json.encode({"podUid": pod.uid})
        code, answer = await operator.post(served.control.port, "/v1/drain", body)
    assert (code, msgspec.json.decode(answer, type=DrainAnswer)) == (200, DrainAnswer(drained=True))
    await pod.is_in(process, ReplicaState.DRAINING)
    await node.kube.delete(PODS, pod.name, node.namespace, grace_s=0)
    await until(lambda: not served.agent.reservations())


async def test_a_caller_without_the_right_certificate_gets_nowhere(node: NodeOnApi) -> None:
    process = await node.run()
    served = process._served
    assert served is not None
    async with node.session(COMPONENT_GATEWAY) as gateway:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await gateway.line(served.control.port, "/v1/replicas")
    async with node.session(COMPONENT_OPERATOR) as operator:
        with pytest.raises((aiohttp.ClientError, OSError)):
            await operator.line(served.agent.port, "/v1/load")
    stranger = ssl.create_default_context()
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    async with Caller(stranger) as nobody:
        for port in (served.control.port, served.agent.port):
            with pytest.raises((aiohttp.ClientError, OSError)):
                await nobody.line(port, "/v1/load")


async def test_a_gpu_that_turns_bad_is_told_within_a_moment(node: NodeOnApi) -> None:
    process = await node.run()
    await node.kube.create(FUNCTION_NODES, function_node(node.name, node.uid))
    gpu = node.driver.uuids[0]
    pod = await node.pod(await node.function())
    pod.holds(gpu)
    await pod.runs()
    await pod.is_in(process, ReplicaState.WARM)
    node.driver.xid(0, 79)

    async def unfit() -> bool:
        report = await pod.report(process)
        return report is not None and "unhealthy" in report.unfit

    await until(unfit)

    async def flipped() -> bool:
        status = await node.status()
        return status is not None and [one.healthy for one in status.devices if one.id == gpu] == [False]

    await until(flipped)
    report = await pod.report(process)
    assert report is not None
    assert report.state is ReplicaState.WARM


async def test_the_next_agent_waits_ready_for_the_lock_and_recovers_what_runs(node: NodeOnApi) -> None:
    first = await node.run()
    uid = await node.function()
    pod = await node.pod(uid)
    pod.holds(node.driver.uuids[0])
    await pod.runs()
    await pod.is_in(first, ReplicaState.WARM)

    second = node.process()
    starting = asyncio.ensure_future(second.start())
    await until(lambda: second._lock.waits)
    assert second.unready() is None
    assert not starting.done()
    await first.stop(5)
    async with asyncio.timeout(20):
        await starting
    await pod.is_in(second, ReplicaState.WARM)
    frame = await node.frame(second)
    assert frame.start_ms == {}  # how long it took to start is not what this agent saw

    # A predecessor's last grants may not be seen yet: what is new waits a moment.
    shared = (GpuOption(memory_mib=1024, sharing=Sharing.SHARED),)
    served = second._served
    assert served is not None
    late = await node.pod(uid, ordinal=1, options=shared)
    late.holds(node.driver.uuids[1])
    await until(lambda: served.grants.granted(late.uid))


async def test_what_runs_is_served_while_the_api_server_and_the_kubelet_are_away(node: NodeOnApi) -> None:
    process = await node.run(api_stale_s=0.3)
    pod = await node.pod(await node.function())
    pod.holds(node.driver.uuids[0])
    await pod.runs()
    await pod.is_in(process, ReplicaState.WARM)
    node.api.kill_api_server()
    try:
        await node.kubelet.stop()
        await until(lambda: "last heard of" in (process.unready() or ""))
        await pod.is_in(process, ReplicaState.WARM)
        served = process._served
        assert served is not None
        assert "kubelet" in await until(lambda: served.kubelet.problem)
    finally:
        await asyncio.to_thread(node.api.start_api_server)
    await node.kubelet.start()
    node.kubelet.devices[GPU] = dict.fromkeys(node.driver.uuids, True)
    await until(lambda: process.unready() is None)


async def test_a_node_that_does_not_exist_is_one_sentence(node: NodeOnApi) -> None:
    with pytest.raises(CannotRun, match="The cluster has no node nowhere"):
        await node.process(node_name="nowhere").start()


async def test_a_kind_that_is_missing_is_one_sentence(kube: KubeClient) -> None:
    view = ClusterView(kube, "anything")
    missing: Resource[Any] = Resource("stoker.dev", "v1", "gpufunctions", True, object)
    with pytest.raises(CannotRun, match="install Stoker's CRDs"):
        await view._ask(missing, "")


async def test_a_right_that_is_missing_is_one_sentence(api_server: ApiServer, kinds: None) -> None:
    config = msgspec.structs.replace(load_kubeconfig(api_server.kubeconfig), client_certificate=None, client_key=None)
    async with KubeClient(config) as nobody:
        with pytest.raises(CannotRun, match="The agent may not list gpufunctions"):
            await ClusterView(nobody, "anything").check()
