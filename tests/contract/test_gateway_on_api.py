"""The gateway on a real API server, with no rights but its own: functions, callers, agents and demand."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from api_server import make_namespace
from gateway_fake_agent import Run, request
from gateway_in_cluster import FUNCTIONS, POLICIES, GatewayInCluster, until

from cluster.api_only import ApiServer
from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.wire.cluster import COMPONENT_GATEWAY, COMPONENT_NODE
from stoker_gateway.kubernetes.cluster_gateway import ClusterGateway
from stoker_operator.ticket_keys import TicketKeyMaker
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig

pytest_plugins = ("api_server",)
# The first test starts the server, which takes seconds on a busy machine.
pytestmark = [pytest.mark.contract, pytest.mark.timeout(90)]

GPU = {"id": "GPU-1", "kind": "gpu", "product": "T4", "memoryMib": 16384, "healthy": True}


@pytest_asyncio.fixture
async def g(kube: KubeClient, kube_config: KubeConfig, namespace: str) -> AsyncIterator[GatewayInCluster]:
    """Prepared, not started."""
    made = GatewayInCluster(kube, kube_config, namespace)
    await made.prepare()
    yield made
    await made.close()


async def readiness(platform: ClusterGateway) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{platform.internal.port}/readyz", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


async def test_tickets_are_given_once_the_operator_has_made_their_key(g: GatewayInCluster) -> None:
    await g.function(onPredictedMiss=["Refuse"])
    await g.start()
    await g.known("f")
    await g.warm()

    async def full(run: Run) -> None:
        await run.body()
        await run.refuse(Reason.PREDICTED_MISS, retry_after_ms=50, ticket="a-1", ticket_window_ms=1_000)

    g.agent.on_run = full
    target = f"/{g.namespace}/f/"
    assert "stoker-ticket" not in (await g.call(target)).headers
    await TicketKeyMaker(g.kube, g.namespace).ensure()
    reader = g.platform.ticket_keys
    reader._retry_s = 0.05
    await reader.stop()
    reader.start()
    async with asyncio.timeout(20):
        while "stoker-ticket" not in (await g.call(target)).headers:
            await asyncio.sleep(0.05)


async def test_a_function_is_served_from_apply_to_delete(g: GatewayInCluster) -> None:
    await g.start()
    await until(lambda: g.platform.unready() is None)
    assert (await readiness(g.platform))[0] == 200
    assert (await g.call()).status == 404
    await g.function()
    await g.known("f")
    await g.warm()
    for host, target in (
        ("127.0.0.1", ""),
        ("stoker-gateway", ""),
        (f"f.{g.namespace}", "/x"),
        (f"f.{g.namespace}.svc", "/x"),
        (f"f.{g.namespace}.svc.cluster.local", "/x"),
    ):
        assert (await g.call(target, host=host)).status == 200
    bare = await g.call("/x", host="f")
    # Other functions of that name may be named before it, five at the most.
    assert (bare.status, ".svc.cluster.local/x" in bare.problem().detail) == (421, True)
    assert (await g.call(host="evil.example.com")).status == 404

    await g.function(timeout="1s")
    await until(lambda: g.platform.book.functions[f"{g.namespace}/f"].spec.timeout_us == 1_000_000)
    await g.kube.delete(FUNCTIONS, "f", g.namespace)
    await g.known()
    assert (await g.call()).status == 404


async def test_a_held_request_wakes_the_operator_and_says_what_it_waited_for(g: GatewayInCluster) -> None:
    await g.function(timeout="1500ms")
    await g.start()
    await g.known("f")
    await g.say_status(
        "f",
        {
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "WaitingForGpu",
                    "message": "all 2 GPUs are held",
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }
            ]
        },
    )
    await g.follow_demand()
    await until(lambda: len(g.frames) == 1)
    calling = asyncio.create_task(g.call())
    key = f"{g.namespace}/f"
    await until(lambda: g.frames[-1].functions.get(key, {}).get(Variant.GPU) is not None)
    report = g.frames[-1].functions[key][Variant.GPU]
    assert (report.in_system, g.frames[-1].gateway) == (1, "gateway-1")
    answer = await calling
    assert (answer.status, answer.problem().reason) == (504, "Timeout")
    assert "all 2 GPUs are held" in answer.problem().detail
    # The wake is remembered: an operator that comes now sees it.
    await until(lambda: g.frames[-1].functions[key][Variant.GPU].in_system == 0)
    assert g.frames[-1].functions[key][Variant.GPU].last_wake_ms is not None
    record = g.platform.records.get(answer.headers["stoker-request-id"])
    assert record is not None
    assert record.function == key


async def test_only_the_operator_may_read_the_demand(g: GatewayInCluster) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await g.start()
    strangers = [await g.follow_demand(component) for component in ("node", "gateway", "scheduler")]
    await g.follow_demand("operator")
    await until(lambda: len(g.frames) >= 2)
    assert all(stream.lost for stream in strangers)
    assert g.platform.control.readers == 1


async def test_who_calls_is_proved_by_real_tokens(g: GatewayInCluster) -> None:
    other = f"{g.namespace}-other"
    await make_namespace(g.kube, other)
    await g.function(access={"visibility": "Namespace", "allow": [f"{other}/robot"]})
    await g.function("open")
    await g.start()
    await g.known("f", "open")
    await g.warm()
    await g.warm("open")
    assert (await g.call()).status == 401
    for account, namespace, audience, status in (
        ("anyone", g.namespace, "stoker", 200),
        ("robot", other, "stoker", 200),
        ("someone", other, "stoker", 403),
        ("anyone", g.namespace, "", 401),
        ("anyone", g.namespace, "elsewhere", 401),
    ):
        token = await g.token(account, namespace, audience)
        assert (await g.call(token=token)).status == status, (account, audience)
    good = await g.token("anyone", g.namespace)
    head, claims, signature = good.split(".")
    assert (await g.call(token=f"{head}.{claims}.{signature[::-1]}")).status == 401
    assert (await g.call(f"/{g.namespace}/open/", token="nonsense")).status == 200
    assert not any("Bearer" in value for run in g.agent.runs for _, value in run.headers)


async def test_agents_and_gateways_are_followed_as_they_come_and_go(g: GatewayInCluster) -> None:
    await g.function()
    await g.start()
    await g.known("f")
    await g.warm()
    view = g.platform.gateway._view
    await g.pod("agent-1", COMPONENT_NODE, "127.0.0.2")  # moved
    await until(lambda: [link.address.host for link in view._links] == ["127.0.0.2"])
    await until(lambda: view.warm(f"{g.namespace}/f", Variant.GPU) == 1)
    assert (await g.call()).status == 200
    await g.pod("agent-2", COMPONENT_NODE, "127.0.0.3", ready=False)
    await until(lambda: view.warm(f"{g.namespace}/f", Variant.GPU) == 2)
    await g.delete_pod("agent-1")
    await until(lambda: [link.address.host for link in view._links] == ["127.0.0.3"])
    assert (await g.call()).status == 200

    await g.pod("gateway-2", COMPONENT_GATEWAY, "127.0.0.9")
    await until(lambda: g.platform.gateway._gateways == 2)
    await g.pod("gateway-2", COMPONENT_GATEWAY, "127.0.0.9", ready=False)
    await until(lambda: g.platform.gateway._gateways == 1)


async def test_own_hostnames_act_as_the_policy_allows(g: GatewayInCluster) -> None:
    await g.function(access={"visibility": "Public", "hostnames": ["ocr.example.com"]})
    await g.start()
    await g.known("f")
    await g.warm()
    assert (await g.call("/x", host="ocr.example.com")).status == 404
    spec = {"namespaces": [{"name": g.namespace, "hostnameSuffixes": ["example.com"]}]}
    await g.apply(POLICIES, "GpuPolicy", "default", spec=spec)
    await until(lambda: bool(g.platform.gateway._hostnames))
    assert (await g.call("/x", host="ocr.example.com")).status == 200
    await g.function(access={"visibility": "Cluster"})
    await until(lambda: not g.platform.gateway._hostnames)
    assert (await g.call("/x", host="ocr.example.com")).status == 404


async def test_what_no_node_can_hold_is_refused_until_one_can(g: GatewayInCluster) -> None:
    # More than the nodes of any other test have: FunctionNodes are the cluster's, and the server is the session's.
    await g.function(gpu={"memory": "400Gi"})
    await g.ledger(GPU)
    await g.start()
    await g.known("f")
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (503, "NoFittingDevice")
    await g.ledger(GPU, GPU | {"id": "GPU-2", "memoryMib": 819200})
    await until(lambda: not g.platform.gateway._view._unplaceable)
    calling = asyncio.create_task(g.call())
    await until(lambda: len(g.platform.gateway._live) == 1)
    await g.warm()
    assert (await calling).status == 200


async def test_a_gateway_that_is_told_to_end_is_unready_first_and_serves_on(g: GatewayInCluster) -> None:
    await g.function()
    await g.start(endpoints_grace_s=0.3)
    await g.known("f")
    await g.warm()
    await g.follow_demand()
    held = asyncio.create_task(g.call(f"/{g.namespace}/f/"))
    draining = asyncio.create_task(g.platform.drain())
    await asyncio.sleep(0)
    status, why = await readiness(g.platform)
    assert (status, "shutting down" in why) == (503, True)
    assert (await held).status == 200
    assert (await g.call()).status == 200
    await draining
    assert g.platform.control.readers == 1


async def test_the_process_serves_and_ends_in_order(g: GatewayInCluster, api_server: ApiServer) -> None:
    await g.function()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")} | {
        "STOKER_KUBECONFIG": str(api_server.kubeconfig),
        "STOKER_NAMESPACE": g.namespace,
        "STOKER_POD_NAME": "gateway-1",
        "STOKER_POD_IP": "127.0.0.1",
        "STOKER_CLUSTER_DOMAIN": "cluster.local",
        "STOKER_PUBLIC_PORT": "0",
        "STOKER_CONTROL_PORT": "0",
        "STOKER_INTERNAL_PORT": "0",
        "STOKER_ENDPOINTS_GRACE_S": "0.1",
        "STOKER_LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stoker_gateway.main",
        env=environ,
        cwd=Path(__file__).parents[2],
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        said: dict[str, object] = {}
        while said.get("event") != "serving":
            said = json.loads(await process.stderr.readline())
        reader, writer = await asyncio.open_connection("127.0.0.1", int(str(said["port"])))
        writer.write(request("/x", host=f"f.{g.namespace}.svc", headers="stoker-deadline-ms: 50\r\n"))
        assert (await reader.readline()).startswith(b"HTTP/1.1 504 ")
        writer.close()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_unknown_setting_ends_the_process_with_one_sentence() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stoker_gateway.main",
        env=dict(os.environ) | {"STOKER_PUBLIK_PORT": "1"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert b"STOKER_PUBLIK_PORT" in said
    assert b"STOKER_PUBLIC_PORT" in said
    assert said.count(b"\n") == 1


async def test_without_the_api_server_everything_known_is_served_on(g: GatewayInCluster) -> None:
    await g.function()
    await g.function("guarded", access={"visibility": "Namespace"})
    await g.start()
    await g.known("f", "guarded")
    await g.warm()
    await g.warm("guarded")
    token = await g.token("known", g.namespace)
    new = await g.token("new", g.namespace)
    assert (await g.call(f"/{g.namespace}/guarded/", token=token)).status == 200
    assert g.account is not None
    await g.account.close()  # whatever is asked from now on is not answered
    assert (await g.call()).status == 200
    assert (await g.call(f"/{g.namespace}/guarded/", token=token)).status == 200
    answer = await g.call(f"/{g.namespace}/guarded/", token=new)
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert g.platform.unready() is None
