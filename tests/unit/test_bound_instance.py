"""The offline problem: instances that contradict themselves, and schedules that break one rule each."""

from typing import Any

import pytest
from msgspec.structs import replace

from stoker.model.device import DeviceKind
from stoker_sim.bound.instance import BadInstance, Instance, InstanceDevice, InstanceFunction, InstanceRequest
from stoker_sim.bound.schedule import Execution, Infeasible, Residence, Schedule, Value, value_of

pytestmark = pytest.mark.unit

GPU = InstanceDevice(id="gpu", kind=DeviceKind.GPU, product="A100", memory_mib=10, slots=2, price_per_s_micro=100)
CPU = InstanceDevice(id="cpu", kind=DeviceKind.CPU, product="cpu", millicores=1000, slots=4)
OCR = InstanceFunction(key="default/ocr", memory_mib=4, start_us={"A100": 5}, resident_at_0=frozenset({"gpu"}))
LLM = InstanceFunction(key="default/llm", memory_mib=8, start_us={"A100": 7, "cpu": 2}, cpu=True, concurrency=2)


def request(name: str, function: int, arrival_us: int = 0, deadline_us: int = 100, **fields: Any) -> InstanceRequest:
    exec_us = fields.pop("exec_us", {"A100": 10, "cpu": 30})
    return InstanceRequest(
        id=name, function=function, arrival_us=arrival_us, deadline_us=deadline_us, exec_us=exec_us, **fields
    )


def make_instance(*requests: InstanceRequest) -> Instance:
    return Instance(devices=(GPU, CPU), functions=(OCR, LLM), requests=requests)


TWO = make_instance(request("a", 0, weight=3), request("b", 1, arrival_us=4), request("c", 1, deadline_us=27))
GOOD = Schedule(
    residences=(
        Residence(function=0, device=0, begin_us=0, end_us=10, initial=True),
        Residence(function=1, device=0, begin_us=10, end_us=27),
    ),
    executions=(
        Execution(request=0, residence=0, begin_us=0),
        Execution(request=1, residence=1, begin_us=17),
        Execution(request=2, residence=1, begin_us=17),
    ),
)


def with_execution(index: int, **fields: int) -> Schedule:
    executions = list(GOOD.executions)
    executions[index] = replace(executions[index], **fields)
    return replace(GOOD, executions=tuple(executions))


def with_residence(index: int, **fields: Any) -> Schedule:
    residences = list(GOOD.residences)
    residences[index] = replace(residences[index], **fields)
    return replace(GOOD, residences=tuple(residences))


def test_a_schedule_is_worth_what_ends_by_its_deadline_and_costs_its_share_of_what_it_holds() -> None:
    # 4 of 10 MiB for 10 us, 8 of 10 MiB for 17 us, at 100 micro a second.
    assert value_of(TWO, GOOD) == Value(weight=5, cost=10 * 40 + 17 * 80)
    late = make_instance(*TWO.requests[:2], request("c", 1, deadline_us=26))
    assert value_of(late, GOOD).weight == 4
    assert value_of(TWO, Schedule()) == Value(0, 0)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (with_execution(1, begin_us=16), "outside its residence"),
        (with_execution(0, begin_us=1), "outside its residence"),
        (with_execution(2, residence=0), "runs where it cannot"),
        (with_execution(2, request=1), "runs twice"),
        (with_residence(1, begin_us=9), "its slots or its capacity"),
        (with_residence(0, end_us=11), "its slots or its capacity"),
        (with_residence(0, initial=False), "outside its residence"),
        (with_residence(0, begin_us=1), "is not resident on gpu at 0"),
        (with_residence(1, initial=True, begin_us=0), "is not resident on gpu at 0"),
        (with_residence(0, device=1), "is not resident on cpu at 0"),
        (with_residence(0, device=1, initial=False), "can never be resident on cpu"),
        (with_residence(1, end_us=9), "ends before it begins"),
        (replace(GOOD, residences=(GOOD.residences[0], *GOOD.residences)), "is there twice"),
    ],
)
def test_a_schedule_that_breaks_a_rule_is_refused(broken: Schedule, why: str) -> None:
    with pytest.raises(Infeasible, match=why):
        value_of(TWO, broken)


def test_concurrency_bounds_a_residence_and_slots_a_device() -> None:
    both = make_instance(*(request(name, 1, exec_us={"A100": 10, "cpu": 5}) for name in "abc"))

    def together(device: int, count: int) -> Schedule:
        return Schedule(
            residences=(Residence(function=1, device=device, begin_us=0, end_us=20),),
            executions=tuple(Execution(request=r, residence=0, begin_us=7) for r in range(count)),
        )

    assert value_of(both, together(0, 2)).weight == 2
    with pytest.raises(Infeasible, match="more than its concurrency"):
        value_of(both, together(0, 3))
    with pytest.raises(Infeasible, match="more than its concurrency"):
        value_of(both, together(1, 2))  # cpu_concurrency is 1
    narrow = replace(both, devices=(replace(GPU, slots=1), CPU))
    with pytest.raises(Infeasible, match="its slots or its capacity"):
        value_of(narrow, together(0, 2))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"devices": (GPU, GPU)}, "two devices have the same name"),
        ({"devices": (replace(GPU, slots=0),)}, "needs a slot"),
        ({"devices": (replace(GPU, memory_mib=3),)}, "begins with 4 held of 3"),
        ({"functions": (OCR, OCR)}, "two functions have the same name"),
        ({"functions": (OCR, replace(LLM, concurrency=0))}, "needs a concurrency"),
        ({"functions": (OCR, replace(LLM, start_us={"A100": -1}))}, "no negative amount"),
        ({"functions": (OCR,)}, "is to function 1, which is not there"),
        ({"requests": (request("a", 0), request("a", 0))}, "two requests have the same name"),
        ({"requests": (request("a", 0, weight=0),)}, "weight and executions from 1"),
        ({"requests": (request("a", 0, exec_us={"A100": 0}),)}, "weight and executions from 1"),
        ({"requests": (request("a", 0, arrival_us=-1),)}, "an arrival from 0"),
    ],
)
def test_an_instance_that_contradicts_itself_is_refused(change: dict[str, Any], why: str) -> None:
    fields = {"devices": TWO.devices, "functions": TWO.functions, "requests": TWO.requests, **change}
    with pytest.raises(BadInstance, match=why):
        Instance(**fields)


def test_an_exclusive_function_holds_its_whole_gpu_and_pays_for_it() -> None:
    alone = replace(OCR, exclusive=True)
    assert (TWO.holds(alone, GPU), TWO.rate(alone, GPU)) == (10, 100)
    assert (TWO.holds(OCR, GPU), TWO.rate(OCR, GPU)) == (4, 40)
    assert (TWO.holds(LLM, CPU), TWO.rate(LLM, CPU)) == (1000, 0)


def test_a_request_that_could_not_be_on_time_alone_has_no_earliest_begin() -> None:
    cases = [("gpu", 0, 10, 0), ("gpu", 0, 9, None), ("gpu", 1, 17, 7), ("gpu", 1, 16, None), ("cpu", 1, 32, 2)]
    for device, function, deadline_us, want in [*cases, ("cpu", 0, 1000, None)]:
        spec = GPU if device == "gpu" else CPU
        assert TWO.earliest_us(request("x", function, deadline_us=deadline_us), spec) == want


def test_the_tick_divides_every_time() -> None:
    assert TWO.tick_us() == 1
    assert make_instance().tick_us() == 1
    coarse = Instance(
        devices=(GPU,),
        functions=(replace(OCR, start_us={"A100": 40}),),
        requests=(request("a", 0, 60, 200, exec_us={"A100": 100}),),
    )
    assert coarse.tick_us() == 20
