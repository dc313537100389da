"""Whatever comes, in every form: each request ends once, no device is over its memory or its slots, replays agree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_worlds import image, most_at_once, sim_function, workload

from stoker.model.function import GpuOption, OnMiss, Sharing
from stoker.testing.builders import MS, S, make_function, make_gpu
from stoker_sim.engine.setup import Delays, Form, Knowledge, Memory, Setup, Slowdowns
from stoker_sim.engine.simulate import simulate
from stoker_sim.outcomes import OUTCOMES
from stoker_sim.workload import ClosedLoop, SimFunction, Workload

pytestmark = pytest.mark.property

MEMORY_MIB = 1000


@st.composite
def functions(draw: st.DrawFn, name: str) -> SimFunction:
    sharing = draw(st.sampled_from(Sharing))
    definition = make_function(
        name,
        namespace=draw(st.sampled_from(("one", "two"))),
        gpu=(GpuOption(memory_mib=draw(st.sampled_from((200, 400, 700, 1000))), sharing=sharing),),
        latency_us=draw(st.sampled_from((20, 200, 2000))) * MS,
        timeout_us=draw(st.sampled_from((100, 1000, 10_000))) * MS,
        concurrency=draw(st.integers(1, 2)),
        max_replicas=draw(st.integers(1, 3)),
        max_requests=draw(st.sampled_from((2, 1000))),
        keep_alive_ttl_us=draw(st.sampled_from((0, 300))) * MS,
        on_predicted_miss=draw(st.sampled_from(((OnMiss.SERVE_LATE,), (OnMiss.REFUSE,)))),
    )
    return sim_function(
        definition,
        cold_us=draw(st.sampled_from((0, 80, 400))) * MS,
        resume_us=draw(st.sampled_from((0, 30))) * MS,
        swap_mib=300,
        interference=draw(st.sampled_from("xy")),
    )


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    some = [draw(functions(f"f{index}")) for index in range(draw(st.integers(1, 4)))]
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 1500), st.integers(0, len(some) - 1), st.sampled_from((1, 10, 60, 300))),
            max_size=25,
        )
    )
    loops = [ClosedLoop(function=0, clients=2, think_us=50 * MS)] if draw(st.booleans()) else []
    return workload(some, [(at * MS, index, us * MS) for at, index, us in rows], horizon_us=2 * S, closed=loops)


@st.composite
def setups(draw: st.DrawFn) -> Setup:
    count = draw(st.integers(1, 2))
    slots = draw(st.integers(1, 3))
    return Setup(
        devices=tuple(make_gpu(f"d{index}", memory_mib=MEMORY_MIB, slots=slots) for index in range(count)),
        form=draw(st.sampled_from(Form)),
        queueing=draw(st.sampled_from(("fcfs", "edf", "least-slack"))),
        serve_late=draw(st.booleans()),
        knowledge=draw(st.sampled_from(Knowledge)),
        slowdowns=draw(st.sampled_from((None, Slowdowns({"x": {"y": 1.7}, "y": {"x": 1.2}}, unknown=1.1)))),
        memory=Memory(copies=draw(st.sampled_from((None, 1))), host_mib=draw(st.sampled_from((None, 900)))),
        delays=Delays(plan_us=100 * MS, stop_us=draw(st.sampled_from((0, 20))) * MS),
    )


@settings(max_examples=40)
@given(work=workloads(), setup=setups())
def test_a_simulation_keeps_its_books_and_its_devices(work: Workload, setup: Setup) -> None:
    result = simulate(work, setup)
    assert len(result) >= len(work)
    assert set(result.outcome.tolist()) <= set(range(len(OUTCOMES)))
    assert (result.finish_us >= result.arrival_us).all()
    ran = result.dispatch_us >= 0
    assert (result.dispatch_us[ran] >= result.arrival_us[ran]).all()
    assert (result.occupied_us[ran] > 0).all()
    assert (result.occupied_us[~ran] == 0).all()
    assert ran[result.served].all()
    # Who is served is answered at the end of its slot's time; who expires, at its timeout.
    served = result.served
    assert (result.finish_us[served] == result.dispatch_us[served] + result.occupied_us[served]).all()
    timeouts = [work.functions[index].definition.spec.timeout_us for index in result.function.tolist()]
    for index in range(len(result)):
        assert result.finish_us[index] <= result.arrival_us[index] + timeouts[index]
    rest = result.residence
    for number, device in enumerate(setup.devices):
        held = [
            (int(begin), int(end), int(size))
            for where, begin, end, size in zip(rest.device, rest.begin_us, rest.end_us, rest.memory_mib, strict=True)
            if where == number
        ]
        assert most_at_once(held) <= device.memory_mib
        runs = [
            (int(begin), int(begin + took), 1)
            for where, begin, took in zip(result.device, result.dispatch_us, result.occupied_us, strict=True)
            if where == number
        ]
        # An exclusive replica is bounded by its own concurrency only.
        assert most_at_once(runs) <= (max(device.slots, 2) if setup.form is Form.REPLICAS else device.slots)
    assert image(simulate(work, setup)) == image(result)
