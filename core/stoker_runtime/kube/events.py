"""Posts Events (events.k8s.io/v1): what `kubectl describe` shows under an object.

For people, so never worth a request's time or a server's load: what repeats is counted in one Event, what is too much
is dropped, and errors are swallowed. Nothing may depend on an Event.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from random import Random
from typing import Any, Literal

import structlog
from msgspec import Struct

from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.clock import micro_time, monotonic_us
from stoker_runtime.kube.errors import KubeError, NotFound
from stoker_runtime.kube.objects import ObjectMeta, Resource

log = structlog.get_logger(__name__)

_MAX_NOTE = 1024
_MAX_NAME = 200
"""Characters of the object's name in that of its Event: names have at most 253, and a suffix follows."""


class Reference(Struct, frozen=True, kw_only=True, rename="camel"):
    """The object that an Event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""
    uid: str = ""


class _Event(Struct, frozen=True):
    metadata: ObjectMeta


EVENTS: Resource[_Event] = Resource("events.k8s.io", "v1", "events", namespaced=True, type=_Event)


class EventBounds(Struct, frozen=True, kw_only=True):
    """How much may be posted."""

    waiting: int = 500
    """Events that wait to be posted; more are dropped."""
    per_s: float = 5.0
    burst: int = 50
    per_object: int = 25
    """Different Events about one object within `series_s`."""
    series_s: float = 600.0
    """Within so long after the first, the same again is counted in its Event."""
    flush_s: float = 30.0
    """So often a count is written at most."""
    series: int = 2_000
    """Events that are remembered for being counted."""


class _Series(Struct):
    body: dict[str, Any]
    began_us: int
    count: int = 1
    written: int = 0
    """The count that the server knows; 0: it was not posted yet."""
    last: str = ""
    due_us: int = 0
    waits: bool = True


_Key = tuple[str, str, str, str, str]


class Events:
    """`start()`, `post(...)` from anywhere on the loop, `await stop()`."""

    def __init__(
        self,
        client: KubeClient,
        *,
        component: str,
        instance: str,
        bounds: EventBounds | None = None,
        rng: Random | None = None,
        clock_us: Callable[[], int] = monotonic_us,
    ) -> None:
        """`component` as in `stoker.dev/operator`, `instance` the pod's name."""
        self.dropped = 0
        """Posts that were neither sent nor counted."""
        self._client = client
        self._component = component
        self._instance = instance[:128]
        self._bounds = bounds or EventBounds()
        self._rng = rng or Random()  # noqa: S311  only has to differ
        self._clock_us = clock_us
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._per_object: dict[tuple[str, str], int] = {}
        self._queue: deque[_Key] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self) -> None:
        """What was not posted is dropped."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def post(
        self,
        regarding: Reference,
        kind: Literal["Normal", "Warning"],
        reason: str,
        note: str,
        *,
        action: str,
    ) -> None:
        """Never raises for being too much, and never waits. `reason` and `action` are words in CamelCase."""
        key = (regarding.namespace, regarding.name, regarding.uid, reason, note)
        now_us = self._clock_us()
        self._expire(now_us)
        known = self._series.get(key)
        if known is not None:
            known.count += 1
            known.last = micro_time()
            if not known.waits:
                self._enqueue(key, known)
            return
        about = (regarding.namespace, regarding.name)
        if (
            len(self._queue) >= self._bounds.waiting
            or len(self._series) >= self._bounds.series
            or self._per_object.get(about, 0) >= self._bounds.per_object
        ):
            self.dropped += 1
            return
        self._per_object[about] = self._per_object.get(about, 0) + 1
        series = self._series[key] = _Series(self._body(regarding, kind, reason, note, action), now_us)
        self._enqueue(key, series)

    def _enqueue(self, key: _Key, series: _Series) -> None:
        series.waits = True
        self._queue.append(key)
        self._wake.set()

    def _expire(self, now_us: int) -> None:
        """The oldest stand first."""
        while self._series:
            key, series = next(iter(self._series.items()))
            if now_us - series.began_us < self._bounds.series_s * 1_000_000:
                return
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        if self._series.pop(key, None) is None:
            return
        about = key[:2]
        left = self._per_object.get(about, 0) - 1
        if left > 0:
            self._per_object[about] = left
        else:
            self._per_object.pop(about, None)

    async def _run(self) -> None:
        room = float(self._bounds.burst)
        filled_us = self._clock_us()
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            now_us = self._clock_us()
            room = min(self._bounds.burst, room + (now_us - filled_us) / 1_000_000 * self._bounds.per_s)
            filled_us = now_us
            if room < 1:
                await asyncio.sleep((1 - room) / self._bounds.per_s)
                continue
            pause_s = self._until_due(now_us)
            if pause_s > 0:
                # Only counts wait here, and a new Event wakes us.
                self._wake.clear()
                await _first(self._wake, pause_s)
                continue
            key = self._queue.popleft()
            series = self._series.get(key)
            if series is None:
                continue
            room -= 1
            await self._send(key, series)

    def _until_due(self, now_us: int) -> float:
        """Bring one that is due to the front; else the seconds until one is."""
        soonest_us: int | None = None
        for _ in range(len(self._queue)):
            series = self._series.get(self._queue[0])
            if series is None or series.due_us <= now_us:
                return 0.0
            soonest_us = series.due_us if soonest_us is None else min(soonest_us, series.due_us)
            self._queue.rotate(-1)
        return 0.0 if soonest_us is None else (soonest_us - now_us) / 1_000_000

    async def _send(self, key: _Key, series: _Series) -> None:
        namespace = series.body["metadata"]["namespace"]
        count = series.count
        series.waits = False
        series.due_us = self._clock_us() + int(self._bounds.flush_s * 1_000_000)
        counted = {"series": {"count": count, "lastObservedTime": series.last or micro_time()}} if count > 1 else {}
        try:
            if series.written == 0:
                await self._client.create(EVENTS, {**series.body, **counted}, namespace)
            else:
                await self._client.patch(EVENTS, series.body["metadata"]["name"], counted, namespace)
            series.written = count
        except NotFound:
            # It expired (after an hour by default), or its namespace is gone: the next one is the first again.
            self._forget(key)
        except KubeError as exc:
            self.dropped += 1
            self._forget(key)
            log.debug("event_dropped", error=str(exc))
        if series.count > count and not series.waits and key in self._series:
            self._enqueue(key, series)

    def _body(self, about: Reference, kind: str, reason: str, note: str, action: str) -> dict[str, Any]:
        # Events about objects without a namespace live in `default`, as Kubernetes' own do.
        namespace = about.namespace or "default"
        return {
            "apiVersion": EVENTS.api_version,
            "kind": "Event",
            "metadata": {"name": f"{about.name[:_MAX_NAME]}.{self._rng.getrandbits(64):016x}", "namespace": namespace},
            "eventTime": micro_time(),
            "reportingController": self._component,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": about,
            "note": note if len(note.encode()) <= _MAX_NOTE else _cut(note),
            "type": kind,
        }


def _cut(note: str) -> str:
    return note.encode()[: _MAX_NOTE - 3].decode("utf-8", "ignore") + "..."


async def _first(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
