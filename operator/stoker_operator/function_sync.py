"""What stands beside the pods of a function: its Service, its NetworkPolicy, its revisions' marks and its status.

One key, one run at a time (stoker_runtime.kube.work_queue). Nothing is written at rest. Decides nothing about pods.
"""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stoker.control.planning import FunctionMemory, PlanMemory
from stoker.metrics import WRITES, MetricsSink
from stoker.model.function import Function
from stoker.model.status import FunctionStatus
from stoker.pods.objects import network_policy, service
from stoker.reasons import Reason
from stoker.wire.cluster import FIELD_MANAGER
from stoker_operator.function_store import FunctionStore
from stoker_operator.kinds import FUNCTIONS, NETWORK_POLICIES, SERVICES, Kept
from stoker_operator.owned_objects import OwnedObjects
from stoker_operator.revisions import Revisions
from stoker_operator.status_form import OURS, Extra, Figures, document, is_flip, status_of
from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    KubeError,
    NotFound,
    ServerFailed,
    TooManyRequests,
)
from stoker_runtime.kube.objects import Seen

STATUS_INTERVAL_US = 10_000_000
"""Least time between two writes of a function's status that are no flip of a condition."""
STATUS_FLIP_US = 500_000
"""Least time between two that are: what flaps must not become a storm of writes."""
CONFLICT_LOOK_S = 30.0
"""Nobody tells of an object that is not ours: so often it is looked whether it has gone."""


Trouble = tuple[str, KubeError]
"""What cannot be written, and why."""


class SyncSettings(Struct, frozen=True, kw_only=True):
    """Of the installation."""

    system_namespace: str
    gateway_host: str
    """Full DNS name of the gateways' Service."""
    cluster_domain: str
    metrics_namespaces: tuple[str, ...] = ()
    """Namespaces that may scrape the functions' metricsPort."""


class _Written(Struct, frozen=True, gc=False):
    status: bytes
    """As JSON: a dictionary for every function would take ten times the memory."""
    version: int
    at_us: int


class FunctionSync:
    """`handle(key)` for the queue; `planned(...)` after every plan says who has news."""

    def __init__(
        self,
        *,
        kube: KubeClient,
        store: FunctionStore,
        revisions: Revisions,
        objects: OwnedObjects,
        settings: SyncSettings,
        in_use: Callable[[str], frozenset[str]],
        hostname_conflicts: Callable[[str], tuple[str, ...]],
        image_problem: Callable[[str], tuple[Reason, str] | None],
        figures: Callable[[str], Figures],
        clock_us: Callable[[], int],
        now: Callable[[], str],
        metrics: MetricsSink,
    ) -> None:
        """`in_use` are the revisions of a function that have pods; `now` is RFC 3339 to the second."""
        self._kube = kube
        self._store = store
        self._revisions = revisions
        self._objects = objects
        self._settings = settings
        self._in_use = in_use
        self._hostname_conflicts = hostname_conflicts
        self._image_problem = image_problem
        self._figures = figures
        self._clock_us = clock_us
        self._now = now
        self._metrics = metrics
        self._statuses: dict[str, FunctionStatus] = {}
        self._planned: dict[str, tuple[str, int]] = {}
        """Uids and generations of the functions that the statuses are about."""
        self._memory: dict[str, FunctionMemory] = {}
        self._written: dict[str, _Written] = {}

    def planned(self, statuses: Mapping[str, FunctionStatus], memory: PlanMemory) -> list[str]:
        """The outcome of a plan; the functions that have news in it."""
        functions = self._store.functions
        about = {key: (functions[key].uid, functions[key].generation) for key in statuses}
        news = [
            key
            for key, status in statuses.items()
            if self._statuses.get(key) != status
            or self._planned.get(key) != about[key]
            or self._memory_moved(key, memory.functions.get(key))
        ]
        self._statuses = dict(statuses)
        self._planned = about
        self._memory = dict(memory.functions)
        return news

    def status(self, key: str) -> FunctionStatus | None:
        """The status of a function as of the last plan."""
        return self._statuses.get(key)

    def memory(self, key: str) -> FunctionMemory | None:
        """What plan() remembers of a function."""
        return self._memory.get(key)

    async def handle(self, key: str) -> float | None:
        """Bring everything of one function up to date; the seconds until it wants to be looked at again."""
        if key not in self._store.objects:
            self._forget(key)
            return None
        function = self._store.functions.get(key)
        troubles = [] if function is None else await self._put_objects(function)
        item = self._store.objects.get(key)
        if item is None:
            return None  # deleted while this run waited
        # What cannot be written hides nothing: the status tells of it, and then this run has failed.
        again_s = await self._sync_status(key, item, troubles)
        if troubles:
            raise troubles[0][1]
        if again_s is None and self._objects.conflicts(key):
            return CONFLICT_LOOK_S
        return again_s

    async def _put_objects(self, function: Function) -> list[Trouble]:
        """What stands beside the pods; what of it cannot be written, and why."""
        troubles: list[Trouble] = []

        async def try_to(what: str, work: Coroutine[Any, Any, None]) -> None:
            try:
                await work
            except KubeError as error:
                troubles.append((what, error))

        put = self._objects.put
        await try_to("its Service", put(function, SERVICES, service(function, self._settings.gateway_host)))
        await try_to("its NetworkPolicy", put(function, NETWORK_POLICIES, self._network_policy(function)))
        await try_to("a ControllerRevision of it", self._mark_revisions(function))
        return troubles

    async def _mark_revisions(self, function: Function) -> None:
        memory = self._memory_of(function)
        if memory is not None and self._revisions.due(function, memory, self._in_use(function.key)):
            await self._revisions.write(function, memory, self._in_use(function.key))
            self._metrics.inc(WRITES, "controllerrevisions", "patch")

    def _network_policy(self, function: Function) -> dict[str, Any]:
        # Replicas of an older revision serve on its port until the last of them is gone.
        memory = self._memory_of(function)
        older = self._revisions.in_use(function, self._in_use(function.key))
        last = memory.last_ready if memory is not None else None
        if last is not None and last.revision != function.revision and last not in older:
            older = (*older, last)
        return network_policy(
            function,
            system_namespace=self._settings.system_namespace,
            metrics_namespaces=self._settings.metrics_namespaces,
            older=older,
        )

    async def _sync_status(self, key: str, item: Kept, troubles: Sequence[Trouble]) -> float | None:
        invalid = self._store.invalid.get(key, "")
        uid, generation = self._planned.get(key, ("", 0))
        # What was planned for a function of the same name that was deleted says nothing of this one.
        status = self._statuses.get(key) if uid == item.metadata.uid else None
        if status is None and not invalid:
            return None  # the plan that is about to be made says more than this could
        before = self._written.get(key)
        old = _said(item, before)
        conflicts = self._objects.conflicts(key)
        function = self._store.functions.get(key)
        wanted = status_of(
            # The status of a spec that was not planned yet must not pass for that of the newest one.
            generation=item.metadata.generation if invalid else generation,
            status=status,
            extra=Extra(
                url=self._url(key, conflicted=SERVICES.plural in conflicts),
                invalid=invalid,
                conflicts=(*conflicts.values(), *self._hostname_conflicts(key)),
                refused=_refusal(troubles),
                figures=self._figures(key),
                images=self._image_problem(key),
                warnings=() if function is None else function.warnings,
            ),
            before=old.get("conditions", ()),
            now=self._now(),
        )
        if wanted == old:
            return None
        now_us = self._clock_us()
        if before is not None:
            flip = is_flip(old.get("conditions", ()), wanted["conditions"])
            left_us = before.at_us + (STATUS_FLIP_US if flip else STATUS_INTERVAL_US) - now_us
            if left_us > 0:
                return left_us / 1e6
        namespace, _, name = key.partition("/")
        try:
            done = await self._kube.apply(
                FUNCTIONS,
                name,
                document(namespace, name, wanted),
                namespace,
                manager=FIELD_MANAGER,
                force=True,
                subresource="status",
                seen=Seen(item.metadata.uid),
            )
        except (NotFound, Conflict):
            return None  # deleted, or made anew: the store will hear of it
        self._metrics.inc(WRITES, FUNCTIONS.plural, "apply-status")
        self._written[key] = _Written(msgspec.json.encode(wanted), int(done.metadata.resource_version or 0), now_us)
        return None

    def _url(self, key: str, *, conflicted: bool) -> str:
        namespace, _, name = key.partition("/")
        if conflicted:
            return f"http://{self._settings.gateway_host}/{key}/"
        return f"http://{name}.{namespace}.svc.{self._settings.cluster_domain}/"

    def _memory_of(self, function: Function) -> FunctionMemory | None:
        memory = self._memory.get(function.key)
        return memory if memory is not None and memory.uid in ("", function.uid) else None

    def _memory_moved(self, key: str, memory: FunctionMemory | None) -> bool:
        before = self._memory.get(key)
        if before is None or memory is None:
            return before is not memory
        return _revision_of(before) != _revision_of(memory) or before.failed != memory.failed

    def _forget(self, key: str) -> None:
        self._objects.forget(key)
        for table in (self._statuses, self._planned, self._memory, self._written):
            table.pop(key, None)


def _refusal(troubles: Iterable[Trouble]) -> tuple[Reason, str] | None:
    """The first that somebody should know of. What the next run heals by itself is not told."""
    for what, error in troubles:
        if not isinstance(error, ApiError) or isinstance(error, (Conflict, NotFound, AlreadyExists, TooManyRequests)):
            continue
        if isinstance(error, ServerFailed):
            return Reason.CONTROL_PLANE_UNAVAILABLE, f"{what} cannot be written: {error.message}"
        if "exceeded quota" in error.message:
            return Reason.QUOTA_EXCEEDED, f"the namespace's quota does not allow {what}: {error.message}"
        return Reason.OBJECT_REFUSED, f"{what} is refused: {error.message}"
    return None


def _said(item: Kept, written: _Written | None) -> dict[str, Any]:
    """What stands in the object now, of what is ours; what we wrote last where the watch does not show it yet."""
    if written is not None and int(item.metadata.resource_version or 0) < written.version:
        return msgspec.json.decode(written.status, type=dict[str, Any])
    return {name: value for name, value in item.status.items() if name in OURS}


def _revision_of(memory: FunctionMemory) -> str | None:
    return None if memory.last_ready is None else memory.last_ready.revision
