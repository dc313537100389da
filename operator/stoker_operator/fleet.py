"""The plan loop of the leader: observe, plan, act, over and over, for all functions at once. Level-triggered.

Every change pokes it; pokes that come together make one plan (stoker_runtime.plan_rounds). Nothing is decided here
(stoker.control.plan does) and no step of a pod's life is awaited here (stoker_operator.pod_lives does).
"""

from collections.abc import Callable, Iterable
from typing import Protocol

import structlog
from msgspec.structs import replace

from stoker.control.plan import plan
from stoker.control.planning import Failure, FunctionMemory, Observed, PlanMemory, PlanParams, Start
from stoker.metrics import RECONCILE_SECONDS, MetricsSink
from stoker.model.function import Function
from stoker.model.policy import Policy
from stoker.model.replica import ReplicaState
from stoker.model.status import FunctionStatus
from stoker.pods.avoid import A_AVOIDS
from stoker_operator.agent_board import AgentBoard
from stoker_operator.cost_board import CostBoard
from stoker_operator.demand_board import DemandBoard
from stoker_operator.function_store import FunctionStore
from stoker_operator.ledger import SILENT_US, Nodes
from stoker_operator.node_choice import NodeChoice
from stoker_operator.observation import Look, Waiting, observe
from stoker_operator.plan_figures import PlanFigures
from stoker_operator.pod_lives import PodLives
from stoker_operator.pod_view import ReplicaPod, epoch_us
from stoker_operator.revisions import Revisions
from stoker_runtime.plan_rounds import PlanRounds

PLAN_SHARE = 0.25
"""Planning takes at most about this share of the loop."""
RETRY_S = 0.2
AVOIDED_US = 60_000_000
"""A pod that waits for so long because of nodes that it was told to avoid is made anew, with what is true by then."""

log = structlog.get_logger(__name__)


class FailureReader(Protocol):
    """Reads from a pod that has ended what is to be counted."""

    def __call__(self, view: ReplicaPod, now_us: int) -> Failure: ...


class Fleet:
    """`start()` when this process leads, `stop()` before it ends. `poke()` whenever something changed."""

    def __init__(
        self,
        *,
        store: FunctionStore,
        nodes: Nodes,
        node_choice: NodeChoice,
        agents: AgentBoard,
        demand: DemandBoard,
        lives: PodLives,
        revisions: Revisions,
        views: Callable[[], dict[str, ReplicaPod]],
        waiting: Waiting,
        failure_of: FailureReader,
        failed: Callable[[Iterable[Failure]], None],
        policy: Callable[[], Policy],
        costs: CostBoard,
        planned: Callable[[dict[str, FunctionStatus], PlanMemory], None],
        params: Callable[[], PlanParams],
        clock_us: Callable[[], int],
        wall_us: Callable[[], int],
        metrics: MetricsSink,
    ) -> None:
        """`planned` is told the outcome of each plan, `failed` the failures that it took in."""
        self._store = store
        self._nodes = nodes
        self._node_choice = node_choice
        self._agents = agents
        self._demand = demand
        self._lives = lives
        self._revisions = revisions
        self._views = views
        self._waiting = waiting
        self._failure_of = failure_of
        self._failed = failed
        self._policy = policy
        self._costs = costs
        self._planned = planned
        self._params = params
        self._clock_us = clock_us
        self._wall_us = wall_us
        self._figures = PlanFigures(metrics)
        self._memory = PlanMemory()
        self._devices: dict[str, tuple[str, ...]] = {}
        self._buried: set[str] = set()
        self.planned_once = False
        """Whether this leader has made a plan."""
        self._rounds = PlanRounds(
            "fleet",
            self._round,
            clock_us,
            share=PLAN_SHARE,
            on_played=lambda took_s: metrics.observe(RECONCILE_SECONDS, took_s),
        )

    @property
    def problem(self) -> str:
        """Why the last plan could not be made, in one sentence; empty when it could."""
        return self._rounds.problem

    def poke(self) -> None:
        """Something changed: plan soon. Cheap; from the event loop's thread only."""
        self._rounds.poke()

    def start(self) -> None:
        """Begin. What a former leader knew is read back from what it wrote."""
        now_us, wall_us = self._clock_us(), self._wall_us()
        views = self._views()
        remembered = {
            key: _on_its_way(self._revisions.remembered(function), function, views.values(), now_us, wall_us)
            for key, function in self._store.functions.items()
        }
        self._memory = PlanMemory(functions=remembered)
        self._rounds.start()

    async def stop(self) -> None:
        """Plan nothing more and begin no step; pods stay as they are for the next leader."""
        await self._rounds.stop()
        await self._lives.stop()

    def _round(self) -> float:
        """One round; how long until the next one is due, in seconds."""
        now_us, wall_us = self._clock_us(), self._wall_us()
        views = self._views()
        self._lives.seen(views, self._store.functions)
        self._tidy(views, now_us, wall_us)
        self._figures.seen(views, (start.spec.id for start in self._lives.making()), now_us)
        failures = len(self._lives.failures)
        observed = self._observe(views, now_us, wall_us)
        result = plan(observed, now_us, self._params())
        self._failed(self._lives.failures[:failures])
        del self._lives.failures[:failures]
        self._memory = result.memory
        self.planned_once = True
        all_begun = True
        for action in result.actions:
            if isinstance(action, Start):
                self._devices[action.spec.id] = action.spec.devices
                self._figures.ordered(action.spec.id, now_us)
            try:
                all_begun &= self._lives.act(action)
            except Exception:
                # One replica's trouble must not keep the others' actions from beginning.
                log.exception("action_failed", action=type(action).__name__)
                all_begun = False
        self._figures.planned(result.statuses, now_us)
        self._costs.planned(result.bounds, now_us, wall_us)
        self._planned(result.statuses, result.memory)
        due_s = max(0.0, (result.next_due_us - now_us) / 1e6)
        return due_s if all_begun else min(due_s, RETRY_S)

    def _observe(self, views: dict[str, ReplicaPod], now_us: int, wall_us: int) -> Observed:
        known = views.keys() | {start.spec.id for start in self._lives.making()}
        for identity in self._devices.keys() - known:
            del self._devices[identity]
        self._demand.keep_only(self._store.objects)
        policy, devices = self._policy(), self._nodes.devices(now_us)
        ending = [view for view in views.values() if view.ending and view.node]
        look = Look(
            functions=self._store.functions,
            policy=policy,
            views=tuple(views.values()),
            making=self._lives.making(),
            planned=self._devices,
            devices=devices,
            demand=self._demand.demand(),
            queued=self._agents.queued(),
            start_us=self._agents.start_us(),
            exec_us=self._agents.exec_us(),
            service=self._agents.service(),
            failures=tuple(self._lives.failures),
            leaving=self._lives.leaving(),
            killed=self._lives.killed(),
            lost=frozenset(node for node in {view.node for view in ending} if self._nodes.is_lost(node, now_us)),
            memory=self._memory,
            costs=self._costs.costs(self._store.functions, policy, devices, now_us),
            nodes=self._node_choice.of_all(self._store.functions, policy),
            now_us=now_us,
            wall_us=wall_us,
        )
        return observe(look, self._waiting)

    def _tidy(self, views: dict[str, ReplicaPod], now_us: int, wall_us: int) -> None:
        """Count pods that have ended and remove them, and give up what waits or runs where nobody can serve it."""
        self._buried &= {view.uid for view in views.values()}
        for view in views.values():
            if view.ended:
                if view.uid not in self._buried:
                    self._buried.add(view.uid)
                    # One that was asked to end has not failed.
                    if not view.ending and view.replica.id not in self._lives.leaving():
                        self._lives.failures.append(self._failure_of(view, now_us))
                self._lives.bury(view)
            elif self._lives.is_spoiled(view):
                self._lives.bury(view)
            elif view.node and self._nodes.is_lost(view.node, now_us):
                self._lives.abandon(view, "its node is lost")
            elif self._is_of_another(view):
                self._lives.retire(view, "its function was deleted and made again")
            elif view.state is ReplicaState.DRAINING and not self._is_answered_for(view, now_us):
                self._lives.retire(view, "it was drained, and its agent is away since")
            elif not view.node and _avoids_too_long(view, wall_us):
                self._lives.abandon(view, "the nodes that it avoids are judged anew")

    def _is_of_another(self, view: ReplicaPod) -> bool:
        """Whether it belongs to an older function of the same name."""
        now = self._store.objects.get(view.replica.function)
        return now is not None and now.metadata.uid != view.replica.function_uid

    def _is_answered_for(self, view: ReplicaPod, now_us: int) -> bool:
        """Whether somebody on its node will say when its last request has ended."""
        return view.ending or self._agents.silent_us(view.node, now_us) < SILENT_US


def _on_its_way(
    memory: FunctionMemory, function: Function, views: Iterable[ReplicaPod], now_us: int, wall_us: int
) -> FunctionMemory:
    """With the beginning of an update that a former leader had begun: its progressDeadline goes on."""
    if memory.failed is not None or memory.last_ready is None or memory.last_ready.revision == function.revision:
        return memory
    made_us = [
        at_us
        for view in views
        if (view.replica.function, view.replica.revision) == (function.key, function.revision)
        and (at_us := epoch_us(view.pod.metadata.creation_timestamp)) is not None
    ]
    if not made_us:
        return memory
    return replace(memory, trying_since_us=now_us - max(0, wall_us - min(made_us)))


def _avoids_too_long(view: ReplicaPod, wall_us: int) -> bool:
    meta = view.pod.metadata
    made_us = epoch_us(meta.creation_timestamp)
    return A_AVOIDS in (meta.annotations or {}) and made_us is not None and wall_us - made_us > AVOIDED_US
