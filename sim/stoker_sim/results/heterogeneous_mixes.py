"""What `heterogeneous` serves: functions that were measured on two GPUs and on a core, in mixes with objectives.

Execution times are medians of twelve warm runs each that the authors of Iluvatar published (COS-IN/iluvatar-faas
083b49b, Analyse/Support/Benchmarks/closedloop-results: d7525-10s10327 on an NVIDIA A30 with AMD EPYC 7302, v-gpu1 on
a Tesla P100): facts, rounded to two or three digits. CPU times are those of the EPYC. Mixes, objectives, prices and
start-up are ours.
"""

from msgspec import Struct

from stoker.model.container import ContainerSpec
from stoker.model.function import (
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    OnMiss,
    Scaling,
    Sharing,
    Slo,
)
from stoker_sim.workload import CPU, Behaviour, SimFunction

MS = 1_000
FAST, SLOW = "A30", "P100"
START_US = 2_000 * MS
"""Ours: from cold to warm, either variant, so that figures are of choices and not of starts."""
PRICES = {FAST: 2.0, SLOW: 1.0, CPU: 0.05}
"""Ours: of a GPU an hour, of a core an hour."""


class Measured(Struct, frozen=True):
    """Median warm execution time in milliseconds."""

    fast: float
    slow: float
    cpu: float

    @property
    def gain(self) -> float:
        """How many times as long a core takes as the faster GPU."""
        return self.cpu / min(self.fast, self.slow)


MEASURED = {
    "isoneural": Measured(9.7, 12.1, 575),
    "cupy": Measured(488, 894, 7970),
    "eos": Measured(5.4, 5.4, 42.6),
    "myocyte": Measured(972, 239, 1510),
    "roberta": Measured(147, 151, 158),
    "squeezenet": Measured(858, 1060, 827),
    "rnn": Measured(29, 27, 16),
}


class Member(Struct, frozen=True):
    """A function of a mix."""

    name: str
    fast_ms: float
    slow_ms: float
    cpu_ms: float
    objective_ms: float
    percentile: float = 99


class Mix(Struct, frozen=True):
    name: str
    what: str
    members: tuple[Member, ...]


def _of(name: str, objective_ms: float, percentile: float = 99) -> Member:
    found = MEASURED[name]
    return Member(name, found.fast, found.slow, found.cpu, objective_ms, percentile)


MIXES = (
    Mix(
        "gainers",
        "all gain more than 4 times from a GPU",
        (_of("isoneural", 1500), _of("cupy", 4000), _of("eos", 150)),
    ),
    Mix(
        "even",
        "none gains much on the faster GPU",
        (_of("roberta", 600), _of("squeezenet", 3000), _of("myocyte", 4000)),
    ),
    Mix(
        "both",
        "two that gain and two that do not",
        (_of("eos", 100), _of("roberta", 500), _of("cupy", 3000), _of("squeezenet", 4000)),
    ),
    Mix(
        "tight",
        "objectives that a core misses for those that gain",
        (_of("isoneural", 150), _of("roberta", 450), _of("rnn", 150), _of("cupy", 2500)),
    ),
    Mix(
        "before",
        "the three functions of ADR 0018, by the slower GPU half as fast again",
        (Member("short", 20, 30, 60, 200), Member("wide", 50, 75, 300, 500), Member("plain", 40, 60, 120, 1000)),
    ),
    Mix(
        "all",
        "all that were measured",
        (
            _of("isoneural", 800),
            _of("cupy", 3000),
            _of("eos", 200),
            _of("myocyte", 5000),
            _of("roberta", 800),
            _of("squeezenet", 4000),
            _of("rnn", 200),
        ),
    ),
    Mix(
        "brisk",
        "short objectives, three that gain and one that does not",
        (_of("eos", 65), _of("rnn", 40), _of("myocyte", 2500), _of("isoneural", 900)),
    ),
    Mix(
        "calm",
        "objectives of many executions on a core",
        (_of("eos", 300), _of("isoneural", 3000), _of("squeezenet", 6000), _of("myocyte", 8000)),
    ),
    Mix(
        "steep",
        "equal on the GPUs, 2 to 30 times as long on a core",
        (
            Member("twice", 30, 45, 60, 300),
            Member("five", 30, 45, 150, 500),
            Member("twelve", 30, 45, 360, 1000),
            Member("thirty", 30, 45, 900, 2000),
        ),
    ),
    Mix("pairs", "much, some and no gain", (_of("isoneural", 1200), _of("rnn", 120), _of("myocyte", 3000))),
    Mix(
        "patient",
        "the functions of `both`, with long objectives",
        (_of("eos", 400), _of("roberta", 1500), _of("cupy", 16000), _of("squeezenet", 8000)),
    ),
    Mix(
        "urgent",
        "objectives that a core just meets",
        (_of("eos", 60), _of("roberta", 320), _of("isoneural", 700), _of("squeezenet", 1800)),
    ),
)
TESTED = ("steep", "pairs", "patient", "urgent")
"""Mixes that nothing was chosen on. They were added when `tight`, `even` and `all` had been seen with a rule that was
given up, and before any run of theirs.
"""
TUNED = tuple(mix.name for mix in MIXES if mix.name not in TESTED)


def function_of(member: Member) -> SimFunction:
    """It permits Divert, and is refused where neither variant would be on time."""
    container = ContainerSpec(image=member.name, cpu_millis=100)
    spec = FunctionSpec(
        container=container,
        gpu=(GpuOption(memory_mib=1_000, sharing=Sharing.SHARED),),
        cpu_variant=CpuVariant(container=ContainerSpec(image=member.name, cpu_millis=1_000), max_replicas=10),
        slo=Slo(latency_us=round(member.objective_ms * MS), percentile=member.percentile),
        timeout_us=60_000 * MS,
        on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE),
        scaling=Scaling(max_replicas=2, keep_alive_ttl_us=30_000 * MS),
    )
    definition = Function(
        namespace="study", name=member.name, uid=member.name, generation=1, revision="0000000001", spec=spec
    )
    times = {FAST: member.fast_ms, SLOW: member.slow_ms, CPU: member.cpu_ms}
    return SimFunction(
        definition=definition,
        behaviour=Behaviour(exec_us={product: round(ms * MS) for product, ms in times.items()}, cold_us=START_US),
    )
