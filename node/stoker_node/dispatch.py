"""The queue of the agent: one policy object over the slots of all devices, and the life of each call in it.

A device never idles while the policy would give it a queued request: every push and every end of a run offers the
devices concerned, and only those; where a policy holds requests back, a timer offers all devices when the next one
becomes due. How the work is done (the hop to the replica) is handed in.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from stoker import metrics as m
from stoker.decider import Decider
from stoker.model.replica import ReplicaState
from stoker.policies.queueing.interface import QueuePolicy, Weights
from stoker.prediction import Predictions
from stoker.reasons import Reason
from stoker.slots.forecast import Lookout
from stoker.slots.offering import pop_for
from stoker.slots.verdict import bind
from stoker.wire.agent import refuse
from stoker_node.call import Call, Phase
from stoker_node.changes import Changes
from stoker_node.replica_table import DeviceSlots, FlowState, Replica, ReplicaTable

_EARLY_US = 2_000
"""Timers may come so much early."""

Forward = Callable[[Call, Replica], Coroutine[Any, Any, None]]


class Dispatcher:
    """Queued and running calls."""

    def __init__(
        self,
        *,
        table: ReplicaTable,
        predictions: Predictions,
        lookout: Lookout,
        changes: Changes,
        sink: m.MetricsSink,
        clock_us: Callable[[], int],
        queueing: str,
        cut_grace_s: float,
        decider: Decider,
    ) -> None:
        self._decider = decider
        self.policy: QueuePolicy = decider.make_queueing(queueing)
        self.active: set[Call] = set()
        """All calls that have not ended, those that still receive their body included."""
        self._table = table
        self._predictions = predictions
        self._lookout = lookout
        self._changes = changes
        self._sink = sink
        self._clock_us = clock_us
        self._cut_grace_s = cut_grace_s
        self._queued: dict[str, Call] = {}
        self._weights = Weights()
        self._forward: Forward | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._same_id = 0
        self._holds_back = not self.policy.guarantees.work_conserving
        self._ready_us: int | None = None
        self._ready_timer: asyncio.TimerHandle | None = None

    def forward_by(self, forward: Forward) -> None:
        """How a dispatched call is run: a coroutine that calls ended() or requeue() exactly once."""
        self._forward = forward

    # What the connection of a call tells.

    def open(self, call: Call) -> None:
        """The call was admitted. From here on it ends by its timeout at the latest, or runs."""
        self.active.add(call)
        request = call.request
        due_us = request.timeout_us if request.late_ok else min(request.timeout_us, request.latest_start_us + 1)
        self._expect_end(call, due_us)

    def submit(self, call: Call) -> None:
        """Enough of its body is here: queue it, and run it at once where a slot is free."""
        waited = call.promised
        self._unpromise(call)
        if not call.flow.live():
            # Its last replica went while the body was coming.
            self._refuse(call, Reason.NO_REPLICA, "its last replica went before the request was dispatched")
            return
        request = call.request
        if request.id in self._queued or not request.id:
            # Two gateways may try the same request here (or one a second time): each is a request of its own.
            self._same_id += 1
            request.id = f"{request.id}#{self._same_id}"
        if waited:
            self._judge_again(call)
        self._push(call)

    def promise(self, call: Call) -> None:
        """Its body is still coming: count its work as ahead of those that ask later."""
        if not call.promised:
            call.promised = True
            call.flow.promised_us += call.request.predicted_exec_us

    def gone(self, call: Call) -> None:
        """Nobody waits for the answer any more."""
        call.connection = None
        if call.phase is Phase.RECEIVING:
            self._end(call)
        elif call.phase is Phase.QUEUED:
            self.policy.cancel(call.request.id)
            del self._queued[call.request.id]
            self._end(call)
        elif call.phase is Phase.RUNNING and (call.function.spec.cancel_on_disconnect or not call.body_complete):
            # Without the rest of its body the replica could not end it either.
            call.close_hop(Reason.CLIENT_GONE, "the client left")

    # What the hop to the replica tells.

    def ended(self, call: Call, *, profile: bool) -> None:
        """The replica has really ended: the slot is free. `profile` says whether the run tells of later ones."""
        replica, now_us = call.replica, self._clock_us()
        assert replica is not None, "only a dispatched call ends"
        actual_us = now_us - call.dispatched_us
        self.policy.done(call.request, actual_us)
        replica.served += 1
        self._vacate(replica, call, now_us)
        self._end(call)
        flow = call.flow
        # What ended together with its replica tells nothing, and its function may be forgotten already.
        if profile and call.profiled and replica.state is not ReplicaState.GONE:
            product = replica.device.device.product
            self._predictions.observe_exec(flow.function, flow.variant, product, actual_us, call.in_flight)
            flow.ran(call.request, now_us)
            if call.expected_us is not None:
                took_us = actual_us if call.expectation is None else now_us - call.expectation.since_us
                percentile = call.request.percentile
                covered = self._predictions.observe_finish(flow.function, percentile, call.expected_us, took_us)
                self._sink.inc(m.FINISHES, *flow.labels, "true" if covered else "false")
        if call.request.promise_us and now_us > call.request.objective_us:
            self._sink.inc(m.BROKEN_PROMISES, *flow.labels, "late")
        self._sink.observe(m.EXEC_SECONDS, actual_us / 1e6, *flow.labels)
        self._dispatch(replica.device, now_us)

    def requeue(self, call: Call) -> None:
        """The dispatch failed before anything was sent: queue it again, with its arrival of before."""
        replica = call.replica
        assert replica is not None, "only a dispatched call is queued again"
        call.requeues += 1
        call.task = call.replica = None
        self.policy.done(call.request, 0)
        now_us = self._clock_us()
        self._vacate(replica, call, now_us)
        if call.flow.live():
            self._push(call)
        else:
            self._refuse(call, Reason.NO_REPLICA, "its last replica went before the request was dispatched")
        self._dispatch(replica.device, now_us)

    # What the agent tells.

    def offer(self, devices: Iterable[DeviceSlots]) -> None:
        """Replicas on these devices may take more than before."""
        now_us = self._clock_us()
        for device in devices:
            self._dispatch(device, now_us)

    def strand(self, flow: FlowState) -> None:
        """Answer what queues in a flow that has no live replica left: gateways hold it again."""
        for call in [call for call in self._queued.values() if call.flow is flow]:
            self.policy.cancel(call.request.id)
            del self._queued[call.request.id]
            self._refuse(call, Reason.NO_REPLICA, "its last replica went before the request was dispatched")

    def shed(self, request_ids: Iterable[str]) -> None:
        """These queued requests give way to one of higher priority."""
        for request_id in request_ids:
            call = self._queued.pop(request_id)
            self.policy.cancel(request_id)
            self._break(call, "shed", Reason.SHED, "it gave way to a request of higher priority")

    def rearrange(self) -> None:
        """Replicas came or went, or take another number of requests at once: flows may have other slots."""
        if self._lookout.arrangement.renew(self._table.flows.values()):
            self.policy.arrange(self._lookout.arrangement.lanes)

    def set_queueing(self, name: str) -> None:
        """Exchange the policy; what is queued stays queued. UnknownName changes nothing."""
        self.policy = self._decider.exchange(self.policy, name)
        self._holds_back = not self.policy.guarantees.work_conserving
        self.policy.set_weights(self._weights)
        self.policy.arrange(self._lookout.arrangement.lanes)
        self.offer(self._table.devices.values())

    def set_weights(self, weights: Weights) -> None:
        self._weights = weights
        self.policy.set_weights(weights)
        self._lookout.contention.set_weights(weights)

    async def wait_idle(self) -> None:
        """Until every call has ended."""
        while self.active:
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter

    async def abort(self) -> None:
        """End everything now: what is not dispatched is refused, what runs is cut."""
        for call in tuple(self.active):
            if call.phase is Phase.RUNNING:
                call.close_hop(Reason.REPLICA_FAILED, "the agent stopped before the request had ended")
            else:
                if self._queued.pop(call.request.id, None) is call:
                    self.policy.cancel(call.request.id)
                self._refuse(call, Reason.DRAINING, "the agent stopped before the request was dispatched")
        if self._ready_timer is not None:
            self._ready_timer.cancel()
        tasks = [call.task for call in self.active if call.task is not None]
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=1)
            for task in stuck:
                task.cancel()
            if stuck:
                await asyncio.wait(stuck)

    # Inside.

    def _judge_again(self, call: Call) -> None:
        """Others were taken while its body was coming, and nothing is promised before that is here: promise what can be
        kept now. Else it runs behind all promises, since it was taken.
        """
        request, flow, in_flight = call.request, call.flow, call.flow.in_flight()
        now_us = self._clock_us()
        request.predicted_exec_us = self._predictions.exec_us(call.function, flow.variant, flow.product, in_flight).us
        sight = self._lookout.sight(
            request, flow, call.function, policy=self.policy, takes_late=True, now_us=now_us, again=True
        )
        verdict = self._decider.judge(
            call.function, request, sight, product=flow.product, in_flight=in_flight, policy=self.policy, accepting=True
        )
        bind(request, verdict)
        call.estimated = verdict.estimated
        self.shed(verdict.shed)

    def _push(self, call: Call) -> None:
        call.phase = Phase.QUEUED
        self._queued[call.request.id] = call
        self.policy.push(call.request)
        flow, now_us = call.flow, self._clock_us()
        self._changes.touch(flow)
        if len(flow.devices) == 1:
            self._dispatch(flow.devices[0], now_us)
        elif flow.devices:
            # The best device first; nothing is left for the others once it is taken.
            for device in self._lookout.order(flow, call.request, now_us):
                self._dispatch(device, now_us)
                if call.phase is not Phase.QUEUED:
                    break
        if call.expectation is None and call.replica is None:
            call.expectation = self._lookout.arrangement.expect(flow.key, now_us)
        elif call.expectation is None:
            call.expected_us = call.request.predicted_exec_us  # It did not have to wait.

    def _dispatch(self, device: DeviceSlots, now_us: int) -> None:
        while self._queued and (popped := pop_for(self.policy, device, now_us)) is not None:
            request, replica = popped
            call = self._queued.pop(request.id)
            if replica is not None:
                self._run(call, replica, now_us)
            elif request.timeout_us <= now_us:
                self._expire(call)
            else:
                self._drop(call)
        if self._holds_back and self._queued:
            self._expect_ready(now_us)

    def _expect_ready(self, now_us: int) -> None:
        """Offer all devices again when the policy may give what it holds back now."""
        due_us = self.policy.next_ready_us(now_us)
        if due_us is None or (self._ready_us is not None and now_us < self._ready_us <= due_us):
            return
        if self._ready_timer is not None:
            self._ready_timer.cancel()
        self._ready_us = due_us
        self._ready_timer = asyncio.get_running_loop().call_later(max(0, due_us - now_us) / 1e6, self._on_ready)

    def _on_ready(self) -> None:
        self._ready_us = self._ready_timer = None
        self.offer(self._table.devices.values())

    def _vacate(self, replica: Replica, call: Call, now_us: int) -> None:
        self._table.vacate(replica, call, now_us)
        if not replica.running:
            replica.tell_drained()

    def _run(self, call: Call, replica: Replica, now_us: int) -> None:
        assert self._forward is not None
        assert call.connection is not None, "a call whose gateway left is not queued any more"
        call.phase = Phase.RUNNING
        call.replica = replica
        call.dispatched_us = now_us
        flow = call.flow
        if call.expectation is not None:
            wait_us = self._lookout.arrangement.wait_us(call.expectation, flow.key)
            call.expected_us = None if wait_us is None else wait_us + call.request.predicted_exec_us
        self._table.occupy(replica, call)
        call.in_flight = replica.device.running
        self._changes.touch(flow)
        self._sink.observe(m.QUEUE_SECONDS, (now_us - call.request.arrival_us) / 1e6, flow.namespace, flow.name)
        call.task = asyncio.get_running_loop().create_task(self._forward(call, replica))

    def _expect_end(self, call: Call, due_us: int) -> None:
        delay_s = max(0, due_us - self._clock_us()) / 1e6
        call.timer = asyncio.get_running_loop().call_later(delay_s, self._due, call)

    def _due(self, call: Call) -> None:
        """Its timeout has passed, or before that the last instant at which a start could still be on time."""
        # Timers may come a little early.
        request, now_us = call.request, self._clock_us() + _EARLY_US
        if request.timeout_us <= now_us:
            self._timed_out(call)
        elif call.phase is Phase.QUEUED and not request.late_ok:
            self.policy.cancel(request.id)
            del self._queued[request.id]
            self._drop(call)
        else:
            self._expect_end(call, request.timeout_us)

    def _timed_out(self, call: Call) -> None:
        if call.phase is Phase.QUEUED:
            for request in self.policy.drop_expired(max(self._clock_us(), call.request.timeout_us)):
                self._expire(self._queued.pop(request.id))
        elif call.phase is Phase.RECEIVING:
            self._expire(call)
        elif call.phase is Phase.RUNNING and not call.timed_out:
            self._overran(call)

    def _overran(self, call: Call) -> None:
        """Its timeout passed while it ran: the answer is given up, the slot is not."""
        call.timed_out = True
        assert call.replica is not None
        call.replica.overdue.add(call)
        self._changes.touch(call.flow)
        connection = call.connection
        if connection is not None and call.head_sent:
            call.timer = asyncio.get_running_loop().call_later(self._cut_grace_s, _cut, call)
        elif connection is not None:
            call.connection = None
            detail = "its timeout passed while it ran"
            connection.refuse(call, refuse(Reason.TIMEOUT, detail, connection.request_id), dispatched=call.acknowledged)
        if call.function.spec.cancel_on_disconnect or not call.body_complete:
            call.close_hop(Reason.TIMEOUT, "its timeout passed while it ran")

    def _expire(self, call: Call) -> None:
        self._refuse(call, Reason.TIMEOUT, "its timeout passed before it was dispatched")

    def _drop(self, call: Call) -> None:
        self._break(call, "dropped", Reason.PREDICTED_MISS, "it can no longer be on time and may not be served late")

    def _break(self, call: Call, how: str, reason: Reason, detail: str) -> None:
        """Refuse a request that had been taken."""
        if call.request.promise_us:
            self._sink.inc(m.BROKEN_PROMISES, *call.flow.labels, how)
        self._refuse(call, reason, detail)

    def _refuse(self, call: Call, reason: Reason, detail: str) -> None:
        """End a call that holds no slot by an answer of the agent's own."""
        connection = call.connection
        call.connection = None
        self._end(call)
        if connection is not None:
            connection.refuse(call, refuse(reason, detail, connection.request_id), dispatched=False)

    def _unpromise(self, call: Call) -> None:
        if call.promised:
            call.promised = False
            call.flow.promised_us -= call.request.predicted_exec_us

    def _end(self, call: Call) -> None:
        call.phase = Phase.ENDED
        self._unpromise(call)
        self.active.discard(call)
        if call.timer is not None:
            call.timer.cancel()
            call.timer = None
        call.body.clear()
        call.task = None
        flow = call.flow
        self._changes.touch(flow)
        if not flow.replicas:
            self._table.forget_flow(flow)
        if not self.active and self._idle:
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()


def _cut(call: Call) -> None:
    if call.connection is not None:
        call.connection.abort()
