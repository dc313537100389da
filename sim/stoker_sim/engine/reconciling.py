"""The reconciler in simulated time: rounds of plan(), its actions carried out, and what the next round observes.

Rounds come as live (stoker_runtime.plan_rounds): at once after a quiet time, never closer than an interval, and when
the last plan said so. Planning itself takes no time.
"""

from collections.abc import Sequence

from stoker.control import measured
from stoker.control.plan import plan
from stoker.control.planning import Action, Drain, Failure, Kill, Observed, PlanMemory, Start, Stop
from stoker.cost.costs import NO_COSTS
from stoker.model.device import Device
from stoker.model.function import Variant
from stoker.model.replica import ReplicaStatus
from stoker.sizing.service_time import ServiceTime, pooled_by_pair
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.agent import Agent
from stoker_sim.engine.gateway import Gateway
from stoker_sim.engine.money import Money
from stoker_sim.engine.setup import Setup
from stoker_sim.workload import Workload

_RETRY_US = 200_000
"""After an action that could not begin."""


class Reconciler:
    """`poke()` says that something changed; the first plan is at time 0."""

    def __init__(
        self, workload: Workload, setup: Setup, agenda: Agenda, gateway: Gateway, money: Money | None = None
    ) -> None:
        self._functions = {function.key: function.definition for function in workload.functions}
        self._devices: tuple[Device, ...] = setup.devices
        self._setup = setup
        self._agenda = agenda
        self._gateway = gateway
        self._money = money
        self._agents: Sequence[Agent] = ()
        self._agent_of: dict[str, Agent] = {}
        """By device."""
        self._memory = PlanMemory()
        self._failures: list[Failure] = []
        self._leaving: set[str] = set()
        self._killed: set[str] = set()
        self._earliest_us = 0
        self._due_us: int | None = None
        self._play = agenda.kind(self._on_play)

    def control(self, agents: Sequence[Agent], agent_of: dict[str, Agent]) -> None:
        """These are the agents; from now on there are plans."""
        self._agents, self._agent_of = agents, agent_of
        self.poke()

    def poke(self, *, load: bool = False) -> None:
        """Plan soon; for `load` alone not before its own interval is over."""
        earliest_us = self._earliest_us
        if load:
            earliest_us += max(0, self._setup.delays.load_plan_us - self._setup.delays.plan_us)
        self._expect(max(earliest_us, self._agenda.now_us))

    def gone(self, replica_id: str) -> None:
        """A replica gave its devices back; its id may be used again."""
        self._leaving.discard(replica_id)
        self._killed.discard(replica_id)
        self.poke()

    def _expect(self, due_us: int) -> None:
        if self._due_us is None or due_us < self._due_us:
            self._due_us = due_us
            self._agenda.at(due_us, self._play, None)

    def _on_play(self, _: None) -> None:
        now_us = self._agenda.now_us
        if self._due_us != now_us:
            return  # it was played earlier
        self._due_us = None
        result = plan(self._observe(now_us), now_us, self._setup.plan, describes=False)
        self._failures.clear()
        self._memory = result.memory
        self._gateway.set_bounds(result.bounds)
        begun = True
        for action in result.actions:
            begun &= self._act(action, now_us)
        self._earliest_us = now_us + self._setup.delays.plan_us
        due_us = result.next_due_us if begun else min(result.next_due_us, now_us + _RETRY_US)
        # What the actions changed has poked already; that round is not to be lost.
        poked, self._due_us = self._due_us is not None, None
        self._expect(self._earliest_us if poked else max(self._earliest_us, due_us))

    def _observe(self, now_us: int) -> Observed:
        start_us: dict[str, dict[Variant, int]] = {}
        queued: dict[str, dict[Variant, int]] = {}
        for agent in self._agents:
            for key, times_us in agent.predictions.starts_us().items():
                start_us.setdefault(key, {}).update(times_us)
            for (key, variant), count in agent.queued().items():
                of_function = queued.setdefault(key, {})
                of_function[variant] = of_function.get(variant, 0) + count
        wall_us = self._setup.wall_us
        exec_us: dict[str, dict[Variant, int]] = {}
        replicas: list[ReplicaStatus] = []
        demand = self._gateway.demand()
        service: dict[str, dict[Variant, list[ServiceTime]]] = {}
        for agent in self._agents:
            own = agent.replicas()
            replicas += own
            for key, found in measured.service(agent.predictions, self._functions, own, demand).items():
                for variant, took in found.items():
                    service.setdefault(key, {}).setdefault(variant, []).append(took)
            for key, times_us in measured.exec_us(agent.predictions, self._functions, own).items():
                exec_us.setdefault(key, {}).update(times_us)
        return Observed(
            functions=self._functions,
            devices=self._devices,
            reservations=tuple(part for agent in self._agents for part in agent.reservations.all()),
            replicas=tuple(replicas),
            demand=demand,
            queued=queued,
            start_us=start_us,
            exec_us=exec_us,
            service=pooled_by_pair(service),
            failures=tuple(self._failures),
            leaving=frozenset(self._leaving),
            killed=frozenset(self._killed),
            memory=self._memory,
            wall_us=wall_us + now_us if wall_us else 0,
            namespace_weights=dict(self._setup.namespace_weights),
            costs=NO_COSTS if self._money is None else self._money.costs([agent.predictions for agent in self._agents]),
        )

    def _act(self, action: Action, now_us: int) -> bool:
        """Begin one action; False: it could not begin now."""
        if isinstance(action, Start):
            agent = self._agent_of[action.spec.devices[0]]
            return agent.start(action.spec, action.reservations, action.function)
        agent_and_replica = next(
            ((agent, replica) for agent in self._agents if (replica := agent.replica(action.replica_id))), None
        )
        if agent_and_replica is None:
            return True
        agent, replica = agent_and_replica
        if isinstance(action, Kill):
            self._leaving.add(action.replica_id)
            self._killed.add(action.replica_id)
            self._failures.append(
                Failure(
                    function=replica.spec.function,
                    variant=replica.spec.variant,
                    revision=replica.spec.revision,
                    replica_id=action.replica_id,
                    at_us=now_us,
                    reason=action.reason,
                    detail=action.detail,
                    warm_us=None if replica.ready_us is None else now_us - replica.ready_us,
                    amends=True,
                )
            )
            agent.kill(action.replica_id)
        else:
            assert isinstance(action, (Drain, Stop))
            self._leaving.add(action.replica_id)
            agent.drain(action.replica_id)
        return True
