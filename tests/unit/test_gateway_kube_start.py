"""A gateway that cannot know what it would serve does not begin."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gateway_fake_agent import clock_us
from scripted_api import ScriptedApi, failing

from stoker_gateway.config import GatewaySettings
from stoker_gateway.kubernetes import cluster_gateway
from stoker_gateway.kubernetes.cluster_gateway import ClusterGateway, KindMissing, Parts
from stoker_gateway.kubernetes.settings import ClusterGatewaySettings
from stoker_runtime.cluster_settings import ClusterSettings
from stoker_runtime.event_loop import unless
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.objects import SmallMeta
from stoker_runtime.own_kinds import Applied
from stoker_runtime.settings import BadSetting, ProcessSettings

pytestmark = pytest.mark.unit


@pytest.fixture
async def api() -> AsyncIterator[ScriptedApi]:
    async with ScriptedApi() as scripted:
        yield scripted


def platform_on(kube: KubeClient) -> ClusterGateway:
    parts = Parts(
        process=ProcessSettings(),
        place=ClusterSettings(namespace="stoker-system", pod_name="gateway-1", pod_ip="127.0.0.1"),
        cluster=ClusterGatewaySettings(public_port=0, control_port=0, internal_port=0),
        gateway=GatewaySettings(),
    )
    return ClusterGateway(kube, parts, clock_us)


async def test_a_missing_kind_ends_the_start_with_one_sentence(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_gateway, "KIND_PATIENCE_S", 0.05)
    async with KubeClient(api.config) as kube:
        platform = platform_on(kube)
        with pytest.raises(KindMissing, match=r"knows no gpu\w+ of stoker.dev/v1alpha1: install their CRD"):
            await platform.start()
        assert "install their CRD" in (platform.unready() or "")
        await platform.stop()
        assert platform.unready() == "The gateway is shutting down: it finishes what it accepted."


async def test_a_gateway_that_may_not_list_waits_says_so_and_can_be_ended(api: ScriptedApi) -> None:
    for plural in ("gpufunctions", "gpupolicies", "functionnodes"):
        api.script(f"GET /apis/stoker.dev/v1alpha1/{plural}", failing(403, "Forbidden", "no rights"))
    async with KubeClient(api.config) as kube:
        platform = platform_on(kube)
        ended = asyncio.Event()
        starting = asyncio.create_task(unless(ended, platform.start()))
        while "no rights" not in (platform.unready() or ""):
            await asyncio.sleep(0.01)
        ended.set()
        assert await starting is None
        await platform.stop()


async def test_a_defect_in_one_sweep_ends_no_sweeping(api: ScriptedApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_gateway, "SWEEP_S", 0.005)
    tries: list[str] = []

    def forget(namespace: str, function: str) -> None:
        tries.append(f"{namespace}/{function}")
        if len(tries) == 1:
            raise RuntimeError("a defect")

    async with KubeClient(api.config) as kube:
        platform = platform_on(kube)
        monkeypatch.setattr(platform.sink, "forget_function", forget)
        platform._deleted = {"ns/f"}
        platform._sweeper.start(platform._sweep_forever)
        async with asyncio.timeout(5):
            while platform._deleted:
                await asyncio.sleep(0.005)
        await platform.stop()
    assert tries == ["ns/f", "ns/f"]


def test_the_place_in_the_cluster_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "pod-a")
    place = ClusterSettings(pod_ip="10.0.0.1")
    assert place.pod == "pod-a"
    assert ClusterSettings(pod_name="pod-b").pod == "pod-b"
    place.need("pod_ip")
    with pytest.raises(BadSetting, match="STOKER_NODE_NAME is not set"):
        place.need("pod_ip", "node_name")


async def test_a_gpu_policy_acts_at_the_gateway_when_it_changes_and_a_bad_one_leaves_it(api: ScriptedApi) -> None:
    def applied(**spec: object) -> Applied:
        return Applied(metadata=SmallMeta(name="default"), spec=spec)

    async with KubeClient(api.config) as kube:
        platform = platform_on(kube)
        choosing = platform.gateway._choosing
        platform.book.see_policy(None, applied(profile="Throughput", admission={"mode": "Observe"}))
        platform._apply()
        assert (choosing._chooser.name, choosing._enforces) == ("speed-up", False)
        platform.book.see_policy(None, applied(profile="Throughput", deviceChoice="coin"))
        platform._apply()
        assert choosing._chooser.name == "speed-up"
        platform.book.see_policy(applied(), None)
        platform._apply()
        assert (choosing._chooser.name, choosing._enforces) == ("slack", True)
