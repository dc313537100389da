"""What the client does when the API server fails, sheds, hangs or answers nonsense."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from scripted_api import ScriptedApi, cut_off, failing, garbage, hanging, listing, ok, thing

from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.config import KubeConfig
from stoker_runtime.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    error_of,
)
from stoker_runtime.kube.objects import ObjectMeta, Resource, Seen
from stoker_runtime.kube.transport import Limits

pytestmark = pytest.mark.unit


class Thing(Struct, frozen=True):
    metadata: ObjectMeta
    size: int = 0


THINGS = Resource("t.dev", "v1", "things", namespaced=True, type=Thing)
ONE = "/apis/t.dev/v1/namespaces/a/things/one"
ALL = "/apis/t.dev/v1/namespaces/a/things"
QUICK = Limits(timeout_s=0.15, backoff=Backoff(first_s=0.001, most_s=0.002))


def client(api: ScriptedApi, limits: Limits = QUICK) -> KubeClient:
    return KubeClient(api.config, rng=Random(1), limits=limits)


@pytest.mark.parametrize(
    "fault",
    [failing(503), failing(500), failing(504), failing(429, Retry_After="0"), cut_off()],
    ids=["503", "500", "504", "429", "cut off"],
)
async def test_a_read_is_tried_again_after_what_time_may_heal(fault: Any) -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ONE}", fault, fault, ok(thing("one", 1, size=3)))
        assert (await kube.get(THINGS, "one", "a")).size == 3
        assert len(api.requests) == 3


@pytest.mark.parametrize(
    "fault",
    [failing(503, Retry_After="0"), failing(500), cut_off(), hanging()],
    ids=["503", "500", "cut off", "hanging"],
)
async def test_a_write_that_may_have_been_done_is_never_sent_twice(fault: Any) -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"POST {ALL}", fault)
        with pytest.raises((ServerFailed, Unreachable)):
            await kube.create(THINGS, {"metadata": {"name": "one"}}, "a")
        assert len(api.requests) == 1


async def test_a_write_that_was_shed_is_sent_again_when_the_server_said_when() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"POST {ALL}", failing(429, Retry_After="0"), ok(thing("one", 1), 201))
        # `Retry-After: 0` still says that it may be tried.
        await kube.create(THINGS, {"metadata": {"name": "one"}}, "a")
        api.script(f"POST {ALL}", failing(429))
        with pytest.raises(TooManyRequests):
            await kube.create(THINGS, {"metadata": {"name": "one"}}, "a")
        assert len(api.requests) == 3


async def test_a_pause_longer_than_the_bound_is_left_to_the_caller() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ONE}", failing(503, Retry_After="60"))
        with pytest.raises(ServerFailed) as caught:
            await kube.get(THINGS, "one", "a")
        assert caught.value.retry_after_s == 60
        assert len(api.requests) == 1


async def test_tries_end() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ONE}", failing(503))
        with pytest.raises(ServerFailed):
            await kube.get(THINGS, "one", "a")
        assert len(api.requests) == QUICK.tries


async def test_a_server_that_hangs_is_given_up() -> None:
    limits = Limits(timeout_s=0.05, tries=2, backoff=QUICK.backoff)
    async with ScriptedApi() as api, client(api, limits) as kube:
        api.script(f"GET {ONE}", hanging())
        with pytest.raises(Unreachable, match="not answered in time"):
            await kube.get(THINGS, "one", "a")
        assert len(api.requests) == 2


async def test_nobody_listening_is_unsent() -> None:
    async with ScriptedApi() as api:
        config = api.config
    async with KubeClient(config, limits=QUICK) as kube:
        with pytest.raises(Unreachable, match="no connection") as caught:
            await kube.create(THINGS, {}, "a")
        assert caught.value.unsent


async def test_a_closed_client_says_so() -> None:
    async with ScriptedApi() as api:
        kube = client(api)
        await kube.close()
        with pytest.raises(Unreachable, match="closed"):
            await kube.create(THINGS, {}, "a")


@pytest.mark.parametrize("body", [b"<html>", b'{"metadata": 3}', b"", b"\xff\xfe", b'{"metadata": {"name": '])
async def test_an_answer_that_is_no_object_is_unreachable(body: bytes) -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ONE}", garbage(body))
        with pytest.raises(Unreachable, match="things/one: the answer"):
            await kube.get(THINGS, "one", "a")
        api.script(f"GET {ALL}", garbage(body))
        with pytest.raises(Unreachable):
            await kube.list(THINGS, "a")


async def test_a_redirect_is_not_followed_with_our_token() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ONE}", failing(302, Location="http://127.0.0.1:1/elsewhere"))
        with pytest.raises(Exception, match="302"):
            await kube.get(THINGS, "one", "a")
        assert len(api.requests) == 1


async def test_after_401_the_token_is_read_again_and_the_request_goes_out_once_more(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    async with ScriptedApi() as api:
        config = KubeConfig(server=api.config.server, token_file=token)
        async with KubeClient(config, limits=QUICK) as kube:

            async def refuse_old(request: Any) -> Any:
                if request.headers["Authorization"] == "Bearer old":
                    token.write_text("new")
                    return await failing(401, "Unauthorized")(request)
                return await ok(thing("one", 1), 201)(request)

            api.script(f"POST {ALL}", refuse_old)
            await kube.create(THINGS, {}, "a")
            assert [one.headers["Authorization"] for one in api.requests] == ["Bearer old", "Bearer new"]
            api.script(f"POST {ALL}", failing(401, "Unauthorized"))
            with pytest.raises(Unauthorized):
                await kube.create(THINGS, {}, "a")
            assert len(api.requests) == 3  # the same token would be refused again


async def test_a_list_is_asked_for_page_by_page_and_begun_anew_when_it_expired() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        first = ok(listing(5, thing("one", 1), rest="token"))
        api.script(f"GET {ALL}", first, failing(410, "Expired"), first, ok(listing(5, thing("two", 2))))
        page = await kube.list(THINGS, "a", limit=1, label_selector="x=y")
        assert [item.metadata.name for item in page.items] == ["one", "two"]
        assert page.resource_version == "5"
        queries = [one.query for one in api.requests]
        assert queries[1] == {"limit": "1", "labelSelector": "x=y", "continue": "token"}
        assert "continue" not in queries[2]


async def test_a_list_that_always_expires_is_given_up() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ALL}", failing(410, "Expired"))
        with pytest.raises(Gone):
            await kube.list(THINGS, "a")


async def test_an_object_that_does_not_fit_is_apart_and_hides_no_other() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        api.script(f"GET {ALL}", ok(listing(5, thing("one", 1), thing("odd", 2, size="big"), {"metadata": 1})))
        page = await kube.list(THINGS, "a")
        assert [item.metadata.name for item in page.items] == ["one"]
        assert [one.name for one in page.broken] == ["odd", ""]


async def test_requests_beyond_the_bound_wait_for_room() -> None:
    most = 0
    now = 0

    async def count(request: Any) -> Any:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        return await ok(thing("one", 1))(request)

    async with ScriptedApi() as api, client(api, Limits(in_flight=3)) as kube:
        api.script(f"GET {ONE}", count)
        await asyncio.gather(*(kube.get(THINGS, "one", "a") for _ in range(12)))
    assert most == 3


async def test_what_is_sent_for_each_verb() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        for verb in ("POST", "PATCH", "DELETE"):
            api.script(f"{verb} {ALL if verb == 'POST' else ONE}", ok(thing("one", 1)))
        api.script(f"PATCH {ONE}/status", ok(thing("one", 1)))
        await kube.create(THINGS, {"a": 1}, "a", dry_run=True)
        seen = Seen("uid-one", "7")
        await kube.apply(THINGS, "one", {"size": 2}, "a", manager="m", force=True, subresource="status", seen=seen)
        await kube.patch(THINGS, "one", [{"op": "remove", "path": "/size"}], "a", kind="json")
        await kube.delete(THINGS, "one", "a", seen=seen, grace_s=0, propagation="Background")
        create, apply, patch, delete = api.requests
        assert create.query == {"fieldValidation": "Strict", "dryRun": "All"}
        assert apply.query == {"fieldValidation": "Strict", "fieldManager": "m", "force": "true"}
        assert apply.headers["Content-Type"] == "application/apply-patch+yaml"
        assert apply.json == {"size": 2, "metadata": {"uid": "uid-one", "resourceVersion": "7"}}
        assert patch.headers["Content-Type"] == "application/json-patch+json"
        assert delete.json == {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": "uid-one", "resourceVersion": "7"},
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Background",
        }


async def test_calls_that_would_mean_another_object_are_mistakes() -> None:
    async with ScriptedApi() as api, client(api) as kube:
        with pytest.raises(ValueError, match="name of the object is missing"):
            await kube.delete(THINGS, "", "a")
        with pytest.raises(ValueError, match="namespace is missing"):
            await kube.delete(THINGS, "one")
        with pytest.raises(ValueError, match="namespace is missing"):
            await kube.create(THINGS, {})
        with pytest.raises(ValueError, match="not the name of an object"):
            await kube.get(THINGS, "..", "a")
        with pytest.raises(ValueError, match="uid"):
            Seen("", "7")
        assert api.requests == []
    assert THINGS.path("a", "x/../y", "status") == f"{ALL}/x%2F..%2Fy/status"
    assert Resource("", "v1", "nodes", namespaced=False, type=Thing).path("", "n") == "/api/v1/nodes/n"


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (403, "Forbidden", Forbidden),
        (422, "Invalid", Invalid),
        (429, "", TooManyRequests),
        (507, "", ServerFailed),
    ],
)
def test_each_answer_has_its_type(status: int, reason: str, kind: type[Exception]) -> None:
    details = {"causes": [{"reason": "FieldValueInvalid", "message": "no", "field": "spec.x"}], "retryAfterSeconds": 2}
    body = msgspec.json.encode({"reason": reason, "message": "why", "details": details})
    error = error_of("GET /x", status, {}, body)
    assert type(error) is kind
    assert (error.status, error.message, error.retry_after_s) == (status, "why", 2)
    assert error.causes[0].field == "spec.x"
    assert type(error_of("GET /x", status, {}, b"<html>" * 1000)) in {kind, Conflict}


def test_pauses_grow_up_to_a_bound_and_stay_finite() -> None:
    backoff, rng = Backoff(first_s=1, most_s=8), Random(1)
    for failures, most in ((0, 1), (1, 2), (2, 4), (3, 8), (10_000, 8)):
        assert most / 2 <= backoff.pause_s(failures, rng) <= most
