"""The admission rule against the optimum on random small instances: never beyond the ratio that is proven."""

from fractions import Fraction

import pytest

from stoker.errors import StokerError
from stoker.model.device import DeviceKind
from stoker_sim.bound.brute import most_weight_by_force
from stoker_sim.bound.instance import Instance, InstanceDevice, InstanceFunction, InstanceRequest
from stoker_sim.results.competitive_optimum import MOST_JOBS, most_load_us
from stoker_sim.results.competitive_ratio import SEED, beyond, make, one_slot, proven
from stoker_sim.results.competitive_search import Model, patience_of, ratio_of, worst_of
from stoker_sim.results.competitive_world import Job, Slots
from stoker_sim.results.pages import as_json

pytestmark = [pytest.mark.sim, pytest.mark.timeout(300)]

TRIES = 700


@pytest.mark.parametrize("model", one_slot(), ids=lambda model: model.name)
def test_on_one_slot_the_optimum_is_never_beyond_the_proven_ratio(model: Model) -> None:
    worst = worst_of(model, seed=SEED + 1, tries=TRIES)
    assert worst.ratio > 1, "nothing was lost anywhere: these instances test nothing"
    patience = patience_of(worst.jobs)
    assert patience >= model.patience
    bound = proven(model.queueing, model.patience)
    assert bound is None or worst.ratio <= bound, worst


@pytest.mark.parametrize("model", beyond(), ids=lambda model: model.name)
def test_beyond_one_slot_nothing_beats_the_optimum_and_the_worst_is_only_measured(model: Model) -> None:
    worst = worst_of(model, seed=SEED + 1, tries=TRIES // 2)
    assert worst.ratio >= 1
    print(f"{model.name}: {float(worst.ratio):.3f}, seed {worst.seed}, {worst.jobs}")


@pytest.mark.parametrize("length_us", [100, 1_000, 10_000])
@pytest.mark.parametrize("patience", [Fraction(1, 2), Fraction(1)])
def test_the_order_by_slack_has_no_ratio_where_objectives_are_at_most_twice_the_execution(
    length_us: int, patience: Fraction
) -> None:
    """A short request waits with a little more slack than a long one that comes, whose place is before it."""
    jobs = [Job(0, 10, 10), Job(1, 1, length_us + 2), Job(2, length_us, int(patience * length_us))]
    assert patience_of(jobs) == patience
    by_slack = Model(name="slack", queueing="least-slack", patience=patience_of(jobs))
    assert ratio_of(by_slack, jobs) == Fraction(11 + length_us, 11)
    assert ratio_of(Model(name="edf", queueing="edf", patience=patience_of(jobs)), jobs) == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_by_sets_is_that_of_trying_everything(seed: int) -> None:
    model = Model(name="brute", queueing="edf", patience=Fraction(0), slots=Slots((1, 1), ((0,), (0, 1))), jobs=5)
    jobs = worst_of(model, seed=seed, tries=3).jobs
    devices = model.slots.devices
    instance = Instance(
        devices=tuple(
            InstanceDevice(id=f"g{index}", kind=DeviceKind.GPU, product=f"p{index}", memory_mib=8, slots=count)
            for index, count in enumerate(devices)
        ),
        functions=tuple(
            InstanceFunction(
                key=f"ratio/f{lane}",
                memory_mib=1,
                start_us={f"p{index}": 0 for index in indexes},
                resident_at_0=frozenset(f"g{index}" for index in indexes),
            )
            for lane, indexes in enumerate(model.slots.lanes)
        ),
        requests=tuple(
            InstanceRequest(
                id=str(number),
                function=job.lane,
                arrival_us=job.arrival_us,
                deadline_us=job.latest_us + job.exec_us,
                exec_us={f"p{index}": job.exec_us for index in model.slots.lanes[job.lane]},
                weight=job.exec_us,
            )
            for number, job in enumerate(jobs)
        ),
    )
    assert most_load_us(jobs, model.slots) == most_weight_by_force(instance)


def test_too_many_jobs_for_trying_every_set_are_refused() -> None:
    with pytest.raises(StokerError, match="ends at 10 jobs"):
        most_load_us([Job(0, 1, 1)] * (MOST_JOBS + 1), Slots())


def test_the_same_seed_gives_the_same_page() -> None:
    assert as_json(make(small=True)) == as_json(make(small=True))
