from pathlib import Path

import pytest

from stoker.errors import UnknownName
from stoker.policies.queueing.flow_queues import FlowQueues
from stoker.policies.queueing.interface import QueueParams
from stoker.policies.queueing.lazy_slack import LazySlack
from stoker.policies.queueing.mqfq import Mqfq
from stoker.policies.queueing.paella_srpt import PaellaSrpt
from stoker.policies.queueing.registry import POLICIES, make_queueing
from stoker.policies.queueing.tuning import BadTuning, Constants
from stoker.replay.picture import picture, restored
from stoker.testing.builders import MS, make_request, make_slot

pytestmark = pytest.mark.unit


def constants_of(name: str) -> Constants:
    policy = POLICIES[name]()
    assert isinstance(policy, FlowQueues)
    return policy.constants


TUNABLE = tuple(name for name in POLICIES if constants_of(name))


def test_a_constant_that_a_policy_does_not_have_is_refused_with_those_it_has() -> None:
    with pytest.raises(UnknownName, match="Mqfq has no constant named 'T'; choose one of overrunPercent, overrunUs"):
        make_queueing("mqfq", QueueParams(tuning={"T": 5}))
    with pytest.raises(UnknownName, match="Fcfs has no constant named 'T'; it has none"):
        make_queueing("fcfs", QueueParams(tuning={"T": 5}))


@pytest.mark.parametrize("name", TUNABLE)
def test_a_constant_takes_the_values_of_its_range_and_no_others(name: str) -> None:
    for constant, its in constants_of(name).items():
        for value in (its.least, its.default, its.most):
            make_queueing(name, QueueParams(tuning={constant: value}))
        for value in (its.least - 1, its.most + 1):
            with pytest.raises(BadTuning, match=f"{constant} of .* cannot be {value}; give {its.least} to {its.most}"):
                make_queueing(name, QueueParams(tuning={constant: value}))


def test_the_overrun_of_mqfq_follows_its_share_of_the_tightest_objective_up_to_the_largest() -> None:
    request = make_request(objective_us=100 * MS)
    for tuning, overrun_us in (
        ({}, 50 * MS),
        ({"overrunPercent": 300}, 300 * MS),
        ({"overrunPercent": 300, "overrunUs": 7}, 7),
    ):
        policy = Mqfq(QueueParams(tuning=tuning))
        policy.push(request)
        assert policy.overrun_us == overrun_us


def test_a_lower_threshold_of_paella_serves_a_neglected_function_earlier() -> None:
    def first_long(threshold: int) -> int:
        policy = PaellaSrpt(QueueParams(tuning={"threshold": threshold}))
        policy.push(make_request(flow="default/long", predicted_exec_us=100 * MS))
        for turn in range(100):
            policy.push(make_request(flow="default/short", predicted_exec_us=MS))
            popped = policy.pop(make_slot("default/long", "default/short"), turn)
            assert popped is not None
            if popped.flow == "default/long":
                return turn
        raise AssertionError("it was never served")

    assert first_long(2) < first_long(25)


def test_the_margin_of_lazy_slack_says_how_early_a_request_becomes_due() -> None:
    due_us = []
    for percent in (100, 200):
        policy = LazySlack(QueueParams(tuning={"marginPercent": percent, "dueUs": 0}))
        policy.push(make_request(objective_us=1000 * MS, predicted_exec_us=100 * MS))
        due_us.append(policy.next_ready_us(0))
    assert due_us == [900 * MS, 800 * MS]


def test_a_tuned_policy_is_the_same_after_a_picture_of_it() -> None:
    policy = make_queueing("mqfq", QueueParams(tuning={"overrunPercent": 300}))
    twin = restored(picture(policy))
    for each in (policy, twin):
        each.push(make_request(objective_us=100 * MS, id="a"))
    assert picture(twin) == picture(policy)


def test_the_reference_page_names_every_constant_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "simulation.md").read_text()
    for name in TUNABLE:
        said = ", ".join(f"`{constant}` ({its.default})" for constant, its in constants_of(name).items())
        assert f"| `{name}` | {said} |" in page
