"""What a trace does not say of a function, and the GpuFunction that follows: objectives, memory, start-up.

Every value here is ours until the user or a profile gives another; what acted is said in Workload.notes. It knows no
file format.
"""

import re
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from stoker import names
from stoker.model.container import ContainerSpec
from stoker.model.function import (
    CpuVariant,
    Function,
    FunctionSpec,
    GpuOption,
    Priority,
    Scaling,
    Sharing,
    Slo,
)
from stoker_sim.workload import CPU, Behaviour, SimFunction


class Assumptions(Struct, frozen=True, kw_only=True):
    """Times are microseconds."""

    slo_factor: float = 5.0
    """Objective over the isolated warm median of the function."""
    start_us: int = 5_000_000
    """From cold to warm."""
    resume_us: int = 0
    """From hibernated to warm; 0: no function is hibernated."""
    device_memory_mib: int = 40_960
    """What a function takes of whose memory nothing is said: the whole device."""
    sharing: Sharing = Sharing.EXCLUSIVE
    concurrency: int = 1
    timeout_us: int = 60_000_000
    """At least; a function whose objective is longer has that."""
    cpu_factor: float | None = None
    """Execution time on the CPU over that on the reference product; None: no function has a CPU variant."""
    cpu_millis: int = 4000
    seed: int = 0
    """Of whatever a loader draws."""

    def notes(self, *, memory: bool = True) -> tuple[str, ...]:
        """The sentences that a report prints; `memory`: whether functions take the whole device."""
        said = [
            f"objectives are {self.slo_factor:g} times the median execution time where none is given",
            f"every start-up takes {self.start_us / 1e6:g} s where none is given",
        ]
        if memory:
            said.append(
                f"a replica takes the whole device ({self.device_memory_mib} MiB) where no amount of memory is given"
            )
        if self.cpu_factor is not None:
            said.append(f"on the CPU everything takes {self.cpu_factor:g} times as long (assumed)")
        return tuple(said)

    def objective_us(self, median_us: float) -> int:
        """By the factor; at least 1."""
        return max(1, round(self.slo_factor * median_us))


def declared(
    namespace: str,
    name: str,
    behaviour: Behaviour,
    given: Assumptions,
    *,
    memory_mib: int | None = None,
    slo_us: int | None = None,
    longest_us: int = 0,
    labels: dict[str, str] | None = None,
    priority: Priority = Priority.STANDARD,
) -> SimFunction:
    """A function of a trace as its owner would declare it: what is None comes from `given`.

    `longest_us`: what the timeout must not cut, as the longest objective of one of its requests.
    """
    objective_us = slo_us or given.objective_us(behaviour.median_us)
    if given.cpu_factor is not None and CPU not in behaviour.exec_us:
        on_cpu = max(1, round(given.cpu_factor * behaviour.median_us))
        behaviour = replace(behaviour, exec_us={**behaviour.exec_us, CPU: on_cpu})
    memory = memory_mib or given.device_memory_mib
    return SimFunction(
        definition=Function(
            namespace=namespace,
            name=name,
            uid=f"{namespace}/{name}",
            generation=1,
            spec=FunctionSpec(
                container=ContainerSpec(),
                gpu=(GpuOption(memory_mib=memory, sharing=given.sharing),),
                cpu_variant=CpuVariant(container=ContainerSpec(cpu_millis=given.cpu_millis))
                if CPU in behaviour.exec_us
                else None,
                slo=Slo(latency_us=objective_us),
                timeout_us=max(given.timeout_us, objective_us, longest_us),
                priority=priority,
                scaling=Scaling(concurrency=given.concurrency),
            ),
            revision=names.revision_of(f"{namespace}/{name}".encode()),
            labels=labels or {},
        ),
        behaviour=behaviour,
    )


def dns_labels(texts: tuple[str, ...]) -> tuple[str, ...]:
    """A distinct DNS label for each of these distinct texts: itself where it is one, else as like it as can be."""
    taken = {text for text in texts if names.is_dns_label(text)}
    return tuple(text if text in taken else _label(text, taken) for text in texts)


def _label(text: str, taken: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    label, digits = plain, 8
    while not label or len(label) > names.LABEL_MAX or label in taken:
        label = f"{plain[: names.LABEL_MAX - digits - 1] or 'f'}-{sha256(text.encode()).hexdigest()[:digits]}"
        digits += 1
    taken.add(label)
    return label
