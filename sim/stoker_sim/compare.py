"""A grid of simulations: every policy on every workload that the scenario goes through, with common random numbers.

Jobs are values that any process may play, in any order: what a job comes to hangs on the scenario and itself alone.
Whoever plays them spreads them (the command does so over processes); `compared` puts the results in the order of the
jobs. All policies of one setting see the same requests.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from msgspec import Struct

from stoker.model.device import Device
from stoker_sim.engine.setup import Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.evaluate.figures import Measured, measure
from stoker_sim.evaluate.sample import check_warm_up, sample_of
from stoker_sim.scenario import PolicyChoice, Scenario, assumptions, devices_of, setup_of, with_bounds, with_keep_alive
from stoker_sim.sources.making import load_of, make
from stoker_sim.workload import Workload
from stoker_sim.yardstick import homeless, most_on_time, optimum

_SEED = re.compile(r"\(([^()]*?)seed [0-9]+\)")


class Setting(Struct, frozen=True, kw_only=True, order=True):
    """One point that the scenario goes through; None: as the workload or the devices have it."""

    load: float | None = None
    slo_factor: float | None = None
    memory_mib: int | None = None

    @property
    def label(self) -> str:
        """As in `load 0.5, SLO x5, 16 GiB`; empty where the scenario goes through nothing."""
        parts = (
            None if self.load is None else f"load {self.load:g}",
            None if self.slo_factor is None else f"SLO x{self.slo_factor:g}",
            None if self.memory_mib is None else f"{self.memory_mib / 1024:g} GiB",
        )
        return ", ".join(part for part in parts if part)


class Job(Struct, frozen=True, kw_only=True):
    """One simulation, or the bound of one workload."""

    setting: Setting
    seed: int
    policy: int | None
    """Index into the scenario's policies; None: the bound."""
    exact: bool = False
    """Of a bound: whether the optimum itself is searched for where that can be done."""


class Bound(Struct, frozen=True, kw_only=True):
    """What no policy can be better than, of the requests that came after the warm-up."""

    on_time: int
    offered: int
    optimum: int | None = None
    """The most that a schedule really reaches, where it was searched for and found."""

    @property
    def attainment(self) -> float | None:
        best = self.on_time if self.optimum is None else self.optimum
        return best / self.offered if self.offered else None


class Result(Struct, frozen=True, kw_only=True):
    """What a job came to."""

    job: Job
    load: float
    """Offered, as the workload really has it."""
    notes: tuple[str, ...]
    """Assumptions of the workload."""
    measured: Measured | None = None
    bound: Bound | None = None


class Run(Struct, frozen=True, kw_only=True):
    """One simulation of a comparison."""

    setting: Setting
    policy: str
    seed: int
    load: float
    measured: Measured
    bound: Bound | None

    @property
    def over_bound(self) -> float | None:
        """Attainment over what the bound lets be; None without a bound, or where nothing could be on time."""
        attainment = self.measured.values["attainment"]
        best = None if self.bound is None else self.bound.attainment
        return None if attainment is None or not best else attainment / best


class Comparison(Struct, frozen=True, kw_only=True):
    """All of it, in the order of the jobs."""

    scenario: Scenario
    policies: tuple[str, ...]
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    """Every default and assumption that acted, one sentence each."""

    def of(self, setting: Setting, policy: str) -> tuple[Run, ...]:
        """By seed."""
        return tuple(run for run in self.runs if run.setting == setting and run.policy == policy)


def settings_of(scenario: Scenario) -> tuple[Setting, ...]:
    """All that the scenario goes through."""
    return tuple(
        Setting(load=load, slo_factor=factor, memory_mib=None if memory is None else int(memory))
        for load, factor, memory in product(
            scenario.loads or (None,), scenario.slo_factors or (None,), scenario.memories or (None,)
        )
    )


def seeds_of(scenario: Scenario) -> tuple[int, ...]:
    """The seeds of the replications."""
    return tuple(range(scenario.first_seed, scenario.first_seed + scenario.seeds))


def jobs_of(scenario: Scenario) -> Iterator[Job]:
    """Every job; those of one workload follow each other, so that a player makes it once."""
    policies: list[int | None] = list(range(len(scenario.choices)))
    if scenario.bound:
        policies.insert(0, None)
    for seed in seeds_of(scenario):
        for setting in settings_of(scenario):
            for policy in policies:
                yield Job(setting=setting, seed=seed, policy=policy)


class Player:
    """Plays jobs of one scenario. It keeps the last workload; nothing else goes from one job to the next."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        """`folder`: where the files are that the scenario names."""
        self._scenario = scenario
        self._folder = folder
        self._made: tuple[Setting, int, Workload] | None = None

    def play(self, job: Job) -> Result:
        """Raises StokerError: BadTrace, BadWorkload, BadSource, BadSetup, NothingMeasured."""
        scenario = self._scenario
        devices = devices_of(scenario, job.setting.memory_mib)
        workload = self._workload(job, devices)
        check_warm_up(workload, scenario.warm_up)
        load, notes = load_of(workload, devices), workload.notes
        setup = setup_of(scenario, scenario.choices[job.policy or 0], devices, job.seed)
        lost = homeless(workload, setup)
        if lost:
            notes = (*notes, f"{lost} of {len(workload.functions)} functions fit on no device and are refused")
        if job.policy is None:
            return Result(job=job, load=load, notes=notes, bound=self._bound(workload, setup, exact=job.exact))
        choice = scenario.choices[job.policy]
        played = with_bounds(with_keep_alive(workload, choice), scenario)
        outcomes = simulate(played, setup)
        sample = sample_of(
            played,
            devices,
            outcomes,
            warm_up_us=scenario.warm_up,
            namespace_weights=scenario.namespace_weights,
        )
        measured = measure(sample, scenario.form, scenario.prices)
        return Result(job=job, load=load, notes=notes, measured=measured)

    def _workload(self, job: Job, devices: tuple[Device, ...]) -> Workload:
        if self._made is None or self._made[:2] != (job.setting, job.seed):
            self._made = (job.setting, job.seed, workload_of(self._scenario, job, devices, self._folder))
        return self._made[2]

    def _bound(self, workload: Workload, setup: Setup, *, exact: bool) -> Bound | None:
        if workload.closed:
            return None
        warm_up_us = self._scenario.warm_up
        on_time, offered = most_on_time(workload, setup, warm_up_us)
        best = optimum(workload, setup, warm_up_us, ceiling=on_time) if exact else None
        return Bound(on_time=on_time, offered=offered, optimum=best)


def workload_of(scenario: Scenario, job: Job, devices: tuple[Device, ...], folder: Path) -> Workload:
    """The requests of one setting and seed."""
    setting = job.setting
    work = make(scenario.sources, devices, folder, job.seed, setting.load)
    if scenario.duration is not None and scenario.duration < work.horizon_us:
        work = work.slice(0, scenario.duration)
    return work if setting.slo_factor is None else work.with_objectives(setting.slo_factor)


def compared(scenario: Scenario, results: Iterable[Result]) -> Comparison:
    """The results of all jobs, in whatever order they come."""
    found = {(result.job.setting, result.job.seed, result.job.policy): result for result in results}
    choices: tuple[PolicyChoice, ...] = scenario.choices
    runs, notes = [], dict.fromkeys(assumptions(scenario))
    for setting in settings_of(scenario):
        for index, choice in enumerate(choices):
            for seed in seeds_of(scenario):
                result = found[setting, seed, index]
                bounded = found.get((setting, seed, None))
                if seed == seeds_of(scenario)[-1]:
                    # The last one: a trace says that it is turned around from its second seed on.
                    notes |= dict.fromkeys(_SEED.sub(r"(\1by the seed)", note) for note in result.notes)
                assert result.measured is not None
                runs.append(
                    Run(
                        setting=setting,
                        policy=choice.label,
                        seed=seed,
                        load=result.load,
                        measured=result.measured,
                        bound=None if bounded is None else bounded.bound,
                    )
                )
    return Comparison(
        scenario=scenario,
        policies=tuple(choice.label for choice in choices),
        settings=settings_of(scenario),
        seeds=seeds_of(scenario),
        runs=tuple(runs),
        notes=tuple(notes),
    )
