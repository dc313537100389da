"""A watch cache against a scripted server: lost streams, garbage, expiry, and what listeners hear."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from msgspec import Struct
from scripted_api import (
    ScriptedApi,
    bookmark,
    cut_off,
    error_event,
    event,
    failing,
    garbage,
    hanging,
    listing,
    ok,
    stream,
    thing,
)

from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.objects import ObjectMeta, Resource
from stoker_runtime.kube.transport import Limits
from stoker_runtime.kube.watch import Cache, WatchTuning
from stoker_runtime.kube.watch_lines import MAX_LINE_BYTES, BadStream, Lines

pytestmark = pytest.mark.unit


class Thing(Struct, frozen=True):
    metadata: ObjectMeta
    size: int = 0


THINGS = Resource("", "v1", "things", namespaced=True, type=Thing)
LIST = "GET /api/v1/things"
WATCH = "WATCH /api/v1/things"
TUNING = WatchTuning(silence_s=5.0, steady_s=5.0, backoff=Backoff(first_s=0.002, most_s=0.01))
QUICK = Limits(timeout_s=1.0, tries=1)


class Heard:
    def __init__(self) -> None:
        self.changes: list[str] = []

    def __call__(self, old: Thing | None, new: Thing | None) -> None:
        of = new or old
        assert of is not None
        sign = "+" if old is None else "-" if new is None else "~"
        self.changes.append(f"{sign}{of.metadata.name}@{of.metadata.resource_version}")


@asynccontextmanager
async def watching(
    api: ScriptedApi, tuning: WatchTuning = TUNING, **more: Any
) -> AsyncIterator[tuple[Cache[Thing], Heard]]:
    async with KubeClient(api.config, limits=QUICK) as kube:
        cache = Cache(kube, THINGS, rng=Random(3), tuning=tuning, **more)
        heard = Heard()
        cache.on_change(heard)
        cache.start()
        try:
            yield cache, heard
        finally:
            await cache.stop()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.002)


def has_come_to(cache: Cache[Thing], version: str) -> bool:
    """Everything up to a version was taken in. Versions are compared as numbers."""
    return int(cache._version or 0) >= int(version)


def versions(api: ScriptedApi) -> list[str]:
    return [one.query["resourceVersion"] for one in api.asked(WATCH)]


async def test_pages_then_events_make_the_view() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 1), rest="more")), ok(listing(9, thing("two", 2))))
        changes = event("MODIFIED", thing("one", 10, size=5)) + event("DELETED", thing("two", 11))
        api.script(WATCH, stream(changes, event("ADDED", thing("three", 12)), bookmark(20), then="hang"))
        async with watching(api) as (cache, heard):
            await cache.synced.wait()
            await until(lambda: has_come_to(cache, "20"))
            assert heard.changes == ["+one@1", "+two@2", "~one@10", "-two@2", "+three@12"]
            one = cache.get("a", "one")
            assert one is not None
            assert one.size == 5
            assert {item.metadata.name for item in cache.items()} == {"one", "three"}
            assert cache.unready() is None
            stats = cache.stats()
            assert (stats.objects, stats.synced, stats.lag_us, stats.lists) == (2, True, 0, 1)
        assert versions(api) == ["9"]
        assert api.asked(WATCH)[0].query["allowWatchBookmarks"] == "true"
        assert 300 <= int(api.asked(WATCH)[0].query["timeoutSeconds"]) <= 600


@pytest.mark.parametrize("then", ["end", "break"])
async def test_a_stream_that_is_lost_goes_on_from_the_last_version_seen(then: str) -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        added = event("ADDED", thing("one", 10))
        api.script(
            WATCH,
            stream(added, bookmark(15), then=then),
            failing(503),
            cut_off(),
            stream(event("MODIFIED", thing("one", 16)), then="hang"),
        )
        async with watching(api) as (cache, heard):
            await until(lambda: len(heard.changes) == 2)
            assert cache.stats().reconnects >= 2  # one may be aiohttp's own
        assert versions(api) == ["9", "15", "15", "15"]
        assert len(api.asked(LIST)) == 1


async def test_half_a_line_at_the_end_is_no_event_and_comes_again() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        whole = event("ADDED", thing("one", 10))
        two = event("ADDED", thing("two", 11))
        api.script(WATCH, stream(whole[:30], whole[30:] + two[:25]), stream(two, then="hang"))
        async with watching(api) as (_, heard):
            await until(lambda: len(heard.changes) == 2)
            assert heard.changes == ["+one@10", "+two@11"]
        assert versions(api) == ["9", "10"]


@pytest.mark.parametrize(
    "junk",
    [
        b"<html>\n",
        b"\xff\xfe\x00\n",
        b'{"type":"ADDED"}\n',
        b'{"type":"NEW","object":{}}\n',
        b'{"type":"BOOKMARK","object":{}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"","resourceVersion":"3"}}}\n',
        b'{"type":"ADDED","object":{"metadata":{"name":"x"}}}\n',
        b"[1]\n",
    ],
)
async def test_a_line_of_garbage_loses_no_event(junk: bytes) -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        one, two = event("ADDED", thing("one", 10)), event("ADDED", thing("two", 11))
        api.script(WATCH, stream(one + junk + two, then="hang"), stream(two, then="hang"))
        async with watching(api) as (_, heard):
            await until(lambda: len(heard.changes) == 2)
            assert heard.changes == ["+one@10", "+two@11"]
        assert versions(api)[:2] == ["9", "10"]


async def test_garbage_that_comes_again_at_the_same_place_makes_it_list_anew() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)), ok(listing(30, thing("two", 11))))
        api.script(WATCH, garbage(b"<p>\n"), garbage(b"<p>\n"), stream(bookmark(31), then="hang"))
        async with watching(api) as (cache, heard):
            await until(lambda: has_come_to(cache, "31"))
            assert heard.changes == ["+two@11"]
        assert versions(api) == ["9", "9", "30"]


async def test_a_line_that_never_ends_is_bounded() -> None:
    lines = Lines()
    assert lines.feed(b'{"a"') == []
    assert lines.feed(b": 1}\n\n{}\n{") == [b'{"a": 1}', b"{}"]
    with pytest.raises(BadStream):
        lines.feed(b"x" * (MAX_LINE_BYTES + 1))


@pytest.mark.parametrize("by_event", [True, False])
async def test_an_expired_version_lists_anew_and_finds_what_was_deleted_meanwhile(*, by_event: bool) -> None:
    async with ScriptedApi() as api:
        before = listing(9, thing("stays", 1), thing("goes", 2), thing("changes", 3), thing("reborn", 4, uid="old"))
        after = listing(50, thing("stays", 1), thing("changes", 40), thing("reborn", 41, uid="new"), thing("comes", 42))
        api.script(LIST, ok(before), ok(after))
        expired = stream(error_event(410, "Expired")) if by_event else failing(410, "Expired")
        api.script(WATCH, expired, stream(bookmark(51), then="hang"))
        async with watching(api) as (cache, heard):
            await until(lambda: has_come_to(cache, "51"))
            assert heard.changes[:4] == ["+stays@1", "+goes@2", "+changes@3", "+reborn@4"]
            assert heard.changes[4:] == ["~changes@40", "-reborn@4", "+reborn@41", "+comes@42", "-goes@2"]
            assert cache.stats().lists == 2
        assert versions(api) == ["9", "50"]


@pytest.mark.parametrize("code", [400, 504])
async def test_a_version_that_the_server_does_not_know_lists_anew(code: int) -> None:
    # After etcd was restored from a backup, ours may be one of the future.
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(900, thing("one", 800))), ok(listing(7, thing("one", 5))))
        details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": "too large"}]} if code == 504 else {}
        api.script(WATCH, ok({"code": code, "details": details}, code), stream(bookmark(8), then="hang"))
        async with watching(api) as (_, heard):
            await until(lambda: len(heard.changes) == 2)
            assert heard.changes == ["+one@800", "~one@5"]


async def test_a_continue_token_that_expires_begins_the_list_anew() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 1), rest="x")), failing(410, "Expired"), ok(listing(12)))
        api.script(WATCH, stream(then="hang"))
        async with watching(api) as (cache, heard):
            await cache.synced.wait()
            assert heard.changes == ["+one@1", "-one@1"]
            assert len(cache) == 0


async def test_a_stream_that_says_nothing_is_left() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        api.script(WATCH, stream(bookmark(10), then="hang"), stream(event("ADDED", thing("one", 11)), then="hang"))
        tuning = WatchTuning(silence_s=0.05, backoff=TUNING.backoff)
        async with watching(api, tuning) as (_, heard):
            await until(lambda: heard.changes)
        assert versions(api)[:2] == ["9", "10"]


async def test_a_server_that_hangs_before_its_answer_is_left_too() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, hanging(), ok(listing(9)))
        api.script(WATCH, hanging(), stream(event("ADDED", thing("one", 11)), then="hang"))
        async with KubeClient(api.config, limits=Limits(timeout_s=0.05, tries=2, backoff=TUNING.backoff)) as kube:
            cache = Cache(kube, THINGS, tuning=WatchTuning(silence_s=0.05, backoff=TUNING.backoff))
            cache.start()
            # A list may take a minute, so its own bound is not met here: the next try is what is shown.
            await asyncio.sleep(0.02)
            assert cache.unready() == "The things are not listed yet."
            await cache.stop()
            api.script(LIST, ok(listing(9)))
            cache.start()
            await until(lambda: len(cache) == 1)
            await cache.stop()


async def test_streams_that_end_at_once_are_asked_for_ever_more_slowly() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        api.script(WATCH, stream())
        tuning = WatchTuning(backoff=Backoff(first_s=0.02, most_s=10.0))
        async with watching(api, tuning):
            await asyncio.sleep(0.3)
        assert 2 <= len(api.asked(WATCH)) <= 6


async def test_an_event_that_comes_twice_is_heard_once() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 9))))
        same = event("MODIFIED", thing("one", 9))
        twice = event("MODIFIED", thing("one", 10)) * 2 + event("DELETED", thing("one", 11)) * 2
        api.script(WATCH, stream(same, twice, bookmark(12), then="hang"))
        async with watching(api) as (cache, heard):
            await until(lambda: has_come_to(cache, "12"))
            assert heard.changes == ["+one@9", "~one@10", "-one@10"]


async def test_the_deletion_of_an_earlier_object_of_the_same_name_leaves_the_new_one() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 9, uid="new"))))
        api.script(WATCH, stream(event("DELETED", thing("one", 8, uid="old")), bookmark(12), then="hang"))
        async with watching(api) as (cache, _):
            await until(lambda: has_come_to(cache, "12"))
            assert cache.get("a", "one") is not None


async def test_an_object_that_does_not_fit_stays_as_it_was_and_is_counted() -> None:
    async with ScriptedApi() as api:
        odd = thing("one", 10, size="big")
        api.script(LIST, ok(listing(9, thing("one", 9, size=1), thing("two", 9))), ok(listing(20, odd)))
        gone = event("DELETED", thing("two", 11, size="big"))
        api.script(
            WATCH, stream(event("MODIFIED", odd), gone, error_event(410, "Expired")), stream(bookmark(21), then="hang")
        )
        async with watching(api) as (cache, heard):
            await until(lambda: has_come_to(cache, "21"))
            one = cache.get("a", "one")
            assert one is not None
            assert one.size == 1
            assert heard.changes == ["+one@9", "+two@9", "-two@9"]
            assert cache.stats().unfit == 3


async def test_listeners_and_indexes_that_fail_cost_the_others_nothing() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 1))))
        api.script(WATCH, stream(event("ADDED", thing("two", 10)), then="hang"))
        async with KubeClient(api.config) as kube:
            cache = Cache(kube, THINGS)

            def fail(*_: Any) -> Any:
                raise ZeroDivisionError

            heard = Heard()
            cache.on_change(fail)
            cache.on_change(heard)
            broken = cache.index_by(fail)
            cache.start()
            await until(lambda: len(heard.changes) == 2)
            assert list(broken.values()) == []
            await cache.stop()


async def test_indexes_follow_every_change_and_are_current_when_listeners_are_called() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9, thing("one", 1, size=1), thing("two", 2, size=1))))
        changes = event("MODIFIED", thing("one", 10, size=2)) + event("DELETED", thing("two", 11, size=1))
        api.script(WATCH, stream(changes, then="hang"))
        async with KubeClient(api.config) as kube:
            cache = Cache(kube, THINGS)
            by_size = cache.index_by(lambda item: [item.size])
            seen: list[dict[int, list[str]]] = []

            def look(*_: Any) -> None:
                view = {size: [item.metadata.name for item in by_size.get(size)] for size in by_size.values()}
                seen.append(view)

            end = cache.on_change(look)
            cache.start()
            await until(lambda: len(seen) == 4)
            assert seen == [{1: ["one"]}, {1: ["one", "two"]}, {1: ["two"], 2: ["one"]}, {2: ["one"]}]
            late = cache.index_by(lambda item: [item.metadata.namespace])
            assert len(late.get("a")) == 1
            assert list(by_size.get(1)) == []
            end()
            end()
            await cache.stop()


async def test_a_kind_that_is_not_there_is_named_until_it_is() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, failing(404, "NotFound"), failing(404, "NotFound"), ok(listing(9)))
        api.script(WATCH, stream(then="hang"))
        async with watching(api, WatchTuning(backoff=Backoff(first_s=0.05, most_s=0.05))) as (cache, _):
            await until(lambda: cache.stats().kind_missing)
            assert cache.unready() == "The API server knows no things of v1: install their CRD."
            await cache.synced.wait()
            assert cache.unready() is None


async def test_a_view_that_ages_says_so() -> None:
    async with ScriptedApi() as api:
        api.script(LIST, ok(listing(9)))
        api.script(WATCH, failing(403, "Forbidden", "things is forbidden"))
        now = 0.0
        async with watching(api, clock_s=lambda: now) as (cache, _):
            await until(lambda: cache.stats().problem)
            assert cache.unready() is None
            now = 61.0
            unready = cache.unready()
            assert unready is not None
            assert unready.startswith("The things were last heard of 61 s ago (GET /api/v1/things")
            assert cache.stats().lag_us == 61_000_000


async def test_selectors_and_a_namespace_are_sent_with_list_and_watch() -> None:
    async with ScriptedApi() as api, KubeClient(api.config) as kube:
        path = "/api/v1/namespaces/a/things"
        api.script(f"GET {path}", ok(listing(9)))
        opened = asyncio.Event()
        api.script(f"WATCH {path}", stream(then="hang", opened=opened))
        cache = Cache(kube, THINGS, "a", label_selector="app=x", field_selector="spec.nodeName=n")
        cache.start()
        await opened.wait()
        await cache.stop()
        for one in api.requests:
            assert one.query["labelSelector"] == "app=x"
            assert one.query["fieldSelector"] == "spec.nodeName=n"
