"""Carries out what plan() orders, as pods: made (pod_births), drained by their agent and then deleted, or deleted.

Each step may fail, hang, be done twice or be overtaken by a new leader; each is asked again by the next plan. What
was written shows here at once, before the watch cache tells of it, so that nothing is ordered twice. Decides nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from stoker.control.planning import Drain, Failure, Kill, Start, Stop
from stoker.metrics import REPLICA_DRAINS, WRITES, MetricsSink
from stoker.model.function import Function
from stoker.pods.timing import seconds
from stoker_operator.agent_calls import Drained
from stoker_operator.kinds import PODS, Pod
from stoker_operator.pod_births import PodApi, PodBirths
from stoker_operator.pod_view import ReplicaPod
from stoker_runtime.kube.errors import Conflict, KubeError, NotFound
from stoker_runtime.kube.objects import Seen

log = structlog.get_logger(__name__)

NOT_YET_S = 0.1
ASK_AGAIN_S = 1.0
"""Between two calls to an agent that does not answer."""
SILENT_ASKS = 30
"""Asks without an answer, one a second, after which a replica is deleted all the same: an agent that is away passes
nothing on, and the pod's own grace covers what it still runs."""
KILL_GRACE_S = 1


class PodLives:
    """`pods` gives the replicas as the caches show them now, by id."""

    def __init__(
        self,
        *,
        kube: PodApi,
        body_of: Callable[[Start], Coroutine[Any, Any, dict[str, Any]]],
        check: Callable[[Function, dict[str, Any]], None],
        ask_to_drain: Callable[[str, str], Coroutine[Any, Any, Drained]],
        pods: Callable[[], dict[str, ReplicaPod]],
        clock_us: Callable[[], int],
        metrics: MetricsSink,
        changed: Callable[[], None],
    ) -> None:
        """`body_of` makes the pod for a Start, or raises NotMade, and so does `check` for one that webhooks spoiled;
        `kube` refuses to write (NotLeading) when this process does not lead any more.
        """
        self._births = PodBirths(
            kube=kube,
            body_of=body_of,
            check=check,
            spawn=self._spawn,
            clock_us=clock_us,
            metrics=metrics,
            changed=changed,
        )
        self._kube = kube
        self._ask_to_drain = ask_to_drain
        self._pods = pods
        self._metrics = metrics
        self._changed = changed
        self._functions: Mapping[str, Function] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._killing: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def act(self, action: Start | Drain | Stop | Kill) -> bool:
        """Begin one action; returns at once. False: it could not begin now and must be planned again."""
        if isinstance(action, Start):
            return action.spec.id not in self._pods() and self._births.begin(action)
        view = self._pods().get(action.replica_id)
        if view is None:
            return True
        if isinstance(action, Kill):
            if view.uid not in self._killing:
                log.warning("replica_killed", replica=action.replica_id, reason=action.reason.value, why=action.detail)
                self._killing.add(view.uid)
                self._end(view, grace_s=KILL_GRACE_S, drain=False)
        elif view.uid not in self._ending and not view.ending:
            if isinstance(action, Drain):
                namespace, _, name = view.replica.function.partition("/")
                self._metrics.inc(REPLICA_DRAINS, namespace, name, view.replica.variant.value, action.reason.value)
                log.info(
                    "replica_draining",
                    replica=action.replica_id,
                    reason=action.reason.value,
                    gives_way_to=action.for_function,
                )
            self._end(view, grace_s=None, drain=isinstance(action, Drain))
        return True

    def abandon(self, view: ReplicaPod, detail: str) -> None:
        """Its node is lost: delete the pod without asking an agent that cannot answer."""
        if view.uid not in self._ending and not view.ending:
            log.warning("replica_abandoned", replica=view.replica.id, node=view.node, why=detail)
            self._end(view, grace_s=None, drain=False)

    def retire(self, view: ReplicaPod, detail: str) -> None:
        """It serves nobody any more: let what it runs end, then delete it."""
        if view.uid not in self._ending and not view.ending:
            log.info("replica_retired", replica=view.replica.id, why=detail)
            self._end(view, grace_s=None, drain=True)

    def bury(self, view: ReplicaPod) -> None:
        """It has ended and was counted, or must not live: remove the pod, so that its name is free."""
        if view.uid not in self._ending and not view.ending:
            self._end(view, grace_s=0, drain=False)

    @property
    def failures(self) -> list[Failure]:
        """What could not be made, for the next plan, which takes it."""
        return self._births.failures

    def making(self) -> tuple[Start, ...]:
        """Starts whose pod does not show in the caches yet."""
        return self._births.making()

    def seen(self, views: Mapping[str, ReplicaPod], functions: Mapping[str, Function]) -> None:
        """What the caches show now."""
        self._functions = functions
        self._births.seen(views, functions)

    def is_spoiled(self, view: ReplicaPod) -> bool:
        """Whether admission made it forbidden: it is to be buried until it is gone."""
        return self._births.is_spoiled(view)

    def forgive(self) -> None:
        """What is allowed has changed: what was refused may be tried again."""
        self._births.forgive()

    def leaving(self) -> frozenset[str]:
        """Ids of replicas that are on their way out."""
        return frozenset(identity for identity, view in self._pods().items() if view.ending or view.uid in self._ending)

    def killed(self) -> frozenset[str]:
        """Those of them that are being killed."""
        return frozenset(identity for identity, view in self._pods().items() if view.uid in self._killing)

    async def stop(self) -> None:
        """Begin nothing more and leave what is under way to the next leader."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _end(self, view: ReplicaPod, *, grace_s: int | None, drain: bool) -> None:
        running = self._ending.get(view.uid)
        if running is not None:
            running.cancel()
        self._ending[view.uid] = self._spawn(self._end_it(view, grace_s, drain=drain))

    async def _end_it(self, view: ReplicaPod, grace_s: int | None, *, drain: bool) -> None:
        me = asyncio.current_task()
        drained, silent = False, 0
        try:
            # A pod without a node has nothing in flight. One that its agent has not told of may have: a new leader
            # has perhaps not heard that agent yet.
            while drain and view.node and not drained and silent < SILENT_ASKS:
                said = await self._ask_to_drain(view.node, view.uid)
                drained = said is Drained.YES
                silent = silent + 1 if said is Drained.NO_ANSWER else 0
                if not drained:
                    # An agent waits before it says "not yet"; one that does not is not to be asked in a tight loop.
                    await asyncio.sleep(ASK_AGAIN_S if silent else NOT_YET_S)
            await self._delete(view, self._own_grace_s(view) if drained else grace_s, unchanged=drained)
        finally:
            if self._ending.get(view.uid) is me:
                del self._ending[view.uid]
                self._killing.discard(view.uid)
            self._changed()

    def _own_grace_s(self, view: ReplicaPod) -> int | None:
        """How long a replica that nothing runs on may take to end; the pod's grace would count requests' timeout too.

        One that never got warm has nothing to end, and while it starts it may not even hear that it should.
        """
        if view.warm_since_us is None:
            return KILL_GRACE_S
        function = self._functions.get(view.replica.function)
        if function is None:
            return None
        return max(KILL_GRACE_S, seconds(function.container_of(view.replica.variant).termination_grace_us))

    async def _delete(self, view: ReplicaPod, grace_s: int | None, *, unchanged: bool) -> None:
        meta = view.pod.metadata
        seen = Seen(meta.uid)
        try:
            if unchanged:
                # What was acknowledged is about this pod as it is now: one that changed is looked at again.
                now: Pod = await self._kube.get(PODS, meta.name, meta.namespace)
                seen = Seen.of(now, unchanged=True)
                if seen.uid != meta.uid:
                    return
            await self._kube.delete(PODS, meta.name, meta.namespace, seen=seen, grace_s=grace_s)
            self._metrics.inc(WRITES, PODS.plural, "delete")
        except (NotFound, Conflict):
            return  # gone, another one, or changed: the next plan sees which
        except KubeError as exc:
            log.warning("pod_not_deleted", pod=f"{meta.namespace}/{meta.name}", error=str(exc))
            await asyncio.sleep(ASK_AGAIN_S)
            return
        # Until the cache shows the deletion, the replica must not seem to be there for use.
        await asyncio.sleep(ASK_AGAIN_S)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pod_step_failed", exc_info=error)
