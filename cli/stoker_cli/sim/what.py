"""What is to be simulated: a scenario file, some of it replaced, or one made of a trace and a few options."""

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from stoker.model.quantity import parse_duration_us, parse_memory_mib
from stoker_cli.console import CommandFailed
from stoker_sim.scenario import BadScenario, DeviceChoice, Scenario, check
from stoker_sim.scenario_file import read_scenario
from stoker_sim.sources.forms import Csv
from stoker_sim.sources.units import Mebibytes, Micros

POLICIES = ("fcfs", "mqfq-sticky", "least-slack")
"""Compared on a trace where none are named."""
SEEDS = 5
"""On a trace where their number is not given."""
_TRACE_ONLY = ("gpus", "gpu_memory", "start")


class Wanted(Struct, frozen=True, kw_only=True):
    """The options as given."""

    scenario: str | None = None
    trace: str | None = None
    gpus: int | None = None
    gpu_memory: str | None = None
    start: str | None = None
    policies: str | None = None
    loads: str | None = None
    seeds: int | None = None


def scenario_of(wanted: Wanted) -> tuple[Scenario, Path]:
    """The scenario, and the folder that its files are looked for in. Raises StokerError with one sentence."""
    if wanted.trace is not None:
        if wanted.scenario is not None:
            raise CommandFailed("Give either SCENARIO.yaml or --trace, not both.")
        scenario, folder = _of_trace(wanted, Path(wanted.trace))
    elif wanted.scenario is not None:
        for name in _TRACE_ONLY:
            if getattr(wanted, name) is not None:
                raise CommandFailed(f"--{name.replace('_', '-')} goes with --trace; write it into {wanted.scenario}.")
        path = Path(wanted.scenario)
        scenario, folder = read_scenario(path), path.parent
    else:
        raise CommandFailed("Name a SCENARIO.yaml, or give --trace FILE.csv and --gpus N.")
    scenario = _replaced(scenario, wanted)
    try:
        check(scenario)
    except BadScenario as error:
        # The scenario was checked when it was read: what is wrong now comes from an option.
        option = "--loads" if error.field.startswith("loads") else "--policies"
        raise CommandFailed(f"{option}: {error.reason}") from None
    return scenario, folder


def _of_trace(wanted: Wanted, path: Path) -> tuple[Scenario, Path]:
    if wanted.gpus is None:
        raise CommandFailed("--trace needs --gpus N: how many GPUs there are.")
    memory = parse_memory_mib("40Gi" if wanted.gpu_memory is None else wanted.gpu_memory, "--gpu-memory")
    start = None if wanted.start is None else Micros(parse_duration_us(wanted.start, "--start"))
    scenario = Scenario(
        name=path.stem,
        workload=Csv(file=path.name, start=start),
        devices=(DeviceChoice(product="GPU", memory=Mebibytes(memory), count=wanted.gpus),),
        policies=POLICIES,
        seeds=SEEDS,
    )
    return scenario, path.parent


def _replaced(scenario: Scenario, wanted: Wanted) -> Scenario:
    if wanted.policies is not None:
        names = tuple(name.strip() for name in wanted.policies.split(",") if name.strip())
        if not names:
            raise CommandFailed("--policies names none; write them with commas, as in fcfs,mqfq-sticky.")
        scenario = replace(scenario, policies=names)
    if wanted.loads is not None:
        scenario = replace(scenario, loads=_loads(wanted.loads))
    return scenario if wanted.seeds is None else replace(scenario, seeds=wanted.seeds)


def _loads(text: str) -> tuple[float, ...]:
    try:
        loads = tuple(float(part) for part in text.split(","))
    except ValueError:
        loads = ()
    if not loads or not all(0 < load < 1000 for load in loads):
        raise CommandFailed(f"--loads: {text!r} are no loads; write numbers above 0, as in 0.5,0.9,1.2.")
    return loads
