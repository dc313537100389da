"""kopf, when the API server does not know our kinds any more: it ends, and whoever runs the process hears of it."""

import asyncio
from typing import Any

import pytest
from scripted_api import ScriptedApi, ok

from stoker_operator.function_store import FunctionStore
from stoker_operator.kopf_feed import KopfFeed

pytestmark = pytest.mark.contract

GROUP = "/apis/stoker.dev/v1alpha1"
KINDS = [
    {"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list", "watch"]}
    for plural, kind, namespaced in (("gpufunctions", "GpuFunction", True), ("gpupolicies", "GpuPolicy", False))
]
NAMESPACES = {
    "name": "namespaces",
    "singularName": "",
    "namespaced": False,
    "kind": "Namespace",
    "verbs": ["list", "watch"],
}
PREFERRED = {"groupVersion": "stoker.dev/v1alpha1", "version": "v1alpha1"}
GROUPS = {"groups": [{"name": "stoker.dev", "versions": [PREFERRED], "preferredVersion": PREFERRED}]}


@pytest.mark.timeout(40)
async def test_a_kind_that_goes_while_it_is_watched_ends_kopf_and_that_is_told() -> None:
    nothing: Any = None  # no audit here
    async with ScriptedApi() as api:
        api.script("GET /api", ok({"versions": ["v1"]}))
        api.script("GET /api/v1", ok({"resources": [NAMESPACES]}))
        api.script("GET /apis", ok(GROUPS))
        api.script(f"GET {GROUP}", ok({"resources": KINDS}))
        # Lists and watches get the 404 of what is not scripted, as after the CRD was deleted.
        feed = KopfFeed(nothing, api.config, FunctionStore(lambda *_: None), lambda *_: None)
        feed.start()
        assert not feed.failed
        try:
            async with asyncio.timeout(30):
                while not feed.failed:
                    await asyncio.sleep(0.05)
        finally:
            await feed.stop()
