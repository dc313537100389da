"""What an agent takes, what it promises, and who gives way (stoker.slots.verdict)."""

from typing import Any

import pytest

from stoker.model.function import Priority
from stoker.model.request import QueuedRequest
from stoker.policies.queueing.interface import QueuePolicy
from stoker.policies.queueing.lanes import Lane, Room
from stoker.policies.queueing.registry import make_queueing
from stoker.reasons import Reason
from stoker.slots.forecast import Rule, Sight
from stoker.slots.verdict import Verdict, bind, judge
from stoker.testing.builders import make_request

pytestmark = pytest.mark.unit

LANE = Lane("g0", ("g0",), 1)
FLOWS = ("default/f", "default/g")


class Agent:
    """A policy, and one slot that is busy for a while."""

    def __init__(self, queueing: str = "least-slack") -> None:
        self.policy: QueuePolicy = make_queueing(queueing)
        self.policy.arrange(dict.fromkeys(FLOWS, LANE))
        self.busy_us = 10
        self.queued: dict[str, QueuedRequest] = {}

    def sight(self, **changed: Any) -> Sight:
        found: dict[str, object] = {"rooms": ((LANE, Room(1, (self.busy_us,))),)}
        return Sight(**found | changed)  # type: ignore[arg-type]

    def ask(
        self,
        name: str,
        *,
        exec_us: int = 10,
        objective_us: int = 100,
        priority: Priority = Priority.STANDARD,
        flow: str = FLOWS[0],
        **changed: Any,
    ) -> Verdict:
        request = make_request(
            name, flow=flow, arrival_us=0, objective_us=objective_us, timeout_us=10_000, predicted_exec_us=exec_us
        )
        request.priority = priority
        verdict = judge(request, self.sight(**changed), policy=self.policy, accepting=True)
        if verdict.refusal is None:
            bind(request, verdict)
            for shed in verdict.shed:
                assert self.policy.cancel(shed) is not None
            self.policy.push(request)
            self.queued[name] = request
        return verdict


def reason(verdict: Verdict) -> Reason | None:
    return None if verdict.refusal is None else Reason(verdict.refusal.reason)


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_what_fits_is_taken_with_a_promise(agent: Agent) -> None:
    verdict = agent.ask("a")
    assert (verdict.finish_us, verdict.promise_us, verdict.estimated) == (20, 90, False)
    assert agent.queued["a"].promise_us == 90


def test_what_would_be_late_behind_what_waits_is_refused_with_its_end(agent: Agent) -> None:
    for number in range(9):
        assert agent.ask(f"a{number}").refusal is None
    refused = agent.ask("late")
    assert reason(refused) is Reason.PREDICTED_MISS
    assert refused.refusal is not None
    assert (refused.refusal.predicted_finish_ms, refused.refusal.estimated) == (1, False)
    assert refused.finish_us == 110


def test_what_would_be_on_time_itself_is_refused_if_it_broke_a_promise(agent: Agent) -> None:
    assert agent.ask("first", exec_us=30, objective_us=45).refusal is None
    refused = agent.ask("tighter", exec_us=10, objective_us=24)
    assert reason(refused) is Reason.PREDICTED_MISS
    assert refused.refusal is not None
    assert "promised" in refused.refusal.detail
    assert agent.ask("looser", exec_us=10, objective_us=60).refusal is None


def test_the_margin_is_part_of_the_promise(agent: Agent) -> None:
    assert agent.ask("a", objective_us=29, margin_ppm=500_000).refusal is not None
    taken = agent.ask("b", objective_us=30, margin_ppm=500_000)
    assert taken.promise_us == 30 - 10 - 10, "half of a finish at 20"


def test_one_of_higher_priority_pushes_out_the_least_and_no_more_than_it_needs(agent: Agent) -> None:
    for number in range(3):
        agent.ask(f"batch{number}", exec_us=20, objective_us=100, priority=Priority.BATCH)
    agent.ask("standard", exec_us=20, objective_us=100)
    assert agent.ask("another", exec_us=20, objective_us=100, priority=Priority.BATCH).refusal is not None
    agent.ask("behind", exec_us=5, objective_us=1_000, priority=Priority.BATCH)
    taken = agent.ask("critical", exec_us=20, objective_us=40, priority=Priority.CRITICAL)
    assert taken.shed == ("batch2",), "the last of the least that stands in the way, and only it"
    assert agent.policy.queued() == 5


def test_no_one_gives_way_to_its_own_priority(agent: Agent) -> None:
    agent.ask("first", exec_us=80, objective_us=100)
    refused = agent.ask("second", exec_us=80, objective_us=100)
    assert (reason(refused), refused.shed) == (Reason.PREDICTED_MISS, ())
    assert agent.policy.queued() == 1


def test_nothing_is_shed_for_what_does_not_fit_whatever_is_shed(agent: Agent) -> None:
    agent.ask("batch", exec_us=20, objective_us=100, priority=Priority.BATCH)
    assert agent.ask("critical", exec_us=50, objective_us=55, priority=Priority.CRITICAL).refusal is not None
    assert agent.policy.commitments is not None
    assert agent.policy.commitments.ahead_us(FLOWS[0], ((10_000,), 9)) == 20, "it is where it was"


def test_a_function_has_its_share_of_the_queue_while_there_is_contention(agent: Agent) -> None:
    assert agent.ask("a", limit_us=15).refusal is None
    refused = agent.ask("b", limit_us=15)
    assert reason(refused) is Reason.OVER_SHARE
    assert agent.ask("b", limit_us=20).refusal is None
    assert reason(agent.ask("c", flow=FLOWS[1], limit_us=0)) is Reason.OVER_SHARE


def test_a_late_one_is_taken_behind_all_promises_where_the_gateway_says_so(agent: Agent) -> None:
    for number in range(9):
        agent.ask(f"a{number}")
    verdict = agent.ask("late", takes_late=True)
    assert (verdict.refusal, verdict.promise_us, verdict.behind) == (None, 0, True)
    assert agent.policy.schedule(0)
    assert list(agent.policy.schedule(0))[-1].id == "late"


def test_an_idle_slot_tries_what_nothing_is_known_to_serve(agent: Agent) -> None:
    verdict = agent.ask("a", exec_us=500, free=True, rooms=(), explores=True)
    assert (verdict.refusal, verdict.explores, verdict.promise_us) == (None, True, 0)
    assert agent.ask("b", exec_us=500, free=True, rooms=(), explores=False).refusal is not None


def test_observe_takes_everything_and_says_what_it_would_have_done(agent: Agent) -> None:
    verdict = agent.ask("a", exec_us=500, observes=True)
    assert (verdict.refusal, verdict.unheeded, verdict.promise_us) == (None, Reason.PREDICTED_MISS, 0)
    assert agent.ask("b", observes=True).promise_us == 0


def test_a_policy_without_a_fixed_order_estimates_and_says_so() -> None:
    agent = Agent("mqfq-sticky")
    assert agent.policy.commitments is None
    sight: dict[str, Any] = {"rooms": (), "servers": 1, "remaining_us": (10,), "flows": frozenset(FLOWS)}
    assert agent.ask("a", **sight).estimated
    refused = agent.ask("b", objective_us=15, **sight)
    assert refused.refusal is not None
    assert refused.refusal.estimated


def test_the_utilisation_threshold_looks_at_work_only() -> None:
    agent = Agent("batch")
    sight: dict[str, Any] = {
        "rule": Rule.UTILISATION,
        "rooms": (),
        "servers": 1,
        "remaining_us": (10,),
        "flows": frozenset(FLOWS),
    }
    # 80 % of 100 us: 10 that run, and seven times 10.
    taken = [agent.ask(f"a{number}", **sight).refusal is None for number in range(9)]
    assert taken == [True] * 7 + [False] * 2


def test_nobody_asked_means_nothing_promised(agent: Agent) -> None:
    request = make_request("a", arrival_us=0, objective_us=1, predicted_exec_us=100)
    assert judge(request, None, policy=agent.policy, accepting=True) == Verdict()
    assert reason(judge(request, None, policy=agent.policy, accepting=False)) is Reason.DRAINING


def test_a_function_over_its_share_of_the_slots_gets_a_free_one_only(agent: Agent) -> None:
    assert reason(agent.ask("a", limit_us=0)) is Reason.OVER_SHARE
    assert agent.ask("b", limit_us=0, free=True, rooms=()).refusal is None


def test_a_miss_by_the_margin_alone_says_so_beside_a_prediction_within_the_objective(agent: Agent) -> None:
    refused = agent.ask("a", exec_us=60, objective_us=100, margin_ppm=900_000).refusal
    assert refused is not None
    assert refused.detail == "with the margin for its percentile it would end 1 ms after its objective"
    late = agent.ask("b", exec_us=95, objective_us=100, margin_ppm=900_000).refusal
    assert late is not None
    assert late.detail == "it would end 1 ms after its objective"


def test_a_refusal_by_utilisation_speaks_of_utilisation(agent: Agent) -> None:
    refused = agent.ask("a", exec_us=90, rule=Rule.UTILISATION, servers=1, remaining_us=(80,)).refusal
    assert refused is not None
    assert "more than 80 % of what they can by its objective" in refused.detail


def test_a_promise_leaves_room_for_the_margin_of_the_longest_time_that_the_request_may_take() -> None:
    agent = Agent()
    verdict = agent.ask("a", exec_us=10, objective_us=120, margin_ppm=200_000)
    assert verdict.finish_us == 20, "another one runs for 10"
    # At 90 it ends at 100, and a fifth of that is the margin: not at 106, though that would do for the 20 of now.
    assert verdict.promise_us == 90
