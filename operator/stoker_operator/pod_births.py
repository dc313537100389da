"""Makes the pods that plan() orders: asked for once at a time, looked at as they came back, remembered until they show.

Admission may change a pod or refuse it, an answer may be lost, and somebody else may have the name. What was written
counts here at once, before the watch cache tells of it, so that nothing is ordered twice. Every pod is looked at once:
as it came back, or when it shows and nobody here has seen it come back. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from stoker.control.pending import CreateError, PodFacts, why_pending
from stoker.control.planning import Failure, Pair, Start
from stoker.metrics import PODS_MADE, PODS_REFUSED, WRITES, MetricsSink
from stoker.model.function import Function
from stoker.model.replica import ReplicaState
from stoker.names import pod_name
from stoker.reasons import Reason
from stoker_operator.kinds import PODS, RAW_PODS, Pod
from stoker_operator.leader_client import NotLeading
from stoker_operator.not_made import NotMade
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.kube.errors import AlreadyExists, ApiError, Conflict, KubeError, NotFound, Unreachable
from stoker_runtime.kube.objects import Resource, Seen

log = structlog.get_logger(__name__)

T = TypeVar("T")

SHOW_US = 30_000_000
"""A pod that was made and does not show in the cache for so long was deleted by somebody meanwhile."""
LOST_ANSWER_S = 1.0
"""After a lost answer, or a name that is about to be free: what is there by then shows in the cache."""
SPOILED_US = 600_000_000
"""A pod that admission made forbidden is not made again for so long, unless its function or the policy changes."""

Check = Callable[[Function, dict[str, Any]], None]


class PodApi(Protocol):
    """What the lives of pods need of a KubeClient."""

    async def create(
        self, resource: Resource[dict[str, Any]], body: dict[str, Any], namespace: str = ""
    ) -> dict[str, Any]: ...
    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T: ...
    async def delete(
        self,
        resource: Resource[Any],
        name: str,
        namespace: str = "",
        *,
        seen: Seen | None = None,
        grace_s: int | None = None,
    ) -> None: ...


class PodBirths:
    """`begin` each Start, `seen` what the caches show; `failures` are for the next plan, which takes them."""

    def __init__(
        self,
        *,
        kube: PodApi,
        body_of: Callable[[Start], Coroutine[Any, Any, dict[str, Any]]],
        check: Check,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock_us: Callable[[], int],
        metrics: MetricsSink,
        changed: Callable[[], None],
    ) -> None:
        """`body_of` makes the pod for a Start, or raises NotMade, and so does `check` for one that webhooks spoiled.
        `kube` refuses to write (NotLeading) when this process does not lead any more.
        """
        self.failures: list[Failure] = []
        self._kube = kube
        self._body_of = body_of
        self._check = check
        self._spawn = spawn
        self._clock_us = clock_us
        self._metrics = metrics
        self._changed = changed
        self._making: dict[str, Start] = {}
        self._made: dict[str, tuple[str, int]] = {}
        """Uids by replica, and since when they are awaited."""
        self._spoiled: dict[Pair, tuple[Function, str, int]] = {}
        """Pairs whose pod admission made forbidden, the function as it was then, and when it may be tried again."""
        self._looked: set[str] | None = None
        """Uids of pods that were looked at; None until the first look at the caches."""
        self._looking: set[str] = set()
        self._forbidden: set[str] = set()
        """Uids of pods that admission made forbidden and that are perhaps still there."""

    def begin(self, action: Start) -> bool:
        """Make a pod, and return at once; False where it is being made already."""
        if action.spec.id in self._making:
            return False
        self._making[action.spec.id] = action
        self._spawn(self._make(action))
        return True

    def making(self) -> tuple[Start, ...]:
        """Starts whose pod does not show in the caches yet."""
        return tuple(self._making.values())

    def seen(self, views: Mapping[str, ReplicaPod], functions: Mapping[str, Function]) -> None:
        """What the caches show now: what was made and shows needs no memory any more, and what shows and was never
        looked at is looked at.
        """
        shown = {view.uid for view in views.values()}
        for identity, (uid, since_us) in list(self._made.items()):
            if uid in shown or self._clock_us() - since_us > SHOW_US:
                del self._made[identity]
                self._making.pop(identity, None)
        for pair in [pair for pair in self._spoiled if pair[0] not in functions]:
            del self._spoiled[pair]
        if self._looked is None:
            # What serves was looked at by a former leader; what starts, perhaps not.
            self._looked = {view.uid for view in views.values() if view.state is not ReplicaState.STARTING}
        self._looked &= shown | {uid for uid, _ in self._made.values()}
        self._forbidden &= shown
        for identity, view in views.items():
            if view.uid in self._looked or view.uid in self._looking or view.ending or view.ended:
                continue
            function = functions.get(view.replica.function)
            # While it is being made, the answer is perhaps on its way.
            if identity not in self._making and function is not None and function.uid == view.replica.function_uid:
                self._looking.add(view.uid)
                self._spawn(self._look_late(function, view))

    def is_spoiled(self, view: ReplicaPod) -> bool:
        """Whether admission made it forbidden: it is no replica, and is to be ended until it is gone."""
        return view.uid in self._forbidden

    def forgive(self) -> None:
        """What is allowed has changed: what was refused may be tried again."""
        self._spoiled.clear()

    async def _look_late(self, function: Function, view: ReplicaPod) -> None:
        """Look at a pod whose making nobody here has heard the end of: a former leader's, or an answer was lost."""
        meta = view.pod.metadata
        try:
            raw = await self._kube.get(RAW_PODS, meta.name, meta.namespace)
            await self._check_created(function, (view.replica.function, view.replica.variant), raw)
        except NotMade as refusal:
            log.warning("pod_refused", replica=view.replica.id, reason=refusal.reason.value, error=refusal.detail)
        except KubeError as exc:
            if not isinstance(exc, NotFound):
                log.warning("pod_not_looked_at", replica=view.replica.id, error=str(exc))
            await asyncio.sleep(LOST_ANSWER_S)
        finally:
            self._looking.discard(view.uid)
            self._changed()

    async def _make(self, action: Start) -> None:
        spec = action.spec
        try:
            # Still in _making while it waits: nobody orders it again meanwhile.
            await asyncio.sleep(await self._try(action))
        finally:
            if spec.id not in self._made:
                self._making.pop(spec.id, None)
            self._changed()

    async def _try(self, action: Start) -> float:
        """One try; for how long the next must wait, where nothing is known of this one."""
        spec, namespace = action.spec, action.function.namespace
        pair = (spec.function, spec.variant)
        try:
            self._check_spoiled(action.function, pair)
            raw = await self._kube.create(RAW_PODS, await self._body_of(action), namespace)
            self._metrics.inc(WRITES, PODS.plural, "create")
            await self._check_created(action.function, pair, raw)
        except NotMade as exc:
            self._fail(action, exc.reason, exc.detail)
        except NotLeading:
            pass
        except AlreadyExists:
            return await self._look_at(action, namespace)
        except ApiError as exc:
            self._fail(action, *why_pending(PodFacts(create_error=CreateError(status=exc.status, message=exc.message))))
        except Unreachable as exc:
            if exc.unsent:
                self._fail(action, *why_pending(PodFacts(create_error=CreateError(status=0, message=str(exc)))))
                return 0.0
            # Perhaps it was made all the same: then it shows soon and is looked at, and its name keeps it from being
            # made twice.
            log.warning("pod_perhaps_made", replica=spec.id, error=str(exc))
            return LOST_ANSWER_S
        except KubeError as exc:
            self._fail(action, *why_pending(PodFacts(create_error=CreateError(status=0, message=str(exc)))))
        else:
            self._spoiled.pop(pair, None)
            self._await_it(action, raw)
            self._metrics.inc(PODS_MADE, spec.variant.value)
            log.info("replica_starting", replica=spec.id)
        return 0.0

    def _await_it(self, action: Start, raw: dict[str, Any]) -> None:
        pod = msgspec.convert(raw, Pod, strict=False)
        self._made[action.spec.id] = (pod.metadata.uid, self._clock_us())

    async def _check_created(self, function: Function, pair: Pair, raw: dict[str, Any]) -> None:
        """Admission may have changed it: what it made forbidden does not live. Raises NotMade."""
        meta = msgspec.convert(raw, Pod, strict=False).metadata
        try:
            self._check(function, raw)
        except NotMade as refusal:
            self._look_at_no_more(meta.uid)
            self._spoiled[pair] = (function, refusal.detail, self._clock_us() + SPOILED_US)
            self._forbidden.add(meta.uid)
            try:
                await self._kube.delete(PODS, meta.name, meta.namespace, seen=Seen(meta.uid), grace_s=0)
            except (NotFound, Conflict):
                pass
            except KubeError as exc:
                log.warning("forbidden_pod_not_deleted", pod=f"{meta.namespace}/{meta.name}", error=str(exc))
            raise refusal from None
        self._look_at_no_more(meta.uid)

    def _look_at_no_more(self, uid: str) -> None:
        if self._looked is not None:
            self._looked.add(uid)

    def _check_spoiled(self, function: Function, pair: Pair) -> None:
        """Do not make again what admission will make forbidden again. Raises NotMade."""
        entry = self._spoiled.get(pair)
        if entry is None:
            return
        before, detail, until_us = entry
        changed = (before.uid, before.generation) != (function.uid, function.generation)
        if changed or self._clock_us() >= until_us:
            del self._spoiled[pair]
        else:
            raise NotMade(Reason.POD_REFUSED, detail)

    def _fail(self, action: Start, reason: Reason, detail: str) -> None:
        spec = action.spec
        self._metrics.inc(PODS_REFUSED, reason.value)
        log.warning("pod_refused", replica=spec.id, reason=reason.value, error=detail)
        self.failures.append(
            Failure(
                function=spec.function,
                variant=spec.variant,
                revision=spec.revision,
                replica_id=spec.id,
                at_us=self._clock_us(),
                reason=reason,
                detail=detail,
            )
        )

    async def _look_at(self, action: Start, namespace: str) -> float:
        """The name is taken: by ours from a moment ago, by one that is about to go, or by somebody's for good."""
        name, function = pod_name(action.spec.id), action.function
        try:
            raw = await self._kube.get(RAW_PODS, name, namespace)
            meta = msgspec.convert(raw, Pod, strict=False).metadata
            owners = meta.owner_references or ()
            if meta.deletion_timestamp is not None:
                return LOST_ANSWER_S
            if any(owner.controller and owner.uid == function.uid for owner in owners):
                await self._check_created(function, (action.spec.function, action.spec.variant), raw)
                self._await_it(action, raw)
            elif not any(owner.controller and (owner.kind, owner.name) == _kind_of(function) for owner in owners):
                # (One of a function of the same name that was deleted goes with that one.)
                detail = f"a pod named {name} is there already and is not Stoker's: delete or rename it"
                self._fail(action, Reason.NAME_CONFLICT, detail)
        except NotMade as refusal:
            self._fail(action, refusal.reason, refusal.detail)
        except KubeError as exc:
            log.warning("pod_not_looked_at", replica=action.spec.id, error=str(exc))
        return LOST_ANSWER_S if action.spec.id not in self._made else 0.0


def _kind_of(function: Function) -> tuple[str, str]:
    return "GpuFunction", function.name
