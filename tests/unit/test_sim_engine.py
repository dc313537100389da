"""The engine with everything resident: arrivals, slots, order, timeouts, slowdowns, closed loops."""

import pytest
from sim_worlds import endings, image, sim_function, workload

from stoker.errors import UnknownName
from stoker.testing.builders import make_cpu, make_function, make_gpu
from stoker_sim.engine.setup import BadSetup, Knowledge, Setup, Slowdowns
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import CPU, ClosedLoop

pytestmark = pytest.mark.unit

ONE = Setup(devices=(make_gpu(),), serve_late=False)


def test_a_request_that_finds_a_free_slot_takes_its_own_time_and_no_more() -> None:
    result = simulate(workload(sim_function(), [(7, 0, 100)]), ONE)
    assert (result.dispatch_us[0], result.finish_us[0], result.occupied_us[0]) == (7, 107, 100)
    assert endings(result) == ["served"]
    assert result.wait_us.tolist() == [0]


def test_requests_wait_for_a_slot_in_the_order_of_the_policy() -> None:
    work = workload(sim_function(), [(0, 0, 100), (10, 0, 50), (20, 0, 50)])
    assert simulate(work, ONE).dispatch_us.tolist() == [0, 100, 150]
    two = Setup(devices=(make_gpu(slots=2),), serve_late=False)
    assert simulate(work, two).dispatch_us.tolist() == [0, 10, 60]


def test_what_was_held_back_is_offered_to_all_devices_at_one_instant() -> None:
    requests = [(at, 0, 100) for at in range(0, 100_000, 10_000)]
    setup = Setup(devices=(make_gpu("a", slots=2), make_gpu("b")), queueing="lazy-slack", serve_late=False)
    result = simulate(workload(sim_function(), requests), setup)
    assert (result.finish_us - result.dispatch_us).tolist() == [100] * len(requests)


def test_a_slot_that_comes_free_is_free_for_who_comes_at_that_instant() -> None:
    result = simulate(workload(sim_function(), [(0, 0, 100), (100, 0, 50)]), ONE)
    assert result.wait_us.tolist() == [0, 0]


def test_a_request_takes_as_long_as_its_device_makes_it() -> None:
    function = sim_function(exec_us={"T4": 400, "A100": 100})
    fast = Setup(devices=(make_gpu(product="A100-40GB"),))
    assert simulate(workload(function, [(0, 0, 800)]), fast).occupied_us.tolist() == [200]


def test_the_least_loaded_device_gets_the_next_request() -> None:
    setup = Setup(devices=(make_gpu("a", slots=3), make_gpu("b", slots=3)), serve_late=False)
    result = simulate(workload(sim_function(), [(at, 0, 1_000) for at in range(4)]), setup)
    assert result.device.tolist() == [0, 1, 0, 1]


def test_a_request_for_a_device_that_is_not_there_is_refused() -> None:
    functions = (sim_function(exec_us={"H100": 5}), sim_function(make_function("g", gpu=()), exec_us={CPU: 5}))
    work = workload(functions, [(0, 0, 5), (1, 1, 5)])
    assert endings(simulate(work, ONE)) == ["refused NoFittingDevice"] * 2
    with_cores = Setup(devices=(make_gpu(product="H100"), make_cpu()))
    assert endings(simulate(work, with_cores)) == ["served"] * 2


def test_a_request_whose_timeout_passes_in_the_queue_expires_then_and_never_runs() -> None:
    function = sim_function(make_function(timeout_us=500))
    result = simulate(workload(function, [(0, 0, 900), (1, 0, 100), (600, 0, 50)]), ONE)
    assert endings(result) == ["expired Timeout", "expired Timeout", "served"]
    assert result.finish_us.tolist() == [500, 501, 950]
    assert result.dispatch_us.tolist() == [0, -1, 900]


def test_a_request_whose_timeout_passes_while_it_runs_is_answered_and_holds_its_slot_to_its_end() -> None:
    function = sim_function(make_function(timeout_us=500))
    result = simulate(workload(function, [(0, 0, 900), (450, 0, 10)]), ONE)
    assert endings(result) == ["expired Timeout", "served"]
    assert (result.finish_us[0], result.occupied_us[0], result.dispatch_us[1]) == (500, 900, 900)


def test_requests_that_are_late_run_behind_others_unless_the_policy_runs_as_published() -> None:
    function = sim_function(make_function(latency_us=150))
    work = workload(function, [(0, 0, 100), (0, 0, 100), (190, 0, 100)])
    as_live = Setup(devices=(make_gpu(),))
    # At 100 the second one could end at 200 at the earliest, 50 late, but nobody else is there.
    assert simulate(work, as_live).dispatch_us.tolist() == [0, 100, 200]
    crowded = workload(function, [(0, 0, 100), (0, 0, 100), (90, 0, 100)])
    assert simulate(crowded, as_live).dispatch_us.tolist() == [0, 200, 100]
    assert simulate(crowded, ONE).dispatch_us.tolist() == [0, 100, 200]


def test_what_a_policy_holds_back_runs_by_itself_when_it_is_due() -> None:
    function = sim_function(make_function(latency_us=100_000))
    lazy = Setup(devices=(make_gpu(),), queueing="lazy-slack")
    # Its time with a margin of 40 % before its objective, and that a millisecond early.
    assert simulate(workload(function, [(7, 0, 100)]), lazy).dispatch_us.tolist() == [100_007 - 140 - 1_000]


def test_executions_beside_each_other_slow_down_as_the_table_says() -> None:
    function = sim_function(interference="x")
    slowed = Setup(devices=(make_gpu(slots=2),), serve_late=False, slowdowns=Slowdowns({"x": {"x": 2.0}}))
    result = simulate(workload(function, [(0, 0, 100), (50, 0, 100)]), slowed)
    # The first is half done at 50, then at half pace until 150; the second has done 50 by then and goes on alone.
    assert result.finish_us.tolist() == [150, 200]


def test_a_request_that_ends_at_its_timeout_is_served() -> None:
    work = workload(sim_function(make_function(timeout_us=100)), [(0, 0, 100)])
    for slowdowns in (None, Slowdowns()):
        assert endings(simulate(work, Setup(devices=(make_gpu(),), slowdowns=slowdowns))) == ["served"]


def test_work_is_conserved_when_several_slow_each_other() -> None:
    slowed = Setup(devices=(make_gpu(slots=4),), serve_late=False, slowdowns=Slowdowns({"": {"": 1.0}}, unknown=1.0))
    work = workload(sim_function(), [(at, 0, 90 + at) for at in range(0, 300, 7)])
    plain = Setup(devices=(make_gpu(slots=4),), serve_late=False)
    assert simulate(work, slowed).finish_us.tolist() == simulate(work, plain).finish_us.tolist()


def test_a_closed_loop_has_no_more_requests_under_way_than_clients() -> None:
    work = workload(sim_function(), [], horizon_us=10_000, closed=[ClosedLoop(function=0, clients=3)])
    result = simulate(work, ONE)
    # One slot, always busy: each of the three waits for the two before it.
    assert len(result) == 10_000 // 100 + 2
    assert result.wait_us[3:].tolist() == [200] * (len(result) - 3)
    assert result.arrival_us.max() < 10_000


def test_a_client_that_was_refused_comes_again_after_a_while() -> None:
    function = sim_function(exec_us={"H100": 5})
    work = workload(function, [], horizon_us=200_000, closed=[ClosedLoop(function=0, clients=1)])
    assert simulate(work, ONE).arrival_us.tolist() == [0, 50_000, 100_000, 150_000]


@pytest.mark.parametrize("knowledge", Knowledge)
def test_policies_are_told_what_the_setup_says_is_known(knowledge: Knowledge) -> None:
    function = sim_function(make_function(latency_us=10**6))
    # Least slack: the longer one has to start earlier, if that is known.
    work = workload(function, [(0, 0, 500), (1, 0, 100), (2, 0, 900)])
    setup = Setup(devices=(make_gpu(),), queueing="least-slack", knowledge=knowledge)
    order = [1, 2] if knowledge is not Knowledge.EXACT else [2, 1]
    dispatched = simulate(work, setup).dispatch_us
    assert sorted((1, 2), key=lambda index: dispatched[index]) == order


def test_the_same_seed_gives_the_same_bytes() -> None:
    work = workload(sim_function(), [(at, 0, 50 + at % 97) for at in range(0, 20_000, 31)])
    setup = Setup(devices=(make_gpu("a", slots=2), make_gpu("b")))
    assert image(simulate(work, setup)) == image(simulate(work, setup))


def test_a_function_elsewhere_changes_nothing() -> None:
    here = sim_function(exec_us={"A100": 100})
    there = sim_function(make_function("other"), exec_us={"T4": 100})
    setup = Setup(devices=(make_gpu("a", product="A100"), make_gpu("t", product="T4")), queueing="edf")
    mine = [(at, 0, 50 + at % 97) for at in range(0, 5_000, 61)]
    alone = simulate(workload((here, there), mine), setup)
    both = simulate(workload((here, there), [*mine, *((at, 1, 300) for at in range(5, 5_000, 53))]), setup)
    ours = both.function == 0
    assert both.finish_us[ours].tolist() == alone.finish_us.tolist()


def test_what_cannot_be_simulated_is_said() -> None:
    with pytest.raises(BadSetup, match="no device"):
        Setup(devices=())
    with pytest.raises(BadSetup, match="one id"):
        Setup(devices=(make_gpu(), make_gpu()))
    with pytest.raises(UnknownName, match="no queueing policy"):
        simulate(workload(sim_function(), [(0, 0, 1)]), Setup(devices=(make_gpu(),), queueing="fastest"))
