"""A function that became slower, and still has time enough, is served again soon: what was learnt shuts nobody out."""

import numpy as np
import pytest
from overload_world import MS, SHARED, S

from stoker.model.function import OnMiss
from stoker.testing.builders import make_function, make_gpu
from stoker_sim.arrangement import arranged
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.workload import Behaviour, SimFunction

pytestmark = pytest.mark.sim

CHANGE_S, END_S = 20, 80
EXEC_US, OBJECTIVE_US = 30 * MS, 100 * MS
LOAD = 0.3


def test_a_function_whose_times_double_is_not_shut_out_by_what_was_learnt_of_the_change() -> None:
    definition = make_function(
        "f",
        gpu=SHARED,
        latency_us=OBJECTIVE_US,
        timeout_us=20 * S,
        min_replicas=1,
        max_replicas=1,
        on_predicted_miss=(OnMiss.REFUSE,),
        max_requests=100_000,
    )
    draw = np.random.default_rng(5)
    count = draw.poisson(LOAD * END_S * S / EXEC_US)
    at_us = np.sort(draw.integers(2 * S, END_S * S, count))
    exec_us = EXEC_US * np.exp(draw.normal(-0.005, 0.1, count))
    exec_us[at_us >= CHANGE_S * S] *= 2
    behaviour = Behaviour(exec_us={"any": EXEC_US}, cold_us=100 * MS)
    function = SimFunction(definition=definition, behaviour=behaviour)
    workload = arranged([function], at_us, np.zeros(count, np.int32), exec_us.astype(np.int64))
    setup = Setup(
        devices=(make_gpu("g", memory_mib=3 * 1_024),),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
    )
    result = simulate(workload, setup)
    after = result.arrival_us >= (CHANGE_S + 10) * S
    # One that finds the slot free is on time: that is 40 % of them, and of those that wait a little some more.
    assert result.on_time[after].mean() >= 0.4
    on_time = result.on_time[result.promised & result.served]
    assert on_time.mean() >= 0.97, "and what was promised was kept, the change included"
