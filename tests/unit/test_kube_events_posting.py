"""Events: what repeats is counted, what is too much is dropped, and nothing that fails is anybody's problem."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from scripted_api import ScriptedApi, failing, hanging, ok, thing

from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.events import EventBounds, Events, Reference
from stoker_runtime.kube.transport import Limits

pytestmark = pytest.mark.unit

PATH = "/apis/events.k8s.io/v1/namespaces/a/events"
ABOUT = Reference(api_version="v1", kind="Pod", name="p", namespace="a", uid="u")
MADE = ok(thing("p.1", 1), 201)


@asynccontextmanager
async def posting(api: ScriptedApi, **more: Any) -> AsyncIterator[Events]:
    async with KubeClient(api.config, limits=Limits(tries=1, timeout_s=1.0)) as kube:
        events = Events(kube, component="stoker.dev/test", instance="me", rng=Random(1), **more)
        try:
            yield events
        finally:
            await events.stop()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.002)


async def test_an_event_says_who_what_and_why() -> None:
    async with ScriptedApi() as api, posting(api) as events:
        api.script(f"POST {PATH}", MADE)
        events.start()
        events.post(ABOUT, "Warning", "ImageNeedsRoot", "x" * 2000 + "é", action="Create")
        await until(lambda: api.requests)
        body = api.requests[0].json
        assert body["regarding"] == {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": "a", "uid": "u"}
        assert (body["type"], body["reason"], body["action"]) == ("Warning", "ImageNeedsRoot", "Create")
        assert (body["reportingController"], body["reportingInstance"]) == ("stoker.dev/test", "me")
        assert body["note"] == "x" * 1021 + "..."
        assert body["metadata"]["name"].startswith("p.")
        assert "series" not in body


async def test_an_event_about_an_object_without_a_namespace_is_posted_to_default() -> None:
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    async with ScriptedApi() as api, posting(api) as events:
        api.script(f"POST {path}", MADE)
        events.start()
        events.post(Reference(api_version="v1", kind="Node", name="n"), "Normal", "R", "n", action="A")
        await until(lambda: api.asked(f"POST {path}"))


async def test_what_repeats_is_one_event_with_a_count_written_now_and_then() -> None:
    async with ScriptedApi() as api, posting(api, bounds=EventBounds(flush_s=0.05)) as events:
        api.script(f"POST {PATH}", MADE)
        events.start()
        events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: api.requests)
        name = api.requests[0].json["metadata"]["name"]
        patch = f"PATCH {PATH}/{name}"
        api.script(patch, MADE)
        for _ in range(100):
            events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: api.asked(patch))
        assert api.asked(patch)[0].json["series"]["count"] == 101
        assert len(api.requests) == 2


async def test_repeats_before_the_first_was_posted_are_in_it() -> None:
    async with ScriptedApi() as api, posting(api) as events:
        api.script(f"POST {PATH}", MADE)
        for _ in range(3):
            events.post(ABOUT, "Normal", "Waking", "n", action="A")
        events.start()
        await until(lambda: api.requests)
        assert api.requests[0].json["series"]["count"] == 3


async def test_an_event_that_expired_on_the_server_is_posted_anew() -> None:
    async with ScriptedApi() as api, posting(api, bounds=EventBounds(flush_s=0.01)) as events:
        api.script(f"POST {PATH}", MADE)
        events.start()
        events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: api.requests)
        events.post(ABOUT, "Normal", "Waking", "n", action="A")  # its PATCH is answered 404
        await until(lambda: len(api.requests) == 2)
        await asyncio.sleep(0.01)
        events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: len(api.asked(f"POST {PATH}")) == 2)


async def test_too_much_is_dropped_and_counted_and_waits_for_nobody() -> None:
    async with ScriptedApi() as api, posting(api, bounds=EventBounds(waiting=10, per_object=4)) as events:
        for number in range(10):
            events.post(ABOUT, "Normal", "Waking", f"note {number}", action="A")
        assert events.dropped == 6
        for number in range(20):
            other = Reference(api_version="v1", kind="Pod", name=f"q{number}", namespace="a")
            events.post(other, "Normal", "Waking", "n", action="A")
        assert events.dropped == 20


async def test_only_so_many_are_posted_at_once() -> None:
    async with ScriptedApi() as api, posting(api, bounds=EventBounds(burst=3, per_s=0.001)) as events:
        api.script(f"POST {PATH}", MADE)
        events.start()
        for number in range(8):
            events.post(ABOUT, "Normal", "Waking", f"note {number}", action="A")
        await until(lambda: len(api.requests) == 3)
        await asyncio.sleep(0.05)
        assert len(api.requests) == 3


async def test_a_server_that_refuses_or_hangs_is_nobodys_problem() -> None:
    async with ScriptedApi() as api, posting(api) as events:
        api.script(f"POST {PATH}", failing(403, "Forbidden"), MADE, hanging())
        events.start()
        for number in range(3):
            events.post(ABOUT, "Normal", "Waking", f"note {number}", action="A")
        await until(lambda: len(api.requests) == 3)
        assert events.dropped == 1


async def test_after_its_time_the_same_is_a_new_event() -> None:
    now_us = 0
    async with ScriptedApi() as api, posting(api, clock_us=lambda: now_us) as events:
        api.script(f"POST {PATH}", MADE)
        events.start()
        events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: api.requests)
        now_us = 601_000_000
        events.post(ABOUT, "Normal", "Waking", "n", action="A")
        await until(lambda: len(api.asked(f"POST {PATH}")) == 2)
