"""Late binding: what a start takes, who is evicted for whom, the shared bus, host memory."""

import pytest
from sim_worlds import endings, most_at_once, sim_function, workload

from stoker.errors import UnknownName
from stoker.model.function import GpuOption
from stoker.policies.eviction.registry import EVICTION
from stoker.testing.builders import make_cpu, make_function, make_gpu
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.flows import Flow
from stoker_sim.engine.host import Host
from stoker_sim.engine.residency import DeviceMemory
from stoker_sim.engine.setup import BadSetup, Form, Memory, Setup, Slowdowns
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import CPU, SimFunction

pytestmark = pytest.mark.unit


def function(name: str = "f", memory_mib: int = 1000, *, cold_us: int = 1000, resume_us: int = 0) -> SimFunction:
    definition = make_function(name, gpu=(GpuOption(memory_mib=memory_mib),))
    return sim_function(definition, cold_us=cold_us, resume_us=resume_us, swap_mib=memory_mib if resume_us else 0)


def setup(memory_mib: int = 2000, *, slots: int = 1, devices: int = 1, memory: Memory = Memory()) -> Setup:  # noqa: B008
    return Setup(
        devices=tuple(make_gpu(f"d{index}", memory_mib=memory_mib, slots=slots) for index in range(devices)),
        form=Form.LATE_BINDING,
        serve_late=False,
        memory=memory,
    )


def test_the_first_request_pays_the_start_in_its_slot_and_the_next_finds_it_warm() -> None:
    result = simulate(workload(function(), [(0, 0, 100), (5, 0, 100)]), setup())
    assert result.start_us.tolist() == [1000, 0]
    assert result.occupied_us.tolist() == [1100, 100]
    assert result.finish_us.tolist() == [1100, 1200]
    assert result.cold.tolist() == [True, False]
    assert result.residence.warm_us.tolist() == [1000]
    assert result.residence.end_us.tolist() == [result.end_us]


def test_a_device_that_holds_the_function_is_asked_first() -> None:
    requests = [(0, 0, 100), (0, 1, 100), (2000, 1, 100), (3000, 0, 100)]
    result = simulate(workload((function("a"), function("b")), requests), setup(devices=2))
    assert result.device.tolist() == [0, 1, 1, 0]
    assert result.cold.tolist() == [True, True, False, False]


def test_who_was_idle_longest_is_evicted_when_memory_lacks() -> None:
    functions = [function(name) for name in "abc"]
    requests = [(at, index, 100) for at, index in ((0, 0), (2000, 1), (4000, 0), (6000, 2), (8000, 0), (10_000, 1))]
    result = simulate(workload(functions, requests), setup())
    # c evicts b, which was used before a; b evicts c.
    assert result.cold.tolist() == [True, True, False, True, False, True]


def test_who_runs_is_never_evicted_and_whoever_needs_its_memory_waits() -> None:
    functions = [function("a", 1500), function("b", 1500), function("c", 500)]
    requests = [(0, 0, 5_000), (10, 1, 100), (20, 2, 100)]
    result = simulate(workload(functions, requests), setup(slots=3))
    assert result.dispatch_us.tolist() == [0, 6_000, 20]
    assert endings(result) == ["served"] * 3


def test_a_second_request_at_once_needs_a_second_copy_unless_one_copy_takes_both() -> None:
    requests = [(0, 0, 100), (2000, 0, 100), (2001, 0, 100)]
    result = simulate(workload(function(), requests), setup(slots=2))
    assert result.cold.tolist() == [True, False, True]
    together = sim_function(make_function(gpu=(GpuOption(memory_mib=1000),), concurrency=2), cold_us=1000)
    assert simulate(workload(together, requests), setup(slots=2)).cold.tolist() == [True, False, False]


def test_a_copy_that_served_several_at_once_can_be_evicted_when_all_have_ended() -> None:
    together = sim_function(make_function(gpu=(GpuOption(memory_mib=1500),), concurrency=2), cold_us=1000)
    requests = [(0, 0, 100), (2000, 0, 100), (2001, 0, 100), (3000, 1, 100)]
    result = simulate(workload((together, function("b", 1500)), requests), setup(slots=2))
    assert result.dispatch_us.tolist() == [0, 2000, 2001, 3000]
    assert result.residence.end_us[0] == 3000


def test_an_eviction_policy_sees_uses_and_the_clock_at_the_last_use() -> None:
    functions = [function("a", cold_us=2500), *(function(name) for name in "bcdef")]
    requests = [(at * 5000, index, 100) for at, index in enumerate((0, 1, 2, 3, 4, 3, 5, 4))]
    result = simulate(workload(functions, requests), setup(memory=Memory(eviction="greedy-dual")))
    # a is worth 2.5, b 1. c evicts b and is worth 1 + 1; d evicts c and is worth 2 + 1; e evicts a. d is used again
    # and worth 2.5 + 2, so f evicts e (2.5 + 1).
    assert result.cold.tolist() == [True, True, True, True, True, False, True, True]


def test_copies_of_one_function_may_be_bounded() -> None:
    requests = [(0, 0, 100), (2000, 0, 100), (2001, 0, 100)]
    result = simulate(workload(function(), requests), setup(slots=2, memory=Memory(copies=1)))
    assert result.dispatch_us.tolist() == [0, 2000, 2100]
    assert len(result.residence) == 1


def test_requests_that_wait_for_a_copy_run_on_it_as_soon_as_it_is_there() -> None:
    together = sim_function(make_function(gpu=(GpuOption(memory_mib=1000),), concurrency=3), cold_us=1000)
    result = simulate(workload(together, [(0, 0, 100)] * 4), setup(slots=4, memory=Memory(copies=1)))
    assert result.dispatch_us.tolist() == [0, 1000, 1000, 1100]


def test_an_evicted_function_comes_back_over_the_bus_faster_than_cold() -> None:
    functions = [function("a", 2000, resume_us=300), function("b", 2000)]
    result = simulate(workload(functions, [(0, 0, 10), (2000, 1, 10), (4000, 0, 10)]), setup())
    assert result.start_us.tolist() == [1000, 1000, 300]


def test_whoever_has_been_idle_as_long_as_its_policy_keeps_it_leaves_by_itself() -> None:
    definition = make_function(gpu=(GpuOption(memory_mib=1000),), keep_alive_ttl_us=500)
    # Idle from 1100; used again at 1599, so that the first date says nothing any more; gone at 2199.
    result = simulate(
        workload(sim_function(definition, cold_us=1000), [(0, 0, 100), (1599, 0, 100), (2300, 0, 100)]),
        setup(memory=Memory(eviction="fixed-ttl")),
    )
    assert result.cold.tolist() == [True, False, True]
    assert result.residence.end_us[0] == 2199


def test_swaps_at_the_same_time_share_the_bus() -> None:
    # 1000 MiB at 10,000 MiB/s take 100 ms alone; 20 ms of each swap move nothing.
    functions = [function(name, resume_us=120_000) for name in "ab"]
    memory = Memory(bus_mib_per_s=10_000, in_host_at_start=True)
    at_once = simulate(workload(functions, [(0, 0, 10), (0, 1, 10)]), setup(slots=2, memory=memory))
    assert at_once.start_us.tolist() == [220_000, 220_000]
    overlapping = simulate(workload(functions, [(0, 0, 10), (50_000, 1, 10)]), setup(slots=2, memory=memory))
    # Half alone, then shared until 150 ms; the second moves its other half alone.
    assert overlapping.finish_us.tolist() == [170_010, 220_010]
    apart = simulate(workload(functions, [(0, 0, 10), (110_000, 1, 10)]), setup(slots=2, memory=memory))
    assert apart.start_us.tolist() == [120_000, 120_000]


def test_host_memory_that_is_full_loses_the_oldest() -> None:
    functions = [function(name, 2000, resume_us=300) for name in "abc"]
    requests = [(at * 5000, index, 10) for at, index in enumerate((0, 1, 2, 0, 2))]
    tight = setup(memory=Memory(host_mib=2000))
    assert simulate(workload(functions, requests), tight).start_us.tolist() == [1000, 1000, 1000, 1000, 300]
    assert simulate(workload(functions, requests), setup()).start_us.tolist() == [1000, 1000, 1000, 300, 300]


def test_cores_are_shared_by_what_copies_hold_of_them() -> None:
    definition = make_function(gpu=(), cpu_millis=1500)
    work = workload(sim_function(definition, exec_us={CPU: 100}, cold_us=10), [(0, 0, 100)] * 3)
    cores = Setup(devices=(make_cpu(millicores=4000),), form=Form.LATE_BINDING, serve_late=False)
    result = simulate(work, cores)
    assert result.dispatch_us.tolist() == [0, 0, 110]
    assert result.cold.tolist() == [True, True, False]


def test_a_request_whose_timeout_passes_during_its_start_is_answered_then() -> None:
    definition = make_function(gpu=(GpuOption(memory_mib=1000),), timeout_us=500)
    result = simulate(workload(sim_function(definition, cold_us=1000), [(0, 0, 100)]), setup())
    assert endings(result) == ["expired Timeout"]
    assert (result.finish_us[0], result.occupied_us[0]) == (500, 1100)


def test_slowdowns_and_loads_go_together() -> None:
    slowed = Setup(
        devices=(make_gpu(slots=2),),
        form=Form.LATE_BINDING,
        serve_late=False,
        slowdowns=Slowdowns({}, unknown=2.0),
    )
    result = simulate(workload(function(cold_us=50), [(0, 0, 100), (25, 0, 100)]), slowed)
    # Both compute from 75 on; the first began at 50 and has 75 left.
    assert result.finish_us.tolist() == [225, 250]


@pytest.mark.parametrize("eviction", sorted(EVICTION))
def test_memory_is_never_exceeded_while_functions_of_all_sizes_come(eviction: str) -> None:
    functions = [function(f"f{index}", 100 + 190 * index, resume_us=100) for index in range(10)]
    requests = [(at, (at * 7) % 10, 50 + at % 400) for at in range(0, 30_000, 53)]
    result = simulate(workload(functions, requests), setup(slots=4, memory=Memory(eviction=eviction)))
    rest = result.residence
    spans = zip(rest.begin_us.tolist(), rest.end_us.tolist(), rest.memory_mib.tolist(), strict=True)
    assert 1800 < most_at_once(spans) <= 2000
    assert set(endings(result)) == {"served"}


def test_what_late_binding_cannot_do_is_said() -> None:
    pair = sim_function(make_function(gpu=(GpuOption(memory_mib=10, count=2),)))
    with pytest.raises(BadSetup, match="several devices at once"):
        simulate(workload(pair, [(0, 0, 1)]), setup())
    with pytest.raises(UnknownName, match="eviction"):
        simulate(workload(function(), [(0, 0, 1)]), setup(memory=Memory(eviction="oldest")))


def test_whose_memory_lacks_is_not_eligible_and_is_not_counted() -> None:
    functions = [function("a", 1500), function("b", 1500), function("c", 500), function("d", 500)]
    flows = [Flow(index, each, each.definition.primary) for index, each in enumerate(functions)]
    memory = DeviceMemory(make_gpu(memory_mib=2000), flows, Host(Agenda(), Memory()))
    memory.busy = (1500, 0)
    memory.close(flows[3])
    eligible = memory.tight.eligible
    assert (list(eligible), len(eligible)) == (["default/c"], 1)
    assert [flow.key in eligible for flow in flows] == [False, False, True, False]
    memory.reopen(flows[3])
    assert (list(eligible), len(eligible)) == (["default/c", "default/d"], 2)
