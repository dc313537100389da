"""The common form of a workload: what it refuses, and what its parts and mixtures keep."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from sim_workloads import MS, S, sim_function, workload_of

from stoker.model.function import Variant
from stoker_sim.arrangement import merged
from stoker_sim.assumptions import Assumptions, declared, dns_labels
from stoker_sim.workload import ANY, CPU, BadWorkload, Behaviour, ClosedLoop, Workload

pytestmark = pytest.mark.unit


def small() -> Workload:
    return workload_of([(0, 0, 10), (5, 1, 20), (5, 0, 30), (9, 1, 40), (20, 0, 50)], horizon_us=30)


def test_a_request_has_the_number_that_it_has_in_its_function() -> None:
    assert small().number.tolist() == [0, 0, 1, 1, 2]


def test_requests_are_put_in_order_and_those_of_one_instant_stay_as_they_were() -> None:
    work = workload_of([(9, 1, 1), (5, 1, 2), (9, 0, 3), (5, 0, 4)])
    assert work.exec_us.tolist() == [2, 4, 1, 3]
    assert (work.horizon_us, len(work)) == (10, 4)


def test_columns_cannot_be_written_to_and_the_arrays_given_still_can() -> None:
    times = np.array([0, 1], np.int64)
    function = np.zeros(2, np.int32)
    work = Workload(functions=(sim_function(),), time_us=times, function=function, exec_us=times + 1, horizon_us=5)
    with pytest.raises(ValueError, match="read-only"):
        work.time_us[0] = 3
    times[0] = 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"time_us": np.array([0, 5, 4, 9, 20])}, "request 2 comes before the one before it"),
    ({"time_us": np.array([-1, 5, 5, 9, 20])}, "request 0 comes before"),
    ({"horizon_us": 20}, "request 4 comes at or after the horizon of 20 us"),
    ({"function": np.array([0, 1, 2, 1, 0], np.int32)}, "request 2 is of no function"),
    ({"function": np.array([0, 1, 0, 1, 0])}, "function is not 5 values of int32"),
    ({"exec_us": np.array([1, 1, 1, 0, 1])}, "the execution time of request 3 is not above 0"),
    ({"exec_us": np.array([1, 1])}, "exec_us is not 5 values"),
    ({"slo_us": np.array([1, 1, 1, 1, -7])}, "the objective of request 4 is not above 0"),
    ({"slo_us": np.array([1.0])}, "slo_us is not 5 values"),
    ({"number": np.array([0], np.int32)}, "number is not 5 values"),
    ({"functions": ()}, "at least one function"),
    ({"functions": (sim_function("f"), sim_function("f"))}, "default/f is there twice"),
    ({"closed": (ClosedLoop(function=7, clients=1),)}, "a closed loop names no function"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_what_does_not_fit_together_is_refused_with_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadWorkload, match=said):
        replace(small(), **change)


def test_a_behaviour_needs_times_above_0() -> None:
    function = sim_function()
    for behaviour in (Behaviour(exec_us={}, cold_us=1), Behaviour(exec_us={ANY: 0}, cold_us=1)):
        with pytest.raises(BadWorkload, match="needs execution times above 0"):
            replace(small(), functions=(replace(function, behaviour=behaviour), sim_function("g")))
    late = replace(function, behaviour=Behaviour(exec_us={ANY: 1}, cold_us=-1))
    with pytest.raises(BadWorkload, match="below 0"):
        replace(small(), functions=(late, sim_function("g")))


def test_a_slice_counts_from_its_begin_and_keeps_the_numbers() -> None:
    part = small().slice(5, 20)
    assert part.time_us.tolist() == [0, 0, 4]
    assert part.number.tolist() == [0, 1, 1]
    assert part.horizon_us == 15
    assert small().slice(5, 10**9).horizon_us == 25
    with pytest.raises(BadWorkload, match="empty"):
        small().slice(5, 5)


def test_thinning_keeps_a_share_and_a_smaller_share_is_part_of_a_larger() -> None:
    work = workload_of([(at, at % 2, 1 + at) for at in range(4_000)])
    half, tenth = work.thinned(0.5, 1), work.thinned(0.1, 1)
    assert len(half) == pytest.approx(2_000, rel=0.1)
    assert set(tenth.exec_us.tolist()) < set(half.exec_us.tolist())
    assert work.thinned(0.5, 2).exec_us.tolist() != half.exec_us.tolist()
    assert "0.5" in half.notes[-1]
    assert work.thinned(1.0).exec_us.tolist() == work.exec_us.tolist()
    with pytest.raises(BadWorkload, match="share"):
        work.thinned(0)


def test_a_scaled_workload_offers_the_same_work_in_less_time() -> None:
    work = workload_of([(0, 0, 5), (100, 1, 5), (250, 0, 5)], horizon_us=300).scaled(2)
    assert (work.time_us.tolist(), work.horizon_us) == ([0, 50, 125], 151)
    with pytest.raises(BadWorkload, match="scaled"):
        work.scaled(float("nan"))


def test_only_some_functions_keep_their_requests_and_closed_loops() -> None:
    work = replace(small(), closed=(ClosedLoop(function=0, clients=1), ClosedLoop(function=1, clients=3)))
    part = work.only({"default/f1"})
    assert part.keys == ("default/f1",)
    assert part.exec_us.tolist() == [20, 40]
    assert part.function.tolist() == [0, 0]
    assert part.closed == (ClosedLoop(function=0, clients=3),)
    with pytest.raises(BadWorkload, match="no function default/g"):
        work.only({"default/g"})


def test_merged_workloads_run_beside_one_another_until_the_shorter_ends() -> None:
    other = replace(
        workload_of([(2, 0, 7), (29, 0, 8), (90, 0, 9)], functions=1, horizon_us=100),
        functions=(sim_function("other", namespace="b"),),
        slo_us=np.array([11, 12, 13]),
        closed=(ClosedLoop(function=0, clients=2),),
        arrival_notes=("said",),
    )
    both = merged(replace(small(), arrival_notes=("said",)), other)
    assert both.keys == ("default/f0", "default/f1", "b/other")
    assert both.time_us.tolist() == [0, 2, 5, 5, 9, 20, 29]
    assert both.function.tolist() == [0, 2, 1, 0, 1, 0, 2]
    assert both.slo_us is not None
    assert both.slo_us.tolist()[:2] == [50 * MS, 11]
    assert (both.closed[0].function, both.horizon_us, both.notes) == (2, 30, ("said",))
    with pytest.raises(BadWorkload, match="twice"):
        merged(small(), small())


def test_times_on_another_product_scale_by_the_ratio_of_the_medians() -> None:
    slow = declared("a", "slow", Behaviour(exec_us={"A100": 10, "T4": 25, CPU: 100}, cold_us=0), Assumptions())
    work = replace(small(), functions=(slow, sim_function("any", 20)))
    assert work.exec_on("A100-40GB").tolist() == [10, 20, 30, 40, 50]
    assert work.exec_on("T4").tolist() == [25, 20, 75, 40, 125]
    assert work.exec_on("cpu").tolist() == [100, 0, 300, 0, 500]
    assert work.exec_on("H100").tolist() == [0, 20, 0, 40, 0]


def test_objectives_are_the_requests_own_or_their_functions() -> None:
    assert small().objectives_us().tolist() == [50 * MS] * 5
    own = replace(small(), slo_us=np.arange(1, 6))
    assert own.objectives_us().tolist() == [1, 2, 3, 4, 5]
    tight = own.with_objectives(2)
    assert tight.slo_us is None
    assert tight.objectives_us().tolist() == [20 * MS] * 5
    assert "2 times" in tight.notes[-1]


def test_a_declared_function_has_what_was_assumed() -> None:
    given = Assumptions(slo_factor=10, device_memory_mib=500, cpu_factor=4, concurrency=3, timeout_us=S)
    function = declared("t", "f", Behaviour(exec_us={ANY: 2 * S}, cold_us=1), given, longest_us=30 * S)
    spec = function.definition.spec
    assert (spec.slo.latency_us, spec.timeout_us, spec.gpu[0].memory_mib) == (20 * S, 30 * S, 500)
    assert function.definition.concurrency_of(Variant.GPU) == 3
    assert function.definition.variants == (Variant.GPU, Variant.CPU)
    assert function.behaviour.exec_us == {ANY: 2 * S, CPU: 8 * S}
    assert sim_function().definition.variants == (Variant.GPU,)


def test_names_become_dns_labels_that_are_distinct() -> None:
    long = "x" * 80
    labels = dns_labels(("ok", "Ok", "o k", "_", "ümlaut/α", long, f"{long}y", "o-k"))
    assert labels[0] == "ok"
    assert labels[-1] == "o-k"
    assert len(set(labels)) == len(labels)
    assert dns_labels(("Ok",)) == ("ok",)
    for label in labels:
        assert 0 < len(label) <= 63
        assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert label.strip("-") == label
