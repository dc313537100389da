"""Why the kubelet does not get on with a pod: the last Warning event of each that has a node and does not run.

What hinders a mount or a sandbox stands in Events only. They are read for the few pods that need it, each seldom:
a watch of all Events of a cluster would be more than all else that is watched. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from stoker.model.replica import ReplicaState
from stoker.wire.cluster import MAIN_CONTAINER
from stoker_operator.kinds import EVENTS, Event
from stoker_operator.pod_view import ReplicaPod, epoch_us
from stoker_runtime.kube.decoding import Page
from stoker_runtime.kube.errors import KubeError
from stoker_runtime.kube.objects import Resource

log = structlog.get_logger(__name__)

Warned = tuple[str, str]
"""Reason and message, as in FailedMount."""
NOTHING: Warned = ("", "")

INTERVAL_S = 1.0
"""Between two rounds."""
AFTER_US = 5_000_000
"""Most pods run sooner, and nobody reads their events."""
AGAIN_US = 10_000_000
"""Between two reads about the same pod."""
PODS_PER_ROUND = 40
AT_ONCE = 8
_STILL = ("", "ContainerCreating", "PodInitializing")
_BEFORE_IT_HAD_A_NODE = "FailedScheduling"
_GOT_OVER = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""Events after which what hindered the pod before is over: its sandbox and its volumes are there."""


class EventApi(Protocol):
    """What this needs of a KubeClient."""

    async def list(self, resource: Resource[Event], namespace: str, *, field_selector: str) -> Page[Event]: ...


class PodWarnings:
    """`await round(...)` every INTERVAL_S while this process leads, `of` at any time."""

    def __init__(self, kube: EventApi, *, clock_us: Callable[[], int], changed: Callable[[], None]) -> None:
        """`changed` is called after a round that found something new."""
        self._kube = kube
        self._clock_us = clock_us
        self._changed = changed
        self._due_us: dict[str, int] = {}
        """By pod, when its events are read next."""
        self._said: dict[str, Warned] = {}
        self._fails = False

    def of(self, uid: str) -> Warned:
        """The last warning about a pod, as of the last read; NOTHING where there is none, or the pod gets on."""
        return self._said.get(uid, NOTHING)

    async def round(self, views: Iterable[ReplicaPod]) -> None:
        """Read the events of pods that are due. Never raises KubeError: the next round reads again."""
        now_us = self._clock_us()
        waiting = {view.uid: view for view in views if is_silent(view)}
        self._due_us = {uid: self._due_us.get(uid, now_us + AFTER_US) for uid in waiting}
        self._said = {uid: said for uid, said in self._said.items() if uid in waiting}
        due = sorted((uid for uid in waiting if self._due_us[uid] <= now_us), key=self._due_us.__getitem__)
        before = dict(self._said)
        at_once = asyncio.Semaphore(AT_ONCE)

        async def read(view: ReplicaPod) -> None:
            async with at_once:
                await self._read(view)

        await asyncio.gather(*(read(waiting[uid]) for uid in due[:PODS_PER_ROUND]))
        if self._said != before:
            self._changed()

    async def _read(self, view: ReplicaPod) -> None:
        self._due_us[view.uid] = self._clock_us() + AGAIN_US
        try:
            page = await self._kube.list(
                EVENTS, view.pod.metadata.namespace, field_selector=f"involvedObject.uid={view.uid}"
            )
        except KubeError as error:
            if not self._fails:
                log.warning("pod_events_unread", replica=view.replica.id, error=str(error))
            self._fails = True
            return
        self._fails = False
        said = last_warning(page.items)
        if said == NOTHING:
            self._said.pop(view.uid, None)
        else:
            self._said[view.uid] = said


def is_silent(view: ReplicaPod) -> bool:
    """Whether the kubelet has the pod, and the pod's own status does not say what it does."""
    if view.state is not ReplicaState.STARTING or not view.node or view.ended:
        return False
    status = view.pod.status
    main = [each.state for each in status.container_statuses if each.name == MAIN_CONTAINER]
    if any(state.running is not None or state.terminated is not None for state in main):
        return False
    if any(each.state.running is not None for each in status.init_container_statuses):
        return False
    return all(state.waiting is None or state.waiting.reason in _STILL or not state.waiting.message for state in main)


def last_warning(events: Iterable[Event]) -> Warned:
    """The newest Warning, unless the kubelet has got over it since; of one second, the Warning is the newer."""
    newest, got_over_us = (0, NOTHING), 0
    for event in events:
        at_us = _at_us(event)
        if event.type == "Warning" and event.reason != _BEFORE_IT_HAD_A_NODE:
            newest = max(newest, (at_us, (event.reason, event.message)), key=lambda found: found[0])
        elif event.reason in _GOT_OVER:
            got_over_us = max(got_over_us, at_us)
    return newest[1] if newest[0] >= got_over_us else NOTHING


def _at_us(event: Event) -> int:
    """When it happened last: who writes events writes one of several times."""
    repeated = None if event.series is None else event.series.last_observed_time
    times = (repeated, event.last_timestamp, event.event_time, event.metadata.creation_timestamp)
    return max((at_us for text in times if (at_us := epoch_us(text)) is not None), default=0)
