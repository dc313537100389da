"""A plan while it is being made: the observed world, what has been decided so far, and when to look again."""

from msgspec.structs import replace

from stoker.control import rollout
from stoker.control.allocation import Holder, grow_usage
from stoker.control.capacity import Board, Need
from stoker.control.fleet import Fleet
from stoker.control.planning import (
    Action,
    Drain,
    Failure,
    FunctionMemory,
    Kill,
    Observed,
    Pair,
    PlanParams,
    Start,
    Usage,
)
from stoker.model.demand import VariantDemand
from stoker.model.function import Function
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.names import replica_id
from stoker.policies.allocation.interface import AllocationPolicy
from stoker.policies.allocation.registry import make_allocation_policy
from stoker.reasons import Reason


class Draft:
    """Mutable for the length of one plan() call only; everything it is given stays as it was."""

    def __init__(self, observed: Observed, now_us: int, params: PlanParams) -> None:
        self.observed = observed
        self.now_us = now_us
        self.params = params
        self.policy: AllocationPolicy = make_allocation_policy(params.allocation)
        self.board = Board(observed.devices, observed.reservations, observed.memory.claims)
        self.fleet = Fleet(observed.replicas, observed.leaving)
        self.memory: dict[str, FunctionMemory] = {}
        self.clocks = dict(observed.memory.clocks)
        self.actions: list[Action] = []
        self.waiting: set[Pair] = set()
        """Pairs that wait for a device after this plan."""
        self.turn_us: dict[Pair, int] = {}
        """When the quantum rule gives a waiting pair its turn, where that is known."""
        self.holders: dict[Pair, Holder | None] = {}
        """What stoker.control.candidates found that a pair could give; forgotten when the pair gives something."""
        self._new_ordinals: dict[Pair, set[int]] = {}
        self._due_us: int | None = None

    def due(self, at_us: int) -> None:
        """Something may have to be done at this time."""
        if at_us > self.now_us and (self._due_us is None or at_us < self._due_us):
            self._due_us = at_us

    def next_due_us(self, *, busy: bool) -> int:
        """When to plan again: what is due, and the resync while anything runs or waits (else ten times as late)."""
        latest = self.now_us + self.params.resync_us * (1 if busy else 10)
        return latest if self._due_us is None else min(latest, self._due_us)

    def demand(self, pair: Pair) -> VariantDemand:
        """The gateways' demand for a pair."""
        return self.observed.demand.get(pair[0], {}).get(pair[1], VariantDemand())

    def load(self, pair: Pair) -> int:
        """Requests that need a replica of the pair that stays: held, queued or running.

        The agent's own count may be newer than the gateways', so the larger one is believed. What already runs on a
        replica that leaves is served there and needs no other.
        """
        leaving = sum(r.in_flight for r in self.fleet.all_of(pair) if r.spec.id in self.fleet.leaving)
        busy = self.queued(pair) + sum(r.in_flight for r in self.fleet.live(pair))
        return max(self.demand(pair).in_system - leaving, self.demand(pair).held, busy)

    def whole_load(self, pair: Pair) -> int:
        """The same with what runs on replicas that leave: how many to keep, so that each that goes drags none along."""
        busy = self.queued(pair) + sum(r.in_flight for r in self.fleet.all_of(pair))
        return max(self.demand(pair).in_system, self.demand(pair).held, busy)

    def queued(self, pair: Pair) -> int:
        """Requests of the pair that wait at the agent."""
        return self.observed.queued.get(pair[0], {}).get(pair[1], 0)

    def last_wake_us(self, pair: Pair) -> int | None:
        """The last wake that was not answered by a replica that has given way since."""
        woken_us = self.demand(pair).last_wake_us
        gave_way_us = self.memory[pair[0]].gave_way_us.get(pair[1])
        return None if woken_us is None or (gave_way_us is not None and woken_us <= gave_way_us) else woken_us

    def known_start_us(self, pair: Pair) -> int | None:
        """Measured start-up; None where it was never measured."""
        return self.observed.start_us.get(pair[0], {}).get(pair[1])

    def start_us(self, pair: Pair) -> int:
        """Start-up, measured or assumed."""
        known = self.known_start_us(pair)
        return self.params.start_prior_us if known is None else known

    def wanted(self, key: str) -> Function:
        """The function as of the revision that is to run."""
        return rollout.wanted(self.memory[key], self.observed.functions[key])

    def usage(self, pair: Pair) -> Usage:
        """Decayed device time of the pair up to now."""
        before = self.memory[pair[0]].usage.get(pair[1], Usage())
        held = sum(len(r.spec.devices) for r in self.fleet.all_of(pair))
        return grow_usage(before, held, self.now_us, self.params.usage_memory_us)

    def drain(self, replica: ReplicaStatus, reason: Reason, for_function: str | None = None) -> None:
        """Take a replica away once what it runs has ended."""
        self.fleet.leaving.add(replica.spec.id)
        self.holders.pop((replica.spec.function, replica.spec.variant), None)
        self.actions.append(Drain(replica_id=replica.spec.id, reason=reason, for_function=for_function))
        memory = self.memory.get(replica.spec.function)
        if memory is not None and reason in (Reason.GIVES_WAY, Reason.QUANTUM_OVER):
            gave_way_us = {**memory.gave_way_us, replica.spec.variant: self.now_us}
            self.memory[replica.spec.function] = replace(memory, gave_way_us=gave_way_us)

    def kill(self, replica: ReplicaStatus, reason: Reason, detail: str, *, failed: bool = True) -> None:
        """End a broken replica now and count it as a failure (unless only its revision was given up)."""
        self.fleet.leaving.add(replica.spec.id)
        self.holders.pop((replica.spec.function, replica.spec.variant), None)
        self.actions.append(Kill(replica_id=replica.spec.id, reason=reason, detail=detail))
        spec = replica.spec
        function = self.observed.functions.get(spec.function)
        if failed and function is not None:
            warm_us = None if replica.ready_us is None else self.now_us - replica.ready_us
            failure = Failure(
                function=spec.function,
                variant=spec.variant,
                revision=spec.revision,
                replica_id=spec.id,
                at_us=self.now_us,
                reason=reason,
                detail=detail,
                warm_us=warm_us,
            )
            self.memory[spec.function] = rollout.count_failure(
                self.memory[spec.function], function, failure, self.params
            )

    def start(self, pair: Pair, function: Function, need: Need, devices: tuple[str, ...]) -> None:
        """Start one replica of `function` (as of its revision) on the devices."""
        new = self._new_ordinals.setdefault(pair, set())
        ordinal = self.fleet.free_ordinal(self.observed.leaving, pair, function.revision, new)
        new.add(ordinal)
        identity = replica_id(function.key, pair[1], function.primary, function.revision, ordinal)
        spec = ReplicaSpec(
            id=identity,
            function=function.key,
            variant=pair[1],
            revision=function.revision,
            ordinal=ordinal,
            devices=devices,
        )
        reservations = self.board.take(identity, need, devices, pair)
        self.actions.append(Start(spec=spec, reservations=reservations, function=function))
        self.fleet.started[pair] = self.fleet.started.get(pair, 0) + 1
        self.memory[function.key] = rollout.trying(self.memory[function.key], function.revision, self.now_us)

    def set_waiting(self, pair: Pair, *, waits: bool) -> None:
        """Remember since when a pair waits for a device, or that it does not."""
        memory = self.memory[pair[0]]
        since = memory.waiting_since_us
        if waits and pair[1] not in since:
            self.memory[pair[0]] = replace(memory, waiting_since_us={**since, pair[1]: self.now_us})
        elif not waits and pair[1] in since:
            left = {variant: at for variant, at in since.items() if variant is not pair[1]}
            self.memory[pair[0]] = replace(memory, waiting_since_us=left)

    def waiting_since_us(self, pair: Pair) -> int:
        """Since when the pair waits; now if it does not yet."""
        return self.memory[pair[0]].waiting_since_us.get(pair[1], self.now_us)

    def expect_turn(self, pair: Pair, at_us: int) -> None:
        """The quantum rule may free a device for the pair at this time."""
        self.turn_us[pair] = min(at_us, self.turn_us.get(pair, at_us))
        self.due(at_us)

    def is_starting(self, pair: Pair) -> bool:
        """Whether a replica of the pair starts or is started by this plan."""
        return bool(self.fleet.started.get(pair)) or any(
            r.state is ReplicaState.STARTING for r in self.fleet.live(pair)
        )
