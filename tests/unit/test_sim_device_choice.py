"""Device choice in simulated time: the five policies by the very code of the live gateway."""

import pytest
from msgspec.structs import replace
from sim_worlds import endings, sim_function, workload

from stoker.errors import UnknownName
from stoker.model.device import Device
from stoker.model.function import OnMiss, Variant
from stoker.testing.builders import MS, S, make_cpu, make_function, make_gpu
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import VARIANTS, Outcomes
from stoker_sim.workload import ANY, CPU, SimFunction

pytestmark = pytest.mark.unit

GPU_CODE, CPU_CODE = VARIANTS.index(Variant.GPU), VARIANTS.index(Variant.CPU)


def function(name: str, cpu_us: int, *actions: OnMiss, exec_us: int = 20 * MS) -> SimFunction:
    definition = make_function(
        name,
        cpu_variant=True,
        latency_us=200 * MS,
        keep_alive_ttl_us=10 * S,
        on_predicted_miss=actions or (OnMiss.DIVERT, OnMiss.SERVE_LATE),
    )
    return sim_function(definition, exec_us={ANY: exec_us, CPU: cpu_us}, cold_us=480 * MS)


def play(device_choice: str, *functions: SimFunction, devices: tuple[Device, ...] = (), **more: object) -> Outcomes:
    """Each function is called ten times a second for six seconds."""
    requests = [(S + turn * 100 * MS, index, 20 * MS) for turn in range(60) for index in range(len(functions))]
    setup = Setup(
        devices=devices or (make_gpu(slots=1), make_cpu()),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
        device_choice=device_choice,
        **more,  # type: ignore[arg-type]
    )
    return simulate(workload(list(functions), requests, horizon_us=8 * S), setup)


def on_cpu(result: Outcomes, function: int = 0) -> float:
    mine = result.variant[result.function == function]
    return float((mine == CPU_CODE).mean())


def test_the_two_ends_use_one_kind_of_device_and_wake_only_that() -> None:
    gpu_only, cpu_only = (play(name, function("f", 30 * MS)) for name in ("gpu-only", "cpu-only"))
    assert (on_cpu(gpu_only), on_cpu(cpu_only)) == (0.0, 1.0)
    assert set(endings(gpu_only)) == set(endings(cpu_only)) == {"served"}
    # Device 0 is the GPU: nothing is ever started on the other kind.
    assert set(gpu_only.residence.device.tolist()) == {0}
    assert set(cpu_only.residence.device.tolist()) == {1}


def test_cpu_replicas_are_scaled_with_what_is_sent_to_them() -> None:
    busy = play("cpu-only", function("f", 400 * MS))
    assert len(busy.residence.device) >= 4
    assert on_cpu(busy) == 1.0


def test_speed_up_sends_a_function_to_the_gpu_once_it_is_known_to_gain_enough() -> None:
    # It is measured on both first: once on the GPU, then on the CPU.
    assert 0.0 < on_cpu(play("speed-up", function("f", 100 * MS))) < 0.2
    assert 0.7 < on_cpu(play("speed-up", function("f", 60 * MS))) < 1.0


def test_a_cpu_variant_that_is_far_too_slow_is_found_out_by_a_few_requests() -> None:
    # Ten a second come while the first one takes two seconds there.
    assert 1 <= on_cpu(play("slack", function("f", 2_000 * MS))) * 60 <= 3


def test_a_landlord_tries_every_function_on_the_gpu_and_is_the_same_for_a_seed() -> None:
    runs = [play("landlord", function("f", 90 * MS), function("g", 25 * MS), seed=5) for _ in range(2)]
    assert runs[0].variant.tolist() == runs[1].variant.tolist()
    assert all(1 - on_cpu(runs[0], index) > 0.0 for index in (0, 1))


@pytest.mark.parametrize("name", ["cpu-only", "speed-up", "landlord"])
def test_a_function_that_does_not_permit_divert_stays_on_the_gpu(name: str) -> None:
    assert on_cpu(play(name, function("f", 30 * MS, OnMiss.SERVE_LATE))) == 0.0


def test_an_unknown_device_choice_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="coin"):
        play("coin", function("f", 30 * MS))


@pytest.mark.parametrize("nodes", [("a", "b"), ("a", "a")], ids=["two nodes", "one node"])
def test_of_two_products_the_cheaper_one_serves_what_it_can_serve_on_time(nodes: tuple[str, str]) -> None:
    definition = make_function("f", latency_us=200 * MS, min_replicas=2, keep_alive_ttl_us=60 * S)
    served = sim_function(definition, exec_us={"H200": 10 * MS, "L4": 40 * MS}, cold_us=480 * MS)
    devices = (
        replace(make_gpu("g0", product="H200"), node=nodes[0]),
        replace(make_gpu("g1", product="L4"), node=nodes[1]),
    )
    by_time = play("slack", served, devices=devices)
    by_cost = play("slack", served, devices=devices, prices={"H200": 10.0, "L4": 1.0})

    def on_l4(result: Outcomes) -> float:
        return float((result.device[30:] == 1).mean())

    assert on_l4(by_time) < 0.1
    assert on_l4(by_cost) > 0.9
    assert by_cost.on_time[30:].all()
