"""What one more request of a flow would find: the live state of an agent's slots, for the verdict on it.

Reads the replica table and the policy and changes neither. What it reads of the table is a value (Sight), so that an
event log can hold it and ask again.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from stoker.calibration import ONE
from stoker.model.function import Function
from stoker.model.policy import AdmissionMode, Policy
from stoker.model.replica import ReplicaState
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.policies.queueing.lanes import Lane, Room
from stoker.prediction import Predictions, predict_wait_us
from stoker.slots.arrangement import Arrangement, remaining_of
from stoker.slots.coming_back import NOTHING, Reserved
from stoker.slots.contention import Contention
from stoker.slots.offering import cheapest_first, least_loaded_first
from stoker.slots.table import AnyReplica, DeviceSlots, FlowState, Run

P = TypeVar("P", bound=AnyReplica)

EXPLORE_EVERY = 20
"""A flow that nothing is admitted of may try one request in so many predicted executions (ours: 5 % of one slot), in
half as many after each trial that met its objective: whatever was learnt of bad times is unlearnt soon after them.
"""


class Rule(StrEnum):
    """The admission policies (GpuPolicy.admission.policy)."""

    SCHEDULE = "schedule-based"
    UTILISATION = "utilisation-threshold"
    NONE = "none"


class Sight(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the verdict on one more request depends on, the request and the queue aside."""

    rule: Rule = Rule.SCHEDULE
    observes: bool = False
    """GpuPolicy.admission.mode Observe: a verdict is found and not acted upon."""

    ago_us: int = 0
    """It came so long ago: its body took a while."""
    free: bool = False
    """A slot is free for it and nobody is before it; nothing else is looked at then."""
    flows: frozenset[str] = frozenset()
    """Those that it waits with, its own included."""
    promised_us: int = 0
    """Predicted work of its flow that was admitted and is not queued yet."""
    remaining_us: tuple[int, ...] = ()
    """Predicted time to the end of each run that it may have to wait for."""
    servers: int = 0
    """Slots that it may get; 0: none of its replicas is warm."""
    starting: int = 0
    """Concurrency of its replicas that start."""
    start_us: int = 0
    """Predicted time until the first of them is warm, or one that is started now."""
    rooms: tuple[tuple[Lane, Room], ...] = ()
    """Where the policy keeps commitments: what holds the slots of each lane of the flow's pool."""
    margin_ppm: int = 0
    """What to add to a predicted finish time, in millionths of it (stoker.calibration)."""
    limit_us: int | None = None
    """How much work of the flow may be queued (stoker.slots.contention); None: any."""
    share_us: int = 0
    """Where that is bound: execution time that the flow may have in WINDOW_US."""
    reserved_us: int = 0
    """Work of the flow that has a place and is not there yet: it counts as queued."""
    takes_late: bool = False
    """It is to be taken even if it is predicted to miss."""
    explores: bool = False
    """Nothing of the flow runs or waits, and nothing was tried for so long that one may be, whatever is predicted."""


_FREE = Sight(free=True)


def predicted_wait_us(
    request: QueuedRequest,
    flow: FlowState[Any],
    function: Function,
    *,
    policy: QueuePolicy,
    predictions: Predictions,
    now_us: int,
) -> int:
    """Predicted time until the request, which is not queued, would be dispatched."""
    return wait_us(request, look(flow, function, policy=policy, predictions=predictions, now_us=now_us), policy)


def look(
    flow: FlowState[Any], function: Function, *, policy: QueuePolicy, predictions: Predictions, now_us: int
) -> Sight:
    """What one more request of the flow would find."""
    if _is_free(flow, policy):
        return _FREE
    flows = {flow.key}
    remaining_us: list[int] = []
    servers = 0
    for device in flow.devices:
        mine = [r for r in device.residents if r.flow is flow and r.state is ReplicaState.WARM]
        if device.slots is None or mine[0].exclusive or all(replica.free() == 0 for replica in mine):
            # Its own concurrency is what it waits for.
            servers += sum(replica.concurrency for replica in mine)
            running: list[Run] = [run for replica in mine for run in replica.running]
        else:
            # A slot of the device is what it waits for, together with everybody who lives there.
            servers += device.slots
            running = [run for replica in device.residents for run in replica.running]
            flows.update(r.flow.key for r in device.residents if r.state is ReplicaState.WARM)
        remaining_us += [remaining_of(run, now_us) for run in running]
    if servers:
        return Sight(
            flows=frozenset(flows), promised_us=flow.promised_us, remaining_us=tuple(remaining_us), servers=servers
        )
    replicas = [replica for replica in flow.replicas.values() if replica.state is ReplicaState.STARTING]
    start_us = predictions.start_us(function, flow.variant).us
    return Sight(
        flows=frozenset(flows),
        promised_us=flow.promised_us,
        starting=sum(replica.concurrency for replica in replicas),
        start_us=min((max(0, replica.started_us + start_us - now_us) for replica in replicas), default=start_us),
    )


def _is_free(flow: FlowState[Any], policy: QueuePolicy) -> bool:
    return flow.has_free_slot() and not flow.promised_us and not policy.queued(flow.key)


def wait_us(request: QueuedRequest, sight: Sight, policy: QueuePolicy) -> int:
    """Predicted time until the request, which is not queued, would be dispatched."""
    if sight.free:
        return 0
    ahead_us = policy.work_ahead_us(request, sight.flows) + sight.promised_us
    if sight.servers:
        return predict_wait_us(sight.remaining_us, ahead_us, sight.servers)
    return sight.start_us + predict_wait_us((), ahead_us, sight.starting)


class Lookout:
    """Looks for an agent: what a verdict needs beside the wait."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions
        self.arrangement: Arrangement[Any] = Arrangement()
        self.contention = Contention()
        self.rule = Rule.SCHEDULE
        self.observes = False
        self.prices: Mapping[str, float] = {}
        """Of devices, by product and hour."""

    def follow(self, policy: Policy) -> None:
        """Act by this GpuPolicy from now on."""
        self.rule = Rule(policy.admission_policy)
        self.observes = policy.admission is AdmissionMode.OBSERVE
        self.prices = policy.prices

    def order(self, flow: FlowState[P], request: QueuedRequest, now_us: int) -> Sequence[DeviceSlots[P]]:
        """The devices of its flow in the order in which a request that has come is offered."""
        if not self.prices:
            return least_loaded_first(flow.devices)
        return cheapest_first(flow, request, prices=self.prices, predictions=self._predictions, now_us=now_us)

    def sight(
        self,
        request: QueuedRequest,
        flow: FlowState[Any],
        function: Function,
        *,
        policy: QueuePolicy,
        takes_late: bool,
        now_us: int,
        reserved: Reserved = NOTHING,
        again: bool = False,
    ) -> Sight | None:
        """What a request finds that comes now; None: nobody asks, it is taken. Notes that it came, unless it was taken
        before and is looked at `again`: then it is bound to no share either.

        `reserved`: what of others who were refused and come back is before it, as if it were promised already.
        """
        if self.rule is Rule.NONE:
            return None
        if not again and self._predictions.exec_us(function, flow.variant, flow.product).samples:
            # A prior is a guess, and as a rule a large one: it says nothing of what is asked for.
            self.contention.ask(flow.key, request.priority, request.predicted_exec_us, now_us)
        # Never less than nothing: what waits is dropped once its mean no longer fits, and may be promised no later.
        margin_ppm = max(0, self._predictions.margin_ppm(function.key, request.percentile))
        # As long as a request may wait: with the margin, wait and execution are to end at the objective.
        longest_us = (request.objective_us - now_us) * ONE // (ONE + margin_ppm) - request.predicted_exec_us
        limit_us = None
        if not again and self.contention.is_bound(flow.key, self.arrangement.pools(), now_us):
            servers, flows = self.arrangement.pool(flow.key)
            waiting = sum(policy.queued(one) for one in flows) + (flow.promised_us > 0)
            limit_us = self.contention.limit_us(flow.key, longest_us, waiting, servers, now_us)
        found = _FREE
        rooms: tuple[tuple[Lane, Room], ...] = ()
        free = _is_free(flow, policy)
        if not free and self.rule is Rule.SCHEDULE and policy.commitments is not None:
            rooms = self.arrangement.rooms(flow.key, now_us)
        if rooms:
            found = Sight(promised_us=flow.promised_us, rooms=rooms)
        elif not free:
            found = look(flow, function, policy=policy, predictions=self._predictions, now_us=now_us)
        return replace(
            found,
            promised_us=found.promised_us + reserved.ahead_us,
            rule=self.rule,
            observes=self.observes,
            ago_us=now_us - request.arrival_us,
            margin_ppm=margin_ppm,
            limit_us=limit_us,
            share_us=0 if limit_us is None else self.contention.share_us(flow.key),
            reserved_us=reserved.own_us,
            takes_late=takes_late,
            explores=_may_explore(flow, request, policy, now_us),
        )


def _may_explore(flow: FlowState[Any], request: QueuedRequest, policy: QueuePolicy, now_us: int) -> bool:
    if flow.running or policy.queued(flow.key):
        return False
    last_us = flow.explored_us
    return last_us is None or now_us - last_us >= (EXPLORE_EVERY >> flow.trials_kept) * request.predicted_exec_us
