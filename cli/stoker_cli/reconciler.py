"""The reconciler of embedded mode: observe -> plan -> act, over and over. Level-triggered: it never needs an event.

Every change pokes it; pokes that come together make one plan (stoker_runtime.plan_rounds). Nothing is decided here
(stoker.control.plan does) and no step of a replica's life is awaited here (stoker_cli.replica_life does).
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import structlog

from stoker.control import measured
from stoker.control.planning import Observed, Plan, PlanMemory, PlanParams
from stoker.cost.costs import NO_COSTS, Bounds, Costs
from stoker.decider import Decider
from stoker.metrics import MetricsSink
from stoker.model.demand import Demand
from stoker.model.device import Reservation
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy, default_policy
from stoker.model.status import FunctionStatus
from stoker.policies.allocation.registry import make_allocation_policy
from stoker.prediction import Predictions
from stoker_cli.replica_life import AgentLives, Launcher, ReplicaLives
from stoker_runtime.plan_rounds import PlanRounds
from stoker_runtime.process import wall_us

PLAN_SHARE = 0.1
"""Planning takes at most about this share of the event loop, which serves requests: hundreds of waiting functions
make a plan take milliseconds, and then plans come further apart."""
RETRY_S = 0.2
"""After an action that could not begin."""

log = structlog.get_logger(__name__)


class AgentControl(AgentLives, Protocol):
    """The agent as the reconciler sees it."""

    def reservations(self) -> tuple[Reservation, ...]: ...
    def queued(self) -> dict[str, dict[Variant, int]]: ...
    def prediction(self) -> Predictions: ...
    def on_change(self, callback: Callable[[], None]) -> None: ...


class DemandSource(Protocol):
    """The gateway as the reconciler sees it."""

    def demand(self) -> Demand: ...
    def on_demand(self, callback: Callable[[], None]) -> None: ...


class Reconciler:
    """Keeps replicas as the functions, the demand and the devices want them."""

    def __init__(
        self,
        *,
        agent: AgentControl,
        gateway: DemandSource,
        launcher: Launcher,
        clock_us: Callable[[], int],
        metrics: MetricsSink,
        params: PlanParams = PlanParams(),  # noqa: B008  a frozen value
        wall_us: Callable[[], int] = wall_us,
        decider: Decider = Decider(),  # noqa: B008  it has no state
        costs: Callable[[], Costs] = lambda: NO_COSTS,
        on_bounds: Callable[[Bounds], None] = lambda _: None,
    ) -> None:
        """Raises UnknownName for an allocation policy that does not exist. Cron windows go by `wall_us`. `costs` is
        what plan() is shown of money, `on_bounds` gets what that permits nobody.
        """
        make_allocation_policy(params.allocation)
        self._agent = agent
        self._gateway = gateway
        self._clock_us = clock_us
        self._wall_us = wall_us
        self._decider = decider
        self._costs = costs
        self._on_bounds = on_bounds
        self._params = params
        self._functions: dict[str, Function] = {}
        self._policy = default_policy()
        self._memory = PlanMemory()
        self._statuses: dict[str, FunctionStatus] = {}
        self._rounds = PlanRounds("reconciler", self._reconcile, clock_us, share=PLAN_SHARE)
        self._lives = ReplicaLives(
            agent=agent, launcher=launcher, clock_us=clock_us, metrics=metrics, changed=self.poke
        )
        agent.on_change(self.poke)
        gateway.on_demand(self.poke)

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        """The functions that are to be served from now on."""
        self._functions = dict(functions)
        self.poke()

    def set_policy(self, policy: Policy) -> None:
        """What of the GpuPolicy acts on replicas, from the next plan on."""
        self._policy = policy
        self._params = msgspec.structs.replace(
            self._params,
            allocation=policy.allocation,
            pre_warm=policy.pre_warm,
            scaling=policy.scaling,
            keep_alive=policy.keep_alive,
            keep_alive_max_us=policy.keep_alive_max_us,
        )
        self.poke()

    def poke(self) -> None:
        """Something changed: plan soon. Cheap; from the event loop's thread only."""
        self._rounds.poke()

    def statuses(self) -> dict[str, FunctionStatus]:
        """The state of every function as of the last plan."""
        return self._statuses

    def why_waiting(self, key: str) -> str:
        """Why a request for the function waits, in one sentence; empty for an unknown function."""
        status = self._statuses.get(key)
        return "" if status is None else status.why_waiting

    async def start(self) -> None:
        """Begin to reconcile."""
        self._rounds.start()

    async def stop(self) -> None:
        """Plan nothing more; drain and end every replica. Gateway and agent should be drained before."""
        await self._rounds.stop()
        await self._lives.end_all()

    def _reconcile(self) -> float:
        """One round; how long until the next one is due, in seconds."""
        observed = self._observe()
        failures = len(observed.failures)
        now_us = self._clock_us()
        result = self._decider.plan(observed, now_us, self._params)
        del self._lives.failures[:failures]
        self._memory = result.memory
        self._statuses = result.statuses
        self._on_bounds(result.bounds)
        all_begun = self._act(result)
        due_s = max(0.0, (result.next_due_us - now_us) / 1e6)
        return due_s if all_begun else min(due_s, RETRY_S)

    def _observe(self) -> Observed:
        predictions = self._agent.prediction()
        start_us: dict[str, dict[Variant, int]] = {}
        for key, function in self._functions.items():
            for variant in function.variants:
                estimate = predictions.start_us(function, variant)
                if estimate.samples:
                    start_us.setdefault(key, {})[variant] = estimate.us
        replicas = self._agent.replicas()
        demand = self._gateway.demand()
        namespaces = {function.namespace for function in self._functions.values()}
        return Observed(
            functions=self._functions,
            devices=self._agent.devices(),
            reservations=self._agent.reservations(),
            replicas=replicas,
            demand=demand,
            queued=self._agent.queued(),
            start_us=start_us,
            exec_us=measured.exec_us(predictions, self._functions, replicas),
            service=measured.service(predictions, self._functions, replicas, demand),
            failures=tuple(self._lives.failures),
            leaving=self._lives.leaving(),
            killed=self._lives.killed(),
            memory=self._memory,
            wall_us=self._wall_us(),
            max_gpus=self._policy.max_gpus(namespaces),
            namespace_weights=self._policy.weights(namespaces),
            costs=self._costs(),
        )

    def _act(self, result: Plan) -> bool:
        begun = True
        for action in result.actions:
            try:
                begun &= self._lives.act(action)
            except Exception:
                # One replica's trouble must not keep the others' actions from beginning.
                log.exception("action_failed", action=type(action).__name__)
                begun = False
        return begun
