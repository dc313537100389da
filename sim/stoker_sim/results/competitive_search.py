"""Looks for instances on which the admission rule loses most against who knows everything beforehand.

Half of the tries draw an instance anew, half change one job of the worst so far. What is found is a lower bound of the
worst ratio and no more than that. Deterministic for a seed.
"""

from collections.abc import Sequence
from fractions import Fraction
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.function import Priority
from stoker_sim.results.competitive_optimum import most_load_us
from stoker_sim.results.competitive_world import Job, Slots, World

_LENGTHS = (1, 2, 5, 10, 30, 60, 100)
"""In which executions differ (ours): a hundred times, as those of real functions do."""
_GAPS = (0, 0, 1, 1, 2, 10, 30)


class Model(Struct, frozen=True, kw_only=True):
    """What is asked of the rule."""

    name: str
    queueing: str
    patience: Fraction
    """Least slack of a job over its length."""
    slots: Slots = Slots()
    jobs: int = 8
    equal: bool = False
    """All jobs have one length."""
    shares: bool = False
    unit_us: int = 1
    """Jobs are drawn in these. Shares are counted over a second, so that they need longer ones."""
    priorities: tuple[Priority, ...] = (Priority.STANDARD,)


class Worst(Struct, frozen=True):
    """The worst that was found."""

    ratio: Fraction
    seed: int
    jobs: tuple[Job, ...]


def worst_of(model: Model, *, seed: int, tries: int) -> Worst:
    """The worst of so many instances. Every one of them is checked: nothing admitted is late, nothing beats the
    optimum.
    """
    random = Random(seed)  # noqa: S311  nothing secret is drawn
    worst = Worst(Fraction(0), seed, ())
    for _ in range(tries):
        if worst.jobs and random.random() < 0.5:
            jobs = list(worst.jobs)
            number = random.randrange(len(jobs))
            jobs[number] = _drawn(random, model, random.choice(jobs).arrival_us + random.choice((-1, 0, 0, 1)))
            jobs.sort(key=lambda job: job.arrival_us)
        else:
            at_us, jobs = 0, []
            for _ in range(model.jobs):
                at_us += random.choice(_GAPS)
                jobs.append(_drawn(random, model, at_us))
        ratio = ratio_of(model, jobs)
        if ratio > worst.ratio:
            worst = Worst(ratio, seed, tuple(jobs))
    return worst


def ratio_of(model: Model, drawn: Sequence[Job]) -> Fraction:
    """The optimum over what the rule completes on time, in execution time."""
    jobs = [_times(job, model.unit_us) for job in drawn]
    world = World(model.slots, model.queueing, shares=model.shares)
    ours_us, most_us = world.load_us(jobs), most_load_us(jobs, model.slots)
    assert not world.late, f"{model.name}: {world.late[0]} was admitted and is late in {jobs}"
    assert most_us >= ours_us > 0, f"{model.name}: {ours_us} us of {most_us} us in {jobs}"
    return Fraction(most_us, ours_us)


def _drawn(random: Random, model: Model, at_us: int) -> Job:
    length_us = 10 if model.equal else random.choice(_LENGTHS)
    least = model.patience * length_us
    slack_us = -(-least.numerator // least.denominator)
    job = Job(
        arrival_us=max(0, at_us),
        exec_us=length_us,
        slack_us=slack_us + random.choice((0, 0, 1, random.randint(0, 100))),
        lane=random.randrange(len(model.slots.lanes)),
    )
    return replace(job, priority=random.choice(model.priorities))


def _times(job: Job, unit_us: int) -> Job:
    return replace(
        job, arrival_us=job.arrival_us * unit_us, exec_us=job.exec_us * unit_us, slack_us=job.slack_us * unit_us
    )


def patience_of(jobs: Sequence[Job]) -> Fraction:
    """The least slack over length of an instance."""
    return min(Fraction(job.slack_us, job.exec_us) for job in jobs)
