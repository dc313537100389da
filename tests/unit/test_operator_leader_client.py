"""A leader that may lead no more sends no write, whoever asks for it."""

import pytest
from aiohttp import web
from scripted_api import ScriptedApi

from stoker_operator.kinds import PODS, SERVICES
from stoker_operator.leader_client import LeaderClient, NotLeading

pytestmark = pytest.mark.unit

SERVICE = {"metadata": {"name": "x", "namespace": "n", "uid": "u", "resourceVersion": "1"}}


async def ok(_: web.Request) -> web.StreamResponse:
    return web.json_response(SERVICE)


async def busy(_: web.Request) -> web.StreamResponse:
    return web.json_response({"code": 429, "message": "later"}, status=429, headers={"Retry-After": "0"})


async def test_a_leader_writes_and_a_former_one_only_reads() -> None:
    leads = True
    async with ScriptedApi() as api:
        for what in ("GET", "PATCH", "DELETE"):
            api.script(f"{what} /api/v1/namespaces/n/services/x", ok)
        api.script("POST /api/v1/namespaces/n/services", ok)
        async with LeaderClient(api.config, lambda: leads, user_agent="t") as kube:
            await kube.create(SERVICES, SERVICE, "n")
            assert len(api.requests) == 1
            leads = False
            for write in (
                kube.create(SERVICES, SERVICE, "n"),
                kube.apply(SERVICES, "x", SERVICE, "n", manager="m"),
                kube.patch(SERVICES, "x", {}, "n"),
                kube.delete(SERVICES, "x", "n"),
                kube.create(PODS, SERVICE, "n"),
            ):
                with pytest.raises(NotLeading):
                    await write
            assert len(api.requests) == 1
            assert (await kube.get(SERVICES, "x", "n")).metadata.uid == "u"


async def test_a_write_that_is_tried_again_is_checked_again() -> None:
    looks = iter([True, False])
    async with ScriptedApi() as api:
        api.script("POST /api/v1/namespaces/n/services", busy)
        async with LeaderClient(api.config, lambda: next(looks), user_agent="t") as kube:
            with pytest.raises(NotLeading):
                await kube.create(SERVICES, SERVICE, "n")
        assert len(api.requests) == 1
