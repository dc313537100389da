"""A cache of all objects of one kind (in one namespace, by selectors), kept current by a watch.

List page by page, then watch from that moment; go on after every loss from the last version seen; list again, and
find out what was deleted meanwhile, when that version is too old. Knows no kind and decides nothing.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from random import Random
from typing import Generic, TypeVar

import structlog
from msgspec import Struct

from stoker_runtime.background import Background
from stoker_runtime.kube.backoff import Backoff
from stoker_runtime.kube.client import PAGE, KubeClient
from stoker_runtime.kube.decoding import Broken
from stoker_runtime.kube.errors import ApiError, BadRequest, Gone, KubeError, NotFound
from stoker_runtime.kube.object_store import Index, Key, ObjectStore, OnChange
from stoker_runtime.kube.objects import KubeObject, Resource
from stoker_runtime.kube.watch_lines import BadStream, Bookmark, Change, Lines, Unfit, read_event

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=KubeObject)
V = TypeVar("V", bound=Hashable)


class WatchTuning(Struct, frozen=True, kw_only=True):
    """Times of a watch. The defaults suit an API server; tests take shorter ones."""

    watch_s: float = 300.0
    """Seconds that one stream is asked to last at least; drawn up to twice that, so that they end apart."""
    silence_s: float = 200.0
    """Seconds without a byte after which a stream is dead. On a server at rest bookmarks were 60 to 120 s apart. A
    peer that vanished is found by the kernel much sooner; this is for one that is there and says nothing.
    """
    steady_s: float = 5.0
    """A stream that lasted so long was a good one, even if it brought nothing."""
    page: int = PAGE
    backoff: Backoff = Backoff(first_s=0.2, most_s=15.0)


class CacheStats(Struct, frozen=True, kw_only=True):
    """How a cache fares."""

    objects: int
    synced: bool
    lag_us: int
    """Since when no stream is open: how old the view may be. 0 while one is."""
    lists: int
    reconnects: int
    unfit: int
    """Objects that did not fit the struct, ever."""
    kind_missing: bool
    """The API server does not know this kind."""
    problem: str
    """Why there is no stream, in one sentence; empty when there is nothing to say."""


class Cache(Generic[T]):
    """`start()`, then `await synced.wait()`; `stop()` in the end. Readers see the newest known state at any time.

    Until `synced`, objects appear page by page, and what is missing proves nothing. An object that does not fit
    its struct is left as it was known before, is logged and counted.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        rng: Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
        tuning: WatchTuning | None = None,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self._client = client
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._rng = rng or Random()  # noqa: S311  jitter, no secret
        self._clock_s = clock_s
        self._tuning = tuning or WatchTuning()
        self._store: ObjectStore[T] = ObjectStore()
        self._what = f"watch {resource.path(namespace)}"
        self._task = Background(self._what)
        self._version = ""
        self._streaming = False
        self._lost_s = clock_s()
        self._stream_events = 0
        self._lists = 0
        self._reconnects = 0
        self._unfit = 0
        self._kind_missing = False
        self._problem = ""

    def start(self) -> None:
        """Begin to list and watch, on the running loop."""
        self._lost_s = self._clock_s()
        self._task.start(self._run)

    async def stop(self) -> None:
        """End the watch. What was known stays readable."""
        await self._task.stop()

    def get(self, namespace: str, name: str) -> T | None:
        """`namespace` is empty for a kind without namespaces."""
        return self._store.get(namespace, name)

    def items(self) -> Collection[T]:
        """All objects, as a live view: copy it before you await."""
        return self._store.items()

    def __len__(self) -> int:
        return len(self._store)

    def index_by(self, keys_of: Callable[[T], Iterable[V]]) -> Index[V, T]:
        """Objects by what a function says of them, kept current: `cache.index_by(lambda pod: [pod.node])`."""
        return self._store.index_by(keys_of)

    def on_change(self, listener: OnChange[T]) -> Callable[[], None]:
        """Call it on the loop at every change, the first listing included, with the object before and after.

        Each change at most once; changes while no stream was open come as one. An object that was deleted and made
        again is gone first, then new. Returns what ends it.
        """
        return self._store.on_change(listener)

    def unready(self, most_lag_s: float = 60.0) -> str | None:
        """Why the view cannot be relied on, in one sentence; None when it can."""
        kind = self.resource.plural
        if self._kind_missing:
            return f"The API server knows no {kind} of {self.resource.api_version}: install their CRD."
        because = f" ({self._problem})" if self._problem else ""
        if not self.synced.is_set():
            return f"The {kind} are not listed yet{because}."
        lag_s = 0.0 if self._streaming else self._clock_s() - self._lost_s
        if lag_s > most_lag_s:
            return f"The {kind} were last heard of {lag_s:.0f} s ago{because}."
        return None

    def stats(self) -> CacheStats:
        return CacheStats(
            objects=len(self._store),
            synced=self.synced.is_set(),
            lag_us=0 if self._streaming else _us(self._clock_s() - self._lost_s),
            lists=self._lists,
            reconnects=self._reconnects,
            unfit=self._unfit,
            kind_missing=self._kind_missing,
            problem=self._problem,
        )

    async def _run(self) -> None:
        failures = 0
        while True:
            began_s = self._clock_s()
            self._stream_events = 0
            failed = True
            try:
                if not self._version:
                    await self._list()
                began_s = self._clock_s()
                await self._watch()
                failed = False
            except Gone:
                self._version = ""
                log.info("kube_watch_expired", watch=self._what)
            except BadStream as exc:
                self._say(f"{self._what}: {exc}")
                # Going on from before it failed twice: it is not a passing fault, so begin anew.
                if failures and not self._stream_events:
                    self._version = ""
            except KubeError as exc:
                self._kind_missing = isinstance(exc, NotFound)
                if _version_refused(exc):
                    self._version = ""
                self._say(str(exc))
            except Exception as exc:
                # A mistake of ours must not leave a view that silently ages: say it, and begin anew.
                log.exception("kube_watch_failed", watch=self._what)
                self._problem = f"{type(exc).__name__} in {self._what}; the log has more"
                self._version = ""
            finally:
                if self._streaming:
                    self._streaming = False
                    self._lost_s = self._clock_s()
            steady = self._stream_events > 0 or self._clock_s() - began_s >= self._tuning.steady_s
            if steady:
                failures = 0
            # A server that ends every stream at once is not to be asked in a tight loop either.
            if failed or not steady:
                await asyncio.sleep(self._tuning.backoff.pause_s(failures, self._rng))
                failures += 1
            self._reconnects += 1

    def _say(self, problem: str) -> None:
        # Streams end all the time; that a new one cannot be had is worth a warning, once.
        if not self._problem:
            log.info("kube_watch_lost", watch=self._what, problem=problem)
        elif problem != self._problem:
            log.warning("kube_watch_down", watch=self._what, problem=problem)
        self._problem = problem

    async def _list(self) -> None:
        """Take over the state of now, page by page. What is known and did not come is gone."""
        self._lists += 1
        missing: set[Key] = set(self._store.keys())
        version = ""
        async for page in self._client.pages(
            self.resource,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            limit=self._tuning.page,
        ):
            for item in page.items:
                missing.discard((item.metadata.namespace, item.metadata.name))
                self._store.put(item)
            for broken in page.broken:
                missing.discard(self._count_unfit(broken))
            version = page.resource_version
        for namespace, name in missing:
            self._store.remove(namespace, name)
        if not version:
            raise BadStream("a list without a resourceVersion")
        self._version = version
        self._kind_missing = False
        self._problem = ""
        self.synced.set()

    async def _watch(self) -> None:
        """Follow one stream until the server ends it."""
        seconds = round(self._rng.uniform(self._tuning.watch_s, 2 * self._tuning.watch_s))
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(max(1, seconds)),
        }
        if self._labels:
            parameters["labelSelector"] = self._labels
        if self._fields:
            parameters["fieldSelector"] = self._fields
        lines = Lines()
        async with self._client.transport.stream(
            self.resource.path(self._namespace),
            parameters,
            silence_s=self._tuning.silence_s,
            timeout_s=seconds + 30.0,  # the server ends it; this is for one that does not
        ) as pieces:
            self._streaming = True
            self._kind_missing = False
            self._problem = ""
            async for piece in pieces:
                for line in lines.feed(piece):
                    self._take(read_event(line, self.resource.type, self._what))

    def _take(self, event: Change[T] | Bookmark | Unfit) -> None:
        self._stream_events += 1
        self._version = event.version
        if isinstance(event, Bookmark):
            return
        if isinstance(event, Unfit):
            namespace, name = self._count_unfit(event.broken)
            if event.gone:
                self._store.remove(namespace, name)
        elif event.gone:
            meta = event.object.metadata
            self._store.remove(meta.namespace, meta.name, meta.uid)
        else:
            self._store.put(event.object)

    def _count_unfit(self, broken: Broken) -> Key:
        self._unfit += 1
        return broken.namespace, broken.name


def _version_refused(error: KubeError) -> bool:
    """Does the server not know the version that we would go on from? So it is after etcd was restored from a backup."""
    return isinstance(error, BadRequest) or (
        isinstance(error, ApiError) and any(cause.reason == "ResourceVersionTooLarge" for cause in error.causes)
    )


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)
