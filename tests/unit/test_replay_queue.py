"""What an agent asks its queueing policy, its predictions and its admission, recorded and asked again."""

import pytest
from event_logs import Files, ScriptedAgent, recording, replayed

from stoker.decider import Decider
from stoker.policies.queueing.registry import POLICIES
from stoker.replay.recorded_queue import CHECK_UP_TO
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.unit

STEPS = 60


@pytest.mark.parametrize("name", POLICIES)
def test_a_recorded_agent_decides_what_a_plain_one_does_and_all_of_it_replays(name: str) -> None:
    files = Files()
    recorder = recording(files)
    recorded, plain = ScriptedAgent(recorder, name), ScriptedAgent(Decider(), name)
    recorded.run(STEPS)
    plain.run(STEPS)
    recorder.close()
    assert recorded.popped == plain.popped
    assert (recorded.policy.name, recorded.policy.guarantees) == (plain.policy.name, plain.policy.guarantees)
    found = replayed(files.lines)
    assert found.closed == ""
    assert found.compared["pop"] >= STEPS
    assert {"judge", "estimate", "expire", "cancel", "ahead"} <= found.compared.keys()
    assert ("due" in found.compared) == (len(recorded.popped) < STEPS)


@pytest.mark.parametrize("name", POLICIES)
def test_each_file_of_a_log_replays_alone(name: str) -> None:
    files = Files()
    agent = ScriptedAgent(recording(files, part_bytes=20_000), name)
    agent.run(STEPS)
    found = [replayed(lines) for lines in files.files]
    assert len(found) > 2
    assert sum(one.compared.get("pop", 0) for one in found) >= STEPS
    assert [one.header.part for one in found] == list(range(len(found)))


@pytest.mark.parametrize("name", POLICIES)
def test_what_was_queued_replays_across_an_exchange_of_policies(name: str) -> None:
    files = Files()
    agent = ScriptedAgent(recording(files), "fcfs")
    agent.run(40)
    agent.exchange(name)
    agent.run(40)
    agent.exchange("edf")
    agent.run(10)
    found = replayed(files.lines)
    assert found.compared["exchange"] == 2
    assert found.compared["schedule"] >= 1


def test_two_requests_of_one_name_that_run_at_once_are_told_apart() -> None:
    files = Files()
    policy = recording(files).make_queueing("mqfq")
    twins = [make_request("same", f"default/{flow}") for flow in ("f", "g")]
    for twin in twins:
        policy.push(twin)
        assert policy.pop(make_slot(twin.flow), 1) is twin
    for twin in reversed(twins):
        policy.done(twin, 5)
    done = [line for line in files.lines if b'"done"' in line]
    assert [b'"pop":2' in done[0], b'"pop":1' in done[1]] == [True, True]
    assert replayed(files.lines).compared == {"pop": 2}


def test_the_end_of_a_request_that_the_log_does_not_know_is_replayed() -> None:
    files = Files()
    policy = recording(files).make_queueing("mqfq")
    policy.done(make_request(), 5)
    policy.push(make_request(arrival_us=1))
    policy.pop(make_slot("default/f"), 2)
    assert replayed(files.lines).compared == {"pop": 1}


def test_what_a_policy_gives_away_and_what_it_is_told_of_late_requests_is_replayed() -> None:
    files = Files()
    policy = recording(files).make_queueing("rrc")
    for number in range(3):
        policy.push(make_request(arrival_us=-number))
    late = make_request()
    policy.push(late)
    assert policy.cancel(late.id) is late
    policy.missed(late)
    assert policy.next_expiry_us() is not None
    assert [request.arrival_us for request in policy.export()] == [-2, -1, 0]
    assert list(policy.schedule(0)) == []
    assert replayed(files.lines).compared == {"cancel": 1, "export": 1}


def test_a_whole_order_is_compared_unless_it_is_long() -> None:
    files = Files()
    recorder = recording(files)
    policy = recorder.make_queueing("sjf")
    for number in range(CHECK_UP_TO + 1):
        policy.push(make_request(arrival_us=number))
    policy = recorder.exchange(policy, "fcfs")
    policy.pop(make_slot(), 1)
    assert "schedule" not in replayed(files.lines).compared
    policy.pop(make_slot("default/f"), 1)
    policy = recorder.exchange(policy, "edf")
    policy.pop(make_slot(), 1)
    assert replayed(files.lines).compared["schedule"] == 1
