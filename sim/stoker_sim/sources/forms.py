"""The sources of a workload as a scenario writes them, by `kind`: traces, generators, and what is assumed beside them.

Values only; `making` makes workloads of them. Field names are written in camelCase.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from stoker.model.function import Priority, Sharing
from stoker_sim.generate.zipf import EXPONENT
from stoker_sim.sources.units import Mebibytes, Micros
from stoker_sim.traces.azure_llm import Service
from stoker_sim.traces.azure_public import MINUTES
from stoker_sim.traces.mapping import STRATA, Variation
from stoker_sim.traces.philly import MEDIAN_US
from stoker_sim.traces.spread import Spread

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Positive = Annotated[float, Meta(gt=0, le=1_000_000)]
Load = Annotated[float, Meta(gt=0, lt=1000)]
Minute = Annotated[int, Meta(ge=0, le=MINUTES)]


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Any part of a scenario: a field that is not there is an error."""


class Profiles(StrEnum):
    """Measured models that functions can behave as (stoker_sim.profiles)."""

    NVIDIA = "nvidia"
    """NVIDIA's inference tables: A100, T4, V100."""
    NEXUS = "nexus"
    """Small models with their measured memory: TitanX."""


class Mapped(Form, frozen=True, kw_only=True):
    """Functions are given a profile of about their rank in execution time, at random by the seed."""

    profiles: Profiles = Profiles.NVIDIA
    products: Annotated[tuple[str, ...], Meta(min_length=1)] = ("A100",)
    """The products that the profiles must be measured on; the first is the reference."""
    strata: Count = STRATA
    variation: Variation = Variation.PROFILE


class Source(Form, frozen=True, kw_only=True, tag_field="kind"):
    """What every source may say about its functions; None: as the loader assumes."""

    slo_factor: Positive | None = None
    """Objective over isolated warm median, where no objective is given."""
    start: Micros | None = None
    """From cold to warm."""
    resume: Micros | None = None
    """From hibernated to warm; 0: no function is hibernated."""
    memory: Mebibytes | None = None
    """Of a function of which nothing is said; by default the whole device."""
    sharing: Sharing | None = None
    concurrency: Count | None = None
    timeout: Micros | None = None
    cpu_factor: Positive | None = None
    """There are CPU variants, which take so many times as long."""
    mapped: Mapped | None = None


class Csv(Source, frozen=True, kw_only=True, tag="csv"):
    """`arrival_s,function,tenant,exec_ms[,slo_ms][,memory_mib]`."""

    file: str


class AzureFunctions(Source, frozen=True, kw_only=True, tag="azure-functions"):
    """The project's own sample of 2019: 250 functions, minutes 480 to 960."""

    spread: Spread = Spread.UNIFORM
    begin_minute: Minute = 480
    end_minute: Minute = 960


class AzureFunctions2019(Source, frozen=True, kw_only=True, tag="azure-functions-2019"):
    """The public files, as downloaded."""

    folder: str
    day: Annotated[int, Meta(ge=1, le=14)] = 1
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    spread: Spread = Spread.UNIFORM
    begin_minute: Minute = 0
    end_minute: Minute = MINUTES


class AzureFunctions2021(Source, frozen=True, kw_only=True, tag="azure-functions-2021"):
    """The public file, as downloaded."""

    file: str
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    begin: Micros = Micros(0)
    end: Micros = Micros(14 * 86_400_000_000)


class LlmSource(Source, frozen=True, kw_only=True):
    """How a language model is served."""

    functions: Count = 1
    """Equal functions that the requests are dealt to."""
    batch: Count = 16
    """Answers that one replica makes at a time."""


class AzureLlm(LlmSource, frozen=True, kw_only=True, tag="azure-llm"):
    """Azure's language models of 2023: the project's copy, or a file of that form."""

    service: Service = Service.CONVERSATION
    file: str | None = None


class Mooncake(LlmSource, frozen=True, kw_only=True, tag="mooncake"):
    """Kimi's conversations: the project's copy, or a file of that form."""

    file: str | None = None
    spread_ticks: bool = True


class ServeGen(LlmSource, frozen=True, kw_only=True, tag="servegen"):
    """Alibaba's clients, drawn from their published rates and gaps."""

    model: str = "m-small"
    begin: Micros = Micros(0)
    end: Micros = Micros(3_600_000_000)
    rate: Positive = 1.0


class Philly(Source, frozen=True, kw_only=True, tag="philly"):
    """Arrivals of jobs of eight tenants at a training cluster: the project's copy, or a file of that form."""

    file: str | None = None
    exec: Micros = Micros(MEDIAN_US)
    """Of every job: the trace has no durations."""


class Disb(Source, frozen=True, kw_only=True, tag="disb"):
    """Periodic real-time clients beside best effort ones in closed loops."""

    server: str = "trt"
    best_effort: bool = True


class Kaas(Source, frozen=True, kw_only=True, tag="kaas"):
    """Equal tenants in closed loops, as in Kernel as a Service's benchmark."""

    app: str = "bert"
    tenants: Count = 4
    mode: str = "kaas"
    duration: Micros = Micros(300_000_000)
    outstanding: Count = 8


class Generated(Source, frozen=True, kw_only=True):
    """Functions that a generator sends requests to: namespaces `tenant-0` and so on, names `f-0` and so on."""

    name: Annotated[str, Meta(pattern="^[a-z]([-a-z0-9]{0,40}[a-z0-9])?$")] = "tenant"
    """How the namespaces begin."""
    functions: Count = 8
    tenants: Count = 1
    """Functions are dealt to them in turn."""
    exec: Annotated[tuple[Micros, ...], Meta(min_length=1)] = (Micros(50_000),)
    """Isolated warm median of the functions, in turn."""
    p99_over_p50: Annotated[float, Meta(ge=1)] = 1.0
    priority: Priority = Priority.STANDARD
    duration: Micros = Micros(300_000_000)


class Rated(Generated, frozen=True, kw_only=True):
    """Those whose requests come at a rate."""

    per_second: Positive = 10.0
    """Of all functions together."""
    zipf: Annotated[float, Meta(ge=0)] = EXPONENT
    """Exponent of the rates by rank; 0: all have the same."""


class Poisson(Rated, frozen=True, kw_only=True, tag="poisson"):
    """Arrivals that know nothing of each other."""


class Bursts(Rated, frozen=True, kw_only=True, tag="bursts"):
    """Quiet and bursting in turn (MMPP of two states), each function by itself."""

    ratio: Annotated[float, Meta(ge=1)] = 10.0
    """The rate in a burst over that in quiet times."""
    quiet: Micros = Micros(54_000_000)
    burst: Micros = Micros(6_000_000)


class Periodic(Generated, frozen=True, kw_only=True, tag="periodic"):
    """One request each period, a little off."""

    period: Annotated[tuple[Micros, ...], Meta(min_length=1)] = (Micros(100_000),)
    """Of the functions, in turn."""
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0


class ClosedLoops(Generated, frozen=True, kw_only=True, tag="closed-loops"):
    """Clients that wait for their answer, think, and ask again."""

    clients: Count = 1
    """Of each function."""
    think: Micros = Micros(0)


AnySource = (
    Csv
    | AzureFunctions
    | AzureFunctions2019
    | AzureFunctions2021
    | AzureLlm
    | Mooncake
    | ServeGen
    | Philly
    | Disb
    | Kaas
    | Poisson
    | Bursts
    | Periodic
    | ClosedLoops
)
