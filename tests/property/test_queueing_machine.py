"""Random interleavings of everything that a shell does to a queueing policy, against a plain list.

The order is held against what is promised where it is fixed; the others' is the business of test_queueing_models.
"""

from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from settings_of_tests import examples

from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy, SlotView
from stoker.policies.queueing.registry import POLICIES, exchange, make_queueing
from stoker.testing.queueing_orders import ORDERS
from stoker.testing.strategies import FLOWS, requests

pytestmark = pytest.mark.property


class QueueingMachine(RuleBasedStateMachine):
    """`held` is the model: what is queued, in the order of push."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = 0
        self.held: list[QueuedRequest] = []
        self.running: list[QueuedRequest] = []
        self.left: list[str] = []
        self.ids = count(1000)
        """Of one length, since late requests of one arrival go by id."""

    @initialize(name=st.sampled_from(sorted(POLICIES)), wrapped=st.booleans())
    def start(self, name: str, *, wrapped: bool) -> None:
        self.wrapped = wrapped
        self.policy: QueuePolicy = make_queueing(name) if wrapped else POLICIES[name]()

    def is_fixed(self, slot: SlotView | None = None) -> bool:
        """Whether the order of what is held is known here, on the slot or where everything is resident."""
        return self.policy.name in ORDERS and (self.policy.name != "sjf" or slot is None or slot.warm is None)

    def is_late(self, request: QueuedRequest) -> bool:
        return self.wrapped and request.latest_start_us < self.now_us

    def order(self, request: QueuedRequest) -> tuple[int, tuple[int, ...], int, str]:
        """Where the policy's promise puts a request now."""
        if self.is_late(request):
            return (1, (request.arrival_us,), 0, request.id)
        return (0, ORDERS[self.policy.name](request), self.held.index(request), "")

    @rule(data=st.data(), steps=st.integers(1, 4))
    def push(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            request = data.draw(requests(arrival_us=self.now_us))
            request.id = f"r{next(self.ids)}"
            self.policy.push(request)
            self.held.append(request)

    @rule(us=st.integers(1, 8))
    def wait(self, us: int) -> None:
        self.now_us += us

    @rule(eligible=st.sets(st.sampled_from(FLOWS)), warm=st.none() | st.sets(st.sampled_from(FLOWS)))
    def pop(self, eligible: set[str], warm: set[str] | None) -> None:
        slot = SlotView("sim-0", eligible, None if warm is None else warm & eligible)
        candidates = [request for request in self.held if request.flow in eligible]
        got = self.policy.pop(slot, self.now_us)
        if self.is_fixed(slot):
            assert got is min(candidates, key=self.order, default=None)
        elif got is None:
            assert not candidates or not self.policy.guarantees.work_conserving
        else:
            assert got in candidates
            on_time = [request for request in candidates if not self.is_late(request)]
            held_back = self.policy.next_ready_us(self.now_us) is not None
            assert got in on_time or not on_time or held_back
        if got is None:
            # A shell that waits for an event or for that instant misses nothing.
            ready_us = self.policy.next_ready_us(self.now_us)
            assert not candidates or (ready_us is not None and ready_us > self.now_us)
            return
        self.leave(got)
        self.running.append(got)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), again=st.booleans())
    def end(self, data: st.DataObject, *, again: bool) -> None:
        request = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if again:
            self.policy.push(request)
            self.held.append(request)
            self.left.remove(request.id)
        else:
            self.policy.done(request, 5)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.held))
        assert self.policy.cancel(request.id) is request
        self.leave(request)

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def cancel_what_left(self, data: st.DataObject) -> None:
        assert self.policy.cancel(data.draw(st.sampled_from(self.left))) is None

    @rule()
    def drop_expired(self) -> None:
        dropped = self.policy.drop_expired(self.now_us)
        want = [request.id for request in self.held if request.timeout_us <= self.now_us]
        assert sorted(request.id for request in dropped) == sorted(want)
        for request in dropped:
            self.leave(request)

    @precondition(lambda self: self.held)
    @rule()
    def turn_away_as_missed(self) -> None:
        request = self.held[0]
        assert self.policy.cancel(request.id) is request
        self.policy.missed(request)
        self.leave(request)

    @rule(name=st.sampled_from(sorted(POLICIES)))
    def exchange(self, name: str) -> None:
        old = self.policy
        self.policy = exchange(old, name)
        self.wrapped = True
        assert old.queued() == 0
        # Ties of arrival are pushed in the order of the export, which is the policy's own.
        position = {request.id: at for at, request in enumerate(self.policy.export())}
        self.held.sort(key=lambda request: position[request.id])
        for request in self.held:
            self.policy.push(request)

    @rule(request=requests(), flows=st.sets(st.sampled_from(FLOWS)))
    def ask_for_the_work_ahead(self, request: QueuedRequest, flows: set[str]) -> None:
        request.arrival_us = self.now_us
        if not self.is_fixed():
            queued_us = sum(r.predicted_exec_us for r in self.held if r.flow in flows)
            assert 0 <= self.policy.work_ahead_us(request, flows) <= queued_us
            return
        self.held.append(request)
        mine = self.order(request)
        self.held.pop()
        want = sum(r.predicted_exec_us for r in self.held if r.flow in flows and self.order(r) < mine)
        # Equal arrivals of late requests go by id, and a newcomer's id says nothing: then either side is right.
        ties = sum(
            r.predicted_exec_us for r in self.held if r.flow in flows and self.order(r)[:2] == mine[:2] and mine[0]
        )
        assert want - ties <= self.policy.work_ahead_us(request, flows) <= want + ties

    @rule()
    def ask_for_the_schedule(self) -> None:
        names = [request.id for request in self.policy.schedule(self.now_us)]
        assert sorted(names) == sorted(request.id for request in self.held)
        on_time = [request.id for request in self.held if not self.is_late(request)]
        assert set(names[: len(on_time)]) == set(on_time)

    @invariant()
    def what_is_queued_is_what_was_pushed_and_has_not_left(self) -> None:
        if not hasattr(self, "policy"):
            return
        assert self.policy.queued() == len(self.held)
        for flow in FLOWS:
            assert self.policy.queued(flow) == sum(request.flow == flow for request in self.held)
        assert self.policy.next_expiry_us() == min((request.timeout_us for request in self.held), default=None)
        if self.is_fixed():
            assert list(self.policy.schedule(self.now_us)) == sorted(self.held, key=self.order)

    def leave(self, request: QueuedRequest) -> None:
        self.held.remove(request)
        self.left.append(request.id)

    def teardown(self) -> None:
        if hasattr(self, "policy"):
            exported = self.policy.export()
            assert sorted(request.id for request in exported) == sorted(request.id for request in self.held)
            assert [r.arrival_us for r in exported] == sorted(r.arrival_us for r in exported)


QueueingMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
TestNothingIsLostOrDuplicatedAndTheOrderHolds = pytest.mark.property(QueueingMachine.TestCase)
