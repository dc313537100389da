from pathlib import Path

import pytest
from queueing_policies import take

from stoker.errors import UnknownName
from stoker.policies.queueing.registry import DEFAULT_QUEUEING, POLICIES, exchange, make_queueing
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_made_by_its_name_and_carries_it(name: str) -> None:
    assert make_queueing(name).name == name
    assert POLICIES[name]().name == name


def test_each_call_makes_a_fresh_policy() -> None:
    assert make_queueing("fcfs") is not make_queueing("fcfs")


def test_the_default_exists() -> None:
    assert DEFAULT_QUEUEING == "least-slack"
    assert DEFAULT_QUEUEING in POLICIES


def test_an_unknown_name_is_refused_in_one_sentence_that_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownName, match=f"no queueing policy is named 'lifo'; choose one of {', '.join(sorted(POLICIES))}"
    ):
        make_queueing("lifo")


@pytest.mark.parametrize("old_name", POLICIES)
@pytest.mark.parametrize("new_name", POLICIES)
def test_exchange_moves_everything_late_and_on_time(old_name: str, new_name: str) -> None:
    old = make_queueing(old_name)
    late = make_request(objective_us=5, predicted_exec_us=5)
    running = make_request(arrival_us=-1, objective_us=10**6)
    requests = [late, *(make_request(arrival_us=arrival) for arrival in (3, 1, 2))]
    for request in (running, *requests):
        old.push(request)
    assert old.cancel(running.id) is running
    assert old.pop(make_slot(), 100) is None
    new = exchange(old, new_name)
    assert (new.name, old.queued(), new.queued()) == (new_name, 0, 4)
    new.done(running, 5)
    slot = make_slot("default/f")
    holds_back = new_name == "lazy-slack"
    popped = [new.pop(slot, 100)] if holds_back else []
    popped += [take(new, slot, 100) for _ in requests[len(popped) :]]
    assert popped[0 if holds_back else -1] is late
    assert {request.id for request in popped if request} == {request.id for request in requests}


def test_a_failed_exchange_leaves_the_old_policy_as_it_is() -> None:
    old = make_queueing("edf")
    old.push(make_request())
    with pytest.raises(UnknownName):
        exchange(old, "lifo")
    assert old.queued() == 1


def test_the_reference_page_says_of_every_policy_what_it_declares() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "gpupolicy.md").read_text()
    for name, make in POLICIES.items():
        guarantees = make().guarantees
        flags = (guarantees.starvation_free, guarantees.work_conserving, guarantees.weight_respecting)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.endswith(f"| {' | '.join('yes' if flag else 'no' for flag in flags)} |")
