"""A plan while it is being made: the observed world, what has been decided so far, and when to look again."""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from stoker.control import prewarming, rollout
from stoker.control.allocation import grow_usage
from stoker.control.board import Board
from stoker.control.capacity import Need, Needs, needs_of
from stoker.control.fleet import Fleet
from stoker.control.holdings import Givers, Holder, Holding
from stoker.control.planning import (
    Action,
    Drain,
    Failure,
    FunctionMemory,
    Kill,
    Observed,
    Pair,
    PlanParams,
    Shares,
    Start,
    Usage,
)
from stoker.control.purse import Purse
from stoker.control.shares import lead_us, namespace_of
from stoker.control.tenancy import Tenant, Tenants, gave_way_us, tenants
from stoker.model.demand import VariantDemand
from stoker.model.fitting import fits_any
from stoker.model.function import Function, KeepAlivePolicy, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.names import replica_id
from stoker.policies.allocation.interface import AllocationPolicy, Resident
from stoker.policies.allocation.registry import make_allocation_policy
from stoker.policies.eviction.interface import EvictionParams, EvictionPolicy
from stoker.policies.eviction.registry import make_keep_alive
from stoker.policies.prewarm.interface import NOTHING, ArrivalHistory, Forecast
from stoker.prediction import EXEC_PRIOR_CAP_US
from stoker.reasons import Reason

_NO_DEMAND = VariantDemand()
_NOBODY = Tenant()


class Draft:
    """Mutable for the length of one plan() call only; everything it is given stays as it was."""

    def __init__(self, observed: Observed, now_us: int, params: PlanParams) -> None:
        self.observed = observed
        self.now_us = now_us
        self.params = params
        self.policy: AllocationPolicy = make_allocation_policy(params.allocation)
        self.fleet = Fleet(observed.replicas, observed.leaving)
        self.board = Board(
            observed.devices,
            observed.reservations,
            observed.memory.claims,
            placed={r.spec.id: r.spec.devices for r in self.fleet.by_id.values()},
            cross_tenant=observed.cross_tenant,
            nodes=observed.nodes,
        )
        self.memory: dict[str, FunctionMemory] = {}
        self.clocks = dict(observed.memory.clocks)
        self.shares: dict[Variant, Shares] = {}
        """As of now; of policies that need none, none."""
        self.actions: list[Action] = []
        self.waiting: set[Pair] = set()
        """Pairs that wait for a device after this plan."""
        self.lacking: set[Pair] = set()
        """Those of them that need it: not for a wake only, and no bound of their own is in the way."""
        self.turn_us: dict[Pair, int] = {}
        """When the quantum rule gives a waiting pair its turn, where that is known."""
        self.holders: dict[Pair, Holder | None] = {}
        """What stoker.control.candidates found that a pair could give; forgotten when the pair gives something."""
        self.over_quota: set[Pair] = set()
        """Pairs that wait because their namespace holds all the GPUs that it may."""
        self.forecasts: dict[Pair, Forecast] = {}
        self.givers: Givers | None = None
        """Of stoker.control.candidates, as are the holders; `stale_givers` have given since."""
        self.stale_givers: set[Pair] = set()
        self.holdings: dict[frozenset[int], Holding] = {}
        """Of stoker.control.sentences, by the classes of devices."""
        self.unserved: set[tuple[object, ...]] = set()
        """Of stoker.control.candidates: kinds of wants that found nobody whose turn is over."""
        self.claimants: dict[Pair, Resident] = {}
        """Of stoker.control.worth: pairs that want something, as the allocation policy is shown them."""
        self._tenants: Tenants | None = None
        self._gave_way_us: dict[tuple[str, Variant], int] | None = None
        self._keep_alive: dict[KeepAlivePolicy, EvictionPolicy] = {}
        self._freed: set[str] | None = None
        self.blocked_gpus: Counter[str] | None = None
        """Of stoker.control.quota."""
        self._misfits: dict[Needs, str | None] = {}
        self._needs: dict[tuple[Pair, str], Needs] = {}
        self._due_us: int | None = None
        self.purse = Purse(self)

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
        return self.observed.demand.get(pair[0], {}).get(pair[1], _NO_DEMAND)

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

    def exec_us(self, pair: Pair) -> int:
        """Execution time, measured or assumed as stoker.prediction does."""
        for told in (self.observed.exec_us, self.observed.costs.exec_us):
            known = told.get(pair[0], {}).get(pair[1])
            if known is not None:
                return known
        return max(1, min(self.observed.functions[pair[0]].spec.slo.latency_us // 2, EXEC_PRIOR_CAP_US))

    def keep_alive(self, policy: KeepAlivePolicy) -> EvictionPolicy:
        """The policy of that name, made once in a plan."""
        found = self._keep_alive.get(policy)
        if found is None:
            made = make_keep_alive(policy, EvictionParams(seed=self.params.seed, wait_weight=self.params.wait_weight))
            found = self._keep_alive[policy] = made
        return found

    def leads_us(self, pair: Pair) -> tuple[float, float]:
        """How far ahead the function is in its namespace, and the namespace among all."""
        shares = self.shares.get(pair[1])
        if shares is None:
            return 0.0, 0.0
        namespace = namespace_of(pair[0])
        level = shares.functions.get(namespace)
        return 0.0 if level is None else lead_us(level, pair[0]), lead_us(shares.namespaces, namespace)

    def tenant(self, pair: Pair) -> Tenant:
        """What the namespace of the pair holds and gets."""
        if self._tenants is None:
            self._tenants = tenants(self.fleet, self.board, self.actions)
        return self._tenants.get((namespace_of(pair[0]), pair[1]), _NOBODY)

    def tenant_gave_way_us(self, pair: Pair) -> int:
        """When one of that namespace gave way last; 0: never."""
        if self._gave_way_us is None:
            self._gave_way_us = gave_way_us(self.memory)
        return self._gave_way_us.get((namespace_of(pair[0]), pair[1]), 0)

    def _tenant_changed(self, pair: Pair) -> None:
        """The pair gets or gives something: what policies are shown of its namespace is out of date."""
        self._tenants = None
        self.unserved.clear()
        if self.policy.by_tenant:
            self.claimants.clear()
            namespace = namespace_of(pair[0])
            for other in self.fleet.pairs():
                if other[1] is pair[1] and namespace_of(other[0]) == namespace:
                    self.holders.pop(other, None)
                    self.stale_givers.add(other)

    def wanted(self, key: str) -> Function:
        """The function as of the revision that is to run."""
        return rollout.wanted(self.memory[key], self.observed.functions[key])

    def needs(self, function: Function, variant: Variant) -> Needs:
        """The ways to place a replica of the function (as of its revision), made once in a plan."""
        key = ((function.key, variant), function.revision)
        found = self._needs.get(key)
        if found is None:
            found = self._needs[key] = needs_of(function, variant)
        return found

    def misfit(self, function: Function) -> str | None:
        """fits_any() for the function; functions that want the same are judged once."""
        needs = self.needs(function, function.primary)
        if needs not in self._misfits:
            fits = self.board.could_ever(needs)
            self._misfits[needs] = None if fits else fits_any(function, self.observed.devices)
        return self._misfits[needs]

    def devices_of(self, replica: ReplicaStatus) -> Sequence[str]:
        """Devices that are promised to a replica, or that it has."""
        return self.board.devices_of(replica.spec.id) or replica.spec.devices

    def freed(self) -> set[str]:
        """Unclaimed devices of replicas that are leaving."""
        if self._freed is None:
            leaving = (self.board.devices_of(identity) for identity in self.fleet.leaving)
            self._freed = {d for devices in leaving for d in devices if not self.board.is_claimed(d)}
        return self._freed

    def claim(self, pair: Pair, need: Need, devices: tuple[str, ...]) -> None:
        """Keep the devices for the pair."""
        self.board.claim(pair, need, devices)
        self.freed().difference_update(devices)
        self._tenant_changed(pair)

    def forecast(self, pair: Pair) -> Forecast:
        """What is wanted of the pair ahead of requests."""
        return self.forecasts.get(pair, NOTHING)

    def look_ahead(self, function: Function) -> None:
        """Learn from the arrivals of the function, and forecast what its primary variant needs."""
        memory = self.memory[function.key]
        if not prewarming.sees_ahead(function, self.params):
            if memory.arrivals.last_us is not None:
                self.memory[function.key] = replace(memory, arrivals=ArrivalHistory())
            return
        pair = (function.key, function.primary)
        arrivals = prewarming.learn(
            function,
            self.params,
            memory.arrivals,
            self.demand(pair).last_wake_us,
            self.now_us,
            busy=self.whole_load(pair) > 0,
        )
        if arrivals is not memory.arrivals:
            self.memory[function.key] = replace(memory, arrivals=arrivals)
        found = prewarming.forecast(
            function,
            self.params,
            arrivals,
            self.now_us,
            self.observed.wall_us,
            self.start_us(pair),
            self.board.usual_share(self.needs(function, pair[1])[0]),
        )
        if found.until_us is not None:
            self.due(found.until_us)
        self.forecasts[pair] = found

    def least(self, function: Function, pair: Pair) -> int:
        """Replicas of the pair that nobody may take away: minReplicas, or what a window wants."""
        least = max(function.min_replicas_of(pair[1]), self.forecast(pair).firm)
        return min(least, function.max_replicas_of(pair[1]))

    def avoided(self, pair: Pair) -> frozenset[str]:
        """Nodes where no replica of the pair may be tried now: the last pods there got unfit devices.

        While those pods stand there, each blocking its device, the next one gets another device, so it may be tried at
        once. Not where one of them has gone (the next might get its device), nor where they hold all that there is.
        """
        entries = self.memory[pair[0]].unfit_on
        if not entries:
            return frozenset()
        blockers = [self.board.node_of(d) for r in self.fleet.blockers(pair) for d in r.spec.devices[:1]]
        avoided = []
        for node, entry in entries.items():
            standing = blockers.count(node)
            heals = entry.landings <= standing < len(self.board.devices_in(node))
            if entry.not_before_us > self.now_us and not heals:
                self.due(entry.not_before_us)
                avoided.append(node)
        return frozenset(avoided)

    def usage(self, pair: Pair) -> Usage:
        """Decayed device time of the pair up to now."""
        before = self.memory[pair[0]].usage.get(pair[1], Usage())
        held = sum(len(self.devices_of(r)) for r in self.fleet.all_of(pair))
        return grow_usage(before, held, self.now_us, self.params.usage_memory_us)

    def _leaves(self, replica: ReplicaStatus) -> None:
        pair = (replica.spec.function, replica.spec.variant)
        self.fleet.leaving.add(replica.spec.id)
        self.holders.pop(pair, None)
        self.stale_givers.add(pair)
        self._tenant_changed(pair)
        if self._freed is not None:
            self._freed.update(d for d in self.devices_of(replica) if not self.board.is_claimed(d))

    def drain(self, replica: ReplicaStatus, reason: Reason, for_function: str | None = None) -> None:
        """Take a replica away once what it runs has ended."""
        self._leaves(replica)
        self.actions.append(Drain(replica_id=replica.spec.id, reason=reason, for_function=for_function))
        memory = self.memory.get(replica.spec.function)
        if memory is not None and reason in (Reason.GIVES_WAY, Reason.QUANTUM_OVER, Reason.COST_BOUND):
            at_us = {**memory.gave_way_us, replica.spec.variant: self.now_us}
            self.memory[replica.spec.function] = replace(memory, gave_way_us=at_us)
            self._gave_way_us = None

    def kill(self, replica: ReplicaStatus, reason: Reason, detail: str, *, failed: bool = True) -> None:
        """End a broken replica now and count it as a failure (unless only its revision was given up)."""
        self._leaves(replica)
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
        stem = replica_id(function.key, pair[1], function.primary, function.revision, 0).removesuffix("-0")
        ordinal = self.fleet.new_ordinal(stem)
        identity = f"{stem}-{ordinal}"
        spec = ReplicaSpec(
            id=identity,
            function=function.key,
            variant=pair[1],
            revision=function.revision,
            ordinal=ordinal,
            devices=devices,
        )
        reservations = self.board.take(identity, need, devices, pair)
        avoid_nodes = tuple(sorted(self.avoided(pair) | self.purse.dearer_nodes(pair, function, need, devices)))
        self.actions.append(Start(spec=spec, reservations=reservations, function=function, avoid_nodes=avoid_nodes))
        self.fleet.started[pair] = self.fleet.started.get(pair, 0) + 1
        self._tenant_changed(pair)
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
