"""One node's agent in simulated time: the table of stoker.slots, one queueing policy, and the life of each replica.

What the live agent does over connections happens here by events: a replica is ready when its process is and a probe
has seen it, an execution ends when its work does. Every decision is the shared code's (stoker.slots, the policy).
"""

from collections.abc import Callable, Mapping, Sequence

from stoker.lifecycle import check_transition
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Sharing, Variant
from stoker.model.replica import ReplicaSpec, ReplicaState, ReplicaStatus
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.prediction import Predictions
from stoker.reasons import Outcome, Reason
from stoker.slots import table
from stoker.slots.arrangement import Expectation
from stoker.slots.forecast import Lookout
from stoker.slots.load import load_of
from stoker.slots.offering import pop_for
from stoker.slots.reservations import Reservations
from stoker.wire.agent import Refusal, VariantLoad
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.execution import Execution, Run
from stoker_sim.engine.flows import Flow, Requests
from stoker_sim.engine.frames import Frames
from stoker_sim.engine.judging import Judging
from stoker_sim.engine.money import Money
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.engine.returns import Returns
from stoker_sim.engine.setup import Delays, Setup

_NEVER = 1 << 62


class Replica(table.Replica[Run]):
    """One replica, and its rows in the log of residence."""

    __slots__ = ("rows",)

    def __init__(
        self,
        spec: ReplicaSpec,
        flow: table.FlowState["Replica"],
        device: table.DeviceSlots["Replica"],
        *,
        exclusive: bool,
        now_us: int,
    ) -> None:
        super().__init__(spec, flow, device, exclusive=exclusive, now_us=now_us)
        self.rows: list[list[int]] = []


class Agent:
    """See the module. `told` gets the flows that changed and whether a replica did, `refreshed` those that something
    queues or runs in at a heartbeat, `dispatched` each request that got a slot, `stranded` each that lost its last
    replica before that, `gone` the id of each replica that gave its devices back.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        flows: Mapping[str, Flow],
        setup: Setup,
        policy: QueuePolicy,
        *,
        agenda: Agenda,
        book: Book,
        log: ResidenceLog,
        told: Callable[["Agent", tuple[str, ...], bool], None],
        refreshed: Callable[["Agent", tuple[str, ...]], None],
        dispatched: Callable[[int], None],
        stranded: Callable[[int], None],
        gone: Callable[[str], None],
        money: Money | None = None,
        returns: Returns | None = None,
        predictions: Callable[[], Predictions] = Predictions,
    ) -> None:
        self.predictions = predictions()
        self._lookout = Lookout(self.predictions)
        self._lookout.rule = setup.admission_policy
        self._lookout.prices = setup.prices
        self.name = devices[0].node
        self.refused: Refusal | None = None
        """What it said with its last refusal."""
        self._judging = Judging(self._lookout, policy, self.name, returns)
        self.reservations = Reservations(devices)
        self._flows = flows
        self._of_pair = {(flow.definition.key, flow.variant): flow for flow in flows.values()}
        self._policy = policy
        self._agenda = agenda
        self._book = book
        self._log = log
        self._dispatched = dispatched
        self._stranded = stranded
        self._gone = gone
        self._money = money
        self._delays: Delays = setup.delays
        self._index = {device.id: index for index, device in enumerate(setup.devices)}
        self._table: table.ReplicaTable[Replica] = table.ReplicaTable(devices)
        self._requests = Requests(book.exec_us, book.slo_us, setup.knowledge, self.predictions)
        self._execution = Execution(agenda, book, setup.slowdowns, self._ended)
        self._frames = Frames(
            agenda, setup.delays.tell_us, lambda keys, at_once: told(self, keys, at_once), self._on_beat
        )
        self._refreshed = refreshed
        self._expected: dict[str, Expectation] = {}
        """What queued requests found."""
        self._waiting: dict[str, QueuedRequest] = {}
        """What is queued, in the order in which it came; an id is the request's index."""
        self._expiry_us = _NEVER
        self._expire = agenda.kind(self._on_expiry)
        self._holds_back = not policy.guarantees.work_conserving
        self._again_us = -1
        self._again = agenda.kind(self._on_again)
        self._ready = agenda.kind(self._on_ready)
        self._stopped = agenda.kind(self._on_stopped)
        for flow in flows.values():
            state = self._table.flow(flow.key, flow.definition.key, flow.variant)
            state.definition = flow.definition
            self._frames.touch(flow.key)

    # What the gateway asks.

    def load(self, key: str) -> VariantLoad:
        """What the load stream tells of a flow now."""
        return load_of(self._table.flows[key], self._policy, self.predictions, self._agenda.now_us)

    def admit(
        self, index: int, key: str, objective_us: int, timeout_us: int, *, cold: bool, late_ok: bool, said: str = ""
    ) -> Reason | None:
        """Queue a request (None), or why not. `objective_us` and `timeout_us` are instants, `said` as for Judging."""
        flow, state, now_us = self._flows[key], self._table.flows[key], self._agenda.now_us
        if not state.live():
            return Reason.NO_REPLICA
        request = self._requests.make(index, flow, now_us)
        request.predicted_exec_us = self._requests.predicted_us(index, flow, state.product, state.in_flight())
        request.objective_us, request.timeout_us, request.cold = objective_us, timeout_us, cold
        verdict = self._judging.verdict(index, request, state, flow.definition, late_ok=late_ok, said=said)
        if verdict.refusal is not None:
            self.refused = verdict.refusal
            return Reason(verdict.refusal.reason)
        if not verdict.promise_us:
            self._book.promised[index] = False
        self._lookout.contention.take(state.key, request.predicted_exec_us, now_us)
        if verdict.explores:
            state.explored_us = now_us
        for shed in verdict.shed:
            self._policy.cancel(shed)
            self._drop(self._waiting.pop(shed), Reason.SHED)
        self._push(request, state)
        return None

    # What the reconciler orders.

    def start(self, spec: ReplicaSpec, reservations: Sequence[Reservation], function: Function) -> bool:
        """Promise the devices and start a replica; False when they cannot be had."""
        if self.reservations.reserve(spec, reservations) is not None:
            return False
        now_us = self._agenda.now_us
        flow = self._of_pair[spec.function, spec.variant]
        state = self._table.flows[flow.key]
        exclusive = any(part.sharing is Sharing.EXCLUSIVE for part in reservations)
        check_transition(None, ReplicaState.STARTING)
        replica = Replica(spec, state, self._table.devices[spec.devices[0]], exclusive=exclusive, now_us=now_us)
        replica.concurrency = function.concurrency_of(spec.variant)
        if self._money is not None:
            replica.charge = self._money.hold(spec, reservations)
        for part in reservations:
            row = self._log.begin(
                flow.index, flow.variant, part.device_id, now_us, part.memory_mib, exclusive=exclusive
            )
            replica.rows.append(row)
        self._table.add(replica)
        self._frames.state(flow.key)
        probe_us = max(1, self._delays.probe_us)
        probes = -(-flow.behaviour.cold_us // probe_us)
        self._agenda.at(now_us + self._delays.create_us + probes * probe_us, self._ready, replica)
        return True

    def drain(self, replica_id: str) -> None:
        """Dispatch nothing more to it; it gives its devices back when nothing is in flight there."""
        replica = self._table.by_id.get(replica_id)
        if replica is None:
            return
        if replica.state is not ReplicaState.DRAINING:
            self._set_state(replica, ReplicaState.DRAINING)
            self._strand_if_dead(replica.flow)
        self._stop_if_drained(replica)

    def kill(self, replica_id: str) -> None:
        """End it now; what runs there fails."""
        replica = self._table.by_id.get(replica_id)
        if replica is None:
            return
        now_us = self._agenda.now_us
        for run in sorted(replica.running, key=lambda one: one.index):
            self._execution.kill(run)
            self._policy.done(run.request, now_us - run.dispatched_us)
            self._book.occupied_us[run.index] = now_us - run.dispatched_us
            self._book.running -= 1
            self._table.vacate(replica, run, now_us)
        self._remove(replica)
        self._strand_if_dead(replica.flow)
        self._dispatch(replica.device)

    # What is.

    def replica(self, replica_id: str) -> Replica | None:
        return self._table.by_id.get(replica_id)

    def replicas(self) -> list[ReplicaStatus]:
        now_us = self._agenda.now_us
        found = []
        for replica in self._table.by_id.values():
            replica.overdue = {run for run in replica.running if run.cut}
            found.append(replica.status(now_us, queued=self._policy.queued(replica.flow.key)))
        return found

    def queued(self) -> dict[tuple[str, Variant], int]:
        """Requests queued, by function and variant; only those with any."""
        if not self._waiting:
            return {}
        return {
            (state.function, state.variant): count
            for state in self._table.flows.values()
            if (count := self._policy.queued(state.key))
        }

    # Inside.

    def _drop(self, request: QueuedRequest, reason: Reason) -> None:
        """Refuse a request that had been taken."""
        self._frames.touch(request.flow)
        self._expected.pop(request.id, None)
        self._book.end(int(request.id), Outcome.REFUSED, reason, self._agenda.now_us)

    def _rearrange(self) -> None:
        if self._lookout.arrangement.renew(self._table.flows.values()):
            self._policy.arrange(self._lookout.arrangement.lanes)

    def _on_beat(self) -> bool:
        """Whether there is anything to refresh."""
        busy = tuple(key for key, flow in self._table.flows.items() if flow.running or self._policy.queued(key))
        if busy:
            self._refreshed(self, busy)
        return bool(busy)

    def _push(self, request: QueuedRequest, state: table.FlowState[Replica]) -> None:
        self._waiting[request.id] = request
        expectation = self._lookout.arrangement.expect(state.key, self._agenda.now_us)
        if expectation is not None:
            self._expected[request.id] = expectation
        self._policy.push(request)
        self._frames.touch(state.key)
        if request.timeout_us < self._expiry_us:
            self._expiry_us = request.timeout_us
            self._agenda.at(request.timeout_us, self._expire, None)
        for device in self._lookout.order(state, request, self._agenda.now_us):
            self._dispatch(device)
            if request.id not in self._waiting:
                break

    def _dispatch(self, device: table.DeviceSlots[Replica]) -> None:
        now_us = self._agenda.now_us
        while self._waiting and (popped := pop_for(self._policy, device, now_us)) is not None:
            request, replica = popped
            del self._waiting[request.id]
            if replica is not None:
                self._run(request, replica)
            elif request.timeout_us <= now_us:
                self._expected.pop(request.id, None)
                self._book.end(int(request.id), Outcome.EXPIRED, Reason.TIMEOUT, now_us)
            else:
                self._drop(request, Reason.PREDICTED_MISS)
        if self._holds_back and self._waiting:
            due_us = self._policy.next_ready_us(now_us)
            if due_us is not None and not now_us < self._again_us <= due_us:
                self._again_us = due_us
                self._agenda.at(due_us, self._again, None)

    def _on_again(self, _: None) -> None:
        """The policy may give what it held back."""
        if self._agenda.now_us == self._again_us:
            for device in self._table.devices.values():
                self._dispatch(device)

    def _run(self, request: QueuedRequest, replica: Replica) -> None:
        index = int(request.id)
        now_us, book, device = self._agenda.now_us, self._book, replica.device.device
        flow = self._flows[request.flow]
        book.dispatch_us[index] = now_us
        book.device[index] = self._index[device.id]
        book.running += 1
        run = Run(request, index, replica, self._index[device.id], now_us, now_us)
        expectation = self._expected.pop(request.id, None)
        if expectation is not None:
            wait_us = self._lookout.arrangement.wait_us(expectation, request.flow)
            if wait_us is not None:
                run.expected_us, run.since_us = wait_us + request.predicted_exec_us, expectation.since_us
        self._table.occupy(replica, run)
        run.in_flight = replica.device.running
        self._frames.touch(request.flow)
        self._dispatched(index)
        self._execution.begin(run, flow.work_us(book.exec_us[index], device.product), flow.interference)

    def _ended(self, run: Run) -> None:
        now_us = self._agenda.now_us
        replica: Replica = run.place
        took_us = now_us - run.dispatched_us
        self._book.occupied_us[run.index] = took_us
        self._book.running -= 1
        self._policy.done(run.request, took_us)
        replica.served += 1
        self._table.vacate(replica, run, now_us)
        flow = replica.flow
        self.predictions.observe_exec(
            flow.function, flow.variant, replica.device.device.product, took_us, run.in_flight
        )
        flow.ran(run.request, now_us)
        if run.expected_us:
            percentile = run.request.percentile
            self.predictions.observe_finish(flow.function, percentile, run.expected_us, now_us - run.since_us)
        self._frames.touch(flow.key)
        self._dispatch(replica.device)
        if replica.state is ReplicaState.DRAINING:
            self._stop_if_drained(replica)

    def _on_ready(self, replica: Replica) -> None:
        if replica.state is not ReplicaState.STARTING:
            return  # drained or killed before
        now_us = self._agenda.now_us
        self._set_state(replica, ReplicaState.WARM)
        replica.ready_us = replica.idle_since_us = now_us
        if replica.charge is not None:
            replica.charge.warm(now_us)
        self.predictions.observe_start(replica.flow.function, replica.flow.variant, now_us - replica.started_us)
        for row in replica.rows:
            self._log.warm(row, now_us)
        self._dispatch(replica.device)

    def _set_state(self, replica: Replica, state: ReplicaState) -> None:
        check_transition(replica.state, state)
        replica.state = state
        replica.idle_since_us = None
        self._table.state_changed(replica)
        self._rearrange()
        self._frames.state(replica.flow.key)

    def _strand_if_dead(self, flow: table.FlowState[Replica]) -> None:
        """Give what queues in a flow without a live replica back to the gateway."""
        if flow.live() or not self._policy.queued(flow.key):
            return
        stranded = [request for request in self._waiting.values() if request.flow == flow.key]
        for request in stranded:
            self._policy.cancel(request.id)
            self._expected.pop(request.id, None)
            del self._waiting[request.id]
        for request in stranded:
            self._stranded(int(request.id))

    def _stop_if_drained(self, replica: Replica) -> None:
        if not replica.running and replica.state is ReplicaState.DRAINING:
            self._agenda.at(self._agenda.now_us + self._delays.stop_us, self._stopped, replica)

    def _on_stopped(self, replica: Replica) -> None:
        if replica.state is ReplicaState.DRAINING:
            self._remove(replica)

    def _remove(self, replica: Replica) -> None:
        check_transition(replica.state, ReplicaState.GONE)
        self._table.remove(replica)
        self._rearrange()
        self.reservations.release(replica.spec.id)
        if self._money is not None:
            self._money.release(replica.spec.id)
        for row in replica.rows:
            self._log.end(row, self._agenda.now_us)
        self._frames.state(replica.flow.key)
        self._gone(replica.spec.id)

    def _on_expiry(self, _: None) -> None:
        now_us = self._agenda.now_us
        if now_us < self._expiry_us:
            return
        for request in self._policy.drop_expired(now_us):
            self._frames.touch(request.flow)
            self._expected.pop(request.id, None)
            del self._waiting[request.id]
            self._book.end(int(request.id), Outcome.EXPIRED, Reason.TIMEOUT, now_us)
        due_us = self._policy.next_expiry_us()
        self._expiry_us = _NEVER if due_us is None else due_us
        if due_us is not None:
            self._agenda.at(due_us, self._expire, None)
