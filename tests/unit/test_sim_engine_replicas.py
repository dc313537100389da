"""The platform in simulated time: from zero and back, hold and release, refusals, diversion, turns, several nodes."""

from collections.abc import Iterable

import pytest
from msgspec.structs import replace
from sim_worlds import endings, image, most_at_once, sim_function, workload

from stoker.control.planning import PlanParams
from stoker.model.device import Device
from stoker.model.function import Function, OnMiss, PreWarm, PreWarmPolicy, PreWarmWindow, Variant
from stoker.model.policy import AdmissionMode
from stoker.policies.device_choice.interface import Arrival
from stoker.policies.device_choice.slack import Slack
from stoker.testing.builders import MS, S, make_cpu, make_function, make_gpu
from stoker_sim.engine.setup import BadSetup, Delays, Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import VARIANTS, Outcomes
from stoker_sim.workload import ANY, CPU, ClosedLoop, SimFunction, Workload

pytestmark = pytest.mark.unit

Requests = Iterable[tuple[int, int, int]]


def function(definition: Function | None = None, *, cold_us: int = 480 * MS, cpu_us: int = 0) -> SimFunction:
    exec_us = {ANY: 20 * MS} | ({CPU: cpu_us} if cpu_us else {})
    return sim_function(definition or make_function(keep_alive_ttl_us=2 * S), exec_us=exec_us, cold_us=cold_us)


def setup(*devices: Device, **changes: object) -> Setup:
    plain = Setup(
        devices=devices or (make_gpu(),), form=Form.REPLICAS, queueing="least-slack", knowledge=Knowledge.LEARNED
    )
    return replace(plain, **changes)


def play(
    functions: SimFunction | list[SimFunction], requests: Requests, *devices: Device, **changes: object
) -> Outcomes:
    return simulate(workload(functions, requests, horizon_us=60 * S), setup(*devices, **changes))


def replicas_at_most(result: Outcomes) -> int:
    rest = result.residence
    return most_at_once(
        (begin, end, 1) for begin, end in zip(rest.begin_us.tolist(), rest.end_us.tolist(), strict=True)
    )


def test_a_function_goes_from_zero_to_many_and_back_to_zero() -> None:
    devices = [make_gpu(f"g{index}") for index in range(4)]
    result = play(function(), [(S + at * MS, 0, 20 * MS) for at in range(0, 1_000, 5)], *devices)
    assert set(endings(result)) == {"served"}
    assert result.residence.begin_us.min() >= S
    assert replicas_at_most(result) == 4
    # Idle for its keep-alive, each goes; nobody is left long before the end.
    assert result.residence.end_us.max() < 20 * S


def test_a_cold_request_is_held_until_a_probe_finds_the_replica_ready() -> None:
    result = play(function(), [(S, 0, 20 * MS)])
    # 480 ms of start are seen at the tenth probe, each 50 ms after the other.
    assert result.held_us.tolist() == [500 * MS]
    assert result.finish_us.tolist() == [S + 520 * MS]
    assert (result.cold.tolist(), result.promised.tolist()) == ([True], [False])
    assert result.residence.warm_us.tolist() == [S + 500 * MS]


def test_a_cold_start_on_kubernetes_takes_the_time_to_create_the_pod_as_well() -> None:
    result = play(function(), [(S, 0, 20 * MS)], delays=Delays(create_us=600 * MS))
    assert result.held_us.tolist() == [1_100 * MS]


def test_a_held_request_expires_at_its_timeout() -> None:
    result = play(function(make_function(timeout_us=300 * MS)), [(S, 0, 20 * MS)])
    assert endings(result) == ["expired Timeout"]
    assert result.finish_us.tolist() == [S + 300 * MS]


def test_the_hold_is_bounded_over_all_functions() -> None:
    result = play(function(), [(S + at, 0, 20 * MS) for at in range(6)], hold_requests=4)
    # A namespace that is alone may hold half.
    assert endings(result) == ["served"] * 2 + ["refused HoldFull"] * 4


def test_the_queue_of_a_function_is_bounded_held_requests_included() -> None:
    bounded = function(make_function(max_requests=3))
    result = play(bounded, [(S + at, 0, 20 * MS) for at in range(5)])
    assert endings(result) == ["served"] * 3 + ["refused QueueFull"] * 2


WARM = [(S, 0, 20 * MS), (2 * S, 0, 20 * MS)]
BURST = [(3 * S + at, 0, 20 * MS) for at in range(20)]


def test_a_predicted_miss_is_refused_where_the_function_says_so() -> None:
    strict = function(make_function(latency_us=100 * MS, on_predicted_miss=(OnMiss.REFUSE,), cold_latency_us=20 * S))
    result = play(strict, [*WARM, *BURST])
    # Four times 20 ms and the first margin, a quarter, fit into 100 ms.
    assert endings(result)[2:] == ["served"] * 4 + ["refused PredictedMiss"] * 16
    assert result.promised[2:6].all()
    assert result.on_time[2:6].all()
    assert not result.promised[6:].any()
    observed = play(strict, [*WARM, *BURST], admission=AdmissionMode.OBSERVE)
    assert set(endings(observed)) == {"served"}


@pytest.fixture
def _gpu_unless_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simplest choice that looks at predictions, whatever a gain is worth to the real one."""

    def choose(_: Slack, arrival: Arrival) -> Variant:
        cpu, late_us = arrival.cpu, arrival.remaining_us
        return Variant.CPU if cpu is not None and cpu.finish_us <= late_us < arrival.gpu.finish_us else Variant.GPU

    monkeypatch.setattr(Slack, "choose", choose)


@pytest.mark.usefixtures("_gpu_unless_late")
def test_a_predicted_miss_goes_to_the_cpu_variant_once_that_is_warm() -> None:
    both = function(make_function(latency_us=100 * MS, cpu_variant=True, keep_alive_ttl_us=20 * S), cpu_us=50 * MS)
    later = [(10 * S + at, 0, 20 * MS) for at in range(20)]
    result = play(both, [*WARM, *BURST, *later], make_gpu(), make_cpu())
    assert set(endings(result)) == {"served"}
    diverted = result.variant == VARIANTS.index(Variant.CPU)
    # The first two wake one of each kind. The burst then asks one request of the CPU, of which nothing is known yet.
    assert not diverted[:2].any()
    assert diverted[2:].any()
    assert result.on_time[22:][diverted[22:]].all()
    assert set(result.device[diverted].tolist()) == {1}


@pytest.mark.usefixtures("_gpu_unless_late")
def test_what_is_told_of_one_variant_is_told_of_the_other_too() -> None:
    both = function(make_function(latency_us=1_800 * MS, cpu_variant=True, keep_alive_ttl_us=50 * S), cpu_us=20 * MS)
    wakes = [(at * MS, 0, 1_000 * MS) for at in (1_000, 5_000, 5_050, 10_000, 10_010)]
    # At 20.6 s the GPU takes one more. That tells the CPU's rest too: 0.4 s before one of a second would run there.
    busy = [(at * MS, 0, 1_000 * MS) for at in (20_000, 20_010, 20_600, 20_650)]
    result = play(both, [*wakes, *busy], make_gpu(), make_cpu())
    diverted = result.variant == VARIANTS.index(Variant.CPU)
    assert diverted[-4:].tolist() == [False, True, False, True]
    assert result.on_time[-1]


@pytest.mark.usefixtures("_gpu_unless_late")
def test_what_is_known_of_a_wait_is_no_older_than_a_heartbeat() -> None:
    both = function(make_function(latency_us=7_500 * MS, cpu_variant=True, keep_alive_ttl_us=50 * S), cpu_us=20 * MS)
    wakes = [(at * MS, 0, 5_000 * MS) for at in (500, 10_000, 10_050, 20_000, 20_010)]
    # Nothing changes from 33.2 s on, but at 38 s the run on the CPU is about to end, and that on the GPU overdue.
    busy = [(at * MS, 0, took * MS) for at, took in ((30_000, 20_000), (33_200, 5_000), (38_050, 5_000))]
    result = play(both, [*wakes, *busy], make_gpu(), make_cpu())
    diverted = result.variant == VARIANTS.index(Variant.CPU)
    assert diverted[-3:].tolist() == [False, True, True]
    assert result.on_time[-1]


def test_what_a_policy_holds_back_runs_by_itself_when_it_is_due() -> None:
    result = play(function(make_function(latency_us=400 * MS)), [*WARM, (3 * S, 0, 20 * MS)], queueing="lazy-slack")
    assert endings(result) == ["served"] * 3
    assert result.on_time[1:].all()
    assert (result.wait_us[1:] > 300 * MS).all()


def test_what_no_device_could_ever_hold_is_refused_at_once() -> None:
    result = play(function(), [(S, 0, 20 * MS)], make_gpu(memory_mib=1000))
    assert endings(result) == ["refused NoFittingDevice"]


def test_an_idle_replica_gives_way_to_a_function_that_waits() -> None:
    long = {"keep_alive_ttl_us": 50 * S}
    functions = [function(make_function(name, **long)) for name in "ab"]  # type: ignore[arg-type]
    result = play(functions, [(S, 0, 20 * MS), (3 * S, 1, 20 * MS)])
    assert endings(result) == ["served", "served"]
    assert result.residence.function.tolist() == [0, 1]
    assert result.residence.end_us[0] <= result.residence.begin_us[1] <= 3 * S + 200 * MS


def test_functions_take_turns_under_constant_backlog() -> None:
    functions = [function(make_function(name, timeout_us=50 * S)) for name in "ab"]
    loops = [ClosedLoop(function=index, clients=2) for index in (0, 1)]
    work = workload(functions, [], horizon_us=14 * S, closed=loops)
    result = simulate(work, setup(plan=PlanParams(quantum_us=3 * S), delays=Delays(plan_us=200 * MS)))
    turns = result.residence.function.tolist()
    assert turns[:4] == [0, 1, 0, 1]
    assert replicas_at_most(result) == 1
    # Who queued when the turn was over waited in the gateway again, and needed a start.
    waited = result.wait_us > 3 * S
    assert waited.any()
    assert result.cold[waited].all()
    assert "failed ReplicaFailed" not in endings(result)


def test_a_replica_that_hangs_is_killed_and_the_next_request_gets_another() -> None:
    hanging = function(make_function(timeout_us=3 * S))
    grace_us = hanging.definition.spec.container.termination_grace_us
    result = play(hanging, [(S, 0, 500 * S), (2 * S, 0, 20 * MS), (4 * S + grace_us, 0, 20 * MS)])
    assert endings(result) == ["expired Timeout", "expired Timeout", "served"]
    assert result.occupied_us[0] < 10 * S + grace_us


def test_every_node_has_an_agent_and_a_burst_is_spread_over_them() -> None:
    devices = [replace(make_gpu(f"n{index}/g"), node=f"n{index}") for index in range(3)]
    result = play(function(), [(S + at * MS, 0, 20 * MS) for at in range(0, 1_500, 8)], *devices)
    assert set(endings(result)) == {"served"}
    assert set(result.device.tolist()) == {0, 1, 2}


def test_a_window_makes_a_replica_warm_before_its_first_request() -> None:
    definition = make_function()
    window = PreWarmWindow(cron="1 * * * *", duration_us=60 * S, replicas=1)
    scaling = replace(
        definition.spec.scaling, pre_warm=PreWarm(policy=PreWarmPolicy.CRON, windows=(window,)), keep_alive_ttl_us=S
    )
    planned = function(replace(definition, spec=replace(definition.spec, scaling=scaling)))
    work = workload(planned, [(60 * S, 0, 20 * MS)], horizon_us=200 * S)
    result = simulate(work, setup(wall_us=3_600 * S))
    assert result.cold.tolist() == [False]
    assert simulate(work, setup()).cold.tolist() == [True]
    # The window ends at two minutes past, and so does the replica soon.
    assert 119 * S < result.residence.end_us[-1] < 123 * S


def test_slots_of_a_shared_device_and_the_concurrency_of_a_replica_both_bound_what_runs() -> None:
    requests = [(S + at, 0, 200 * MS) for at in range(12)]
    definition = make_function(concurrency=3, max_replicas=1)
    result = play(function(definition), requests)
    begin, took = result.dispatch_us.tolist(), result.occupied_us.tolist()
    assert most_at_once((at, at + us, 1) for at, us in zip(begin, took, strict=True)) == 3


def test_the_same_arguments_give_the_same_bytes() -> None:
    functions = [function(make_function(name, cpu_variant=True), cpu_us=70 * MS) for name in "abc"]
    requests = [(at * MS, at % 3, (5 + at % 31) * MS) for at in range(0, 2_000, 23)]
    images = {image(play(functions, requests, make_gpu("a"), make_gpu("b"), make_cpu())) for _ in range(2)}
    assert len(images) == 1


def test_a_device_on_which_nobody_knows_how_long_requests_take_is_no_device_to_plan_with() -> None:
    unknown: Workload = workload(sim_function(exec_us={"T4": 5}), [(0, 0, 5)])
    with pytest.raises(BadSetup, match="no execution time on A100"):
        simulate(unknown, setup())
