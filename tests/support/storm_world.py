"""A burst of ten times the capacity among clients that come back when they are told, then calm again: three functions.

The functions, the burst and the tries are those of bench.overload.metastability, on simulated GPUs.
"""

import numpy as np

from stoker.model.function import GpuOption, OnMiss, Sharing
from stoker.reasons import Outcome
from stoker.testing.builders import make_function, make_gpu
from stoker_sim.arrangement import arranged
from stoker_sim.engine.returns import Returning
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.outcomes import OUTCOMES
from stoker_sim.ticket_study import played
from stoker_sim.workload import ANY, Behaviour, SimFunction, Workload

S, MS = 1_000_000, 1_000
GPUS = 2
FUNCTIONS = (("tight", 20 * MS, 250 * MS), ("middle", 30 * MS, 600 * MS), ("loose", 50 * MS, 2_000 * MS))
"""Name, execution time, objective."""
PHASES = ((0.7, 5), (10.0, 5), (0.7, 25))
"""Load over what the GPUs can do, and for how many seconds."""
BEGIN_S = 2
"""Replicas are warm by then."""
BURST_S = (BEGIN_S + 5, BEGIN_S + 10)
RETRIES = 3
PATIENCE_US = 1 * S


def storm(*, tickets: bool, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """When each call came, in seconds, and whether one of its tries was served. `tickets`: clients bring theirs."""
    work = _workload(seed)
    setup = Setup(
        devices=tuple(make_gpu(f"g{number}", memory_mib=3 * 1_024) for number in range(GPUS)),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
    )
    outcomes, returns = played(work, setup, Returning(tries=RETRIES, tickets=tickets))
    tries = outcomes.outcome == OUTCOMES.index(Outcome.SERVED)
    served = tries[: len(work)].copy()
    for again, first in returns.first_of.items():
        served[first] |= tries[again]
    return work.time_us / S, served


def _workload(seed: int) -> Workload:
    draw = np.random.default_rng(seed)
    functions, rows = [], []
    for number, (name, exec_us, latency_us) in enumerate(FUNCTIONS):
        definition = make_function(
            name,
            gpu=(GpuOption(memory_mib=1_024, sharing=Sharing.SHARED),),
            latency_us=latency_us,
            timeout_us=PATIENCE_US,
            min_replicas=GPUS,
            max_replicas=GPUS,
            on_predicted_miss=(OnMiss.REFUSE,),
            max_requests=100_000,
        )
        behaviour = Behaviour(exec_us={ANY: exec_us}, cold_us=100 * MS)
        functions.append(SimFunction(definition=definition, behaviour=behaviour))
        begin_s = float(BEGIN_S)
        for load, for_s in PHASES:
            per_s = load * GPUS / len(FUNCTIONS) / (exec_us / S)
            at_s = draw.uniform(begin_s, begin_s + for_s, draw.poisson(per_s * for_s))
            spread = np.exp(draw.normal(0, 0.1, len(at_s)))
            rows.append(np.stack([at_s * S, np.full(len(at_s), number), exec_us * spread], axis=1).astype(np.int64))
            begin_s += for_s
    table = np.concatenate(rows)
    table = table[np.argsort(table[:, 0], kind="stable")]
    # Until all who came have made their last try.
    return arranged(functions, table[:, 0], table[:, 1].astype(np.int32), table[:, 2], horizon_us=60 * S)
