"""Workloads from the sources of a scenario, by seed and load.

A seed changes what a source draws; a trace that was recorded once is rotated. A load scales the rates of a generator
at the same duration, and compresses the time of a trace. Knows no policy.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Sharing
from stoker_sim import profiles
from stoker_sim.arrangement import merged
from stoker_sim.assumptions import Assumptions
from stoker_sim.sources import forms
from stoker_sim.sources.generated import generated
from stoker_sim.sources.rotation import rotated
from stoker_sim.traces import (
    azure_functions,
    azure_llm,
    azure_public,
    disb,
    kaas,
    mooncake,
    philly,
    plain_csv,
    servegen,
)
from stoker_sim.traces.llm_requests import Serving
from stoker_sim.traces.mapping import mapped
from stoker_sim.workload import Workload

_COMPRESSED = "the time of the trace is compressed or stretched so that the load is as named"


class BadSource(StokerError):  # noqa: N818  the name states the fact
    """A source cannot give what the scenario asks for. The text says why."""


def make(
    sources: Sequence[forms.AnySource], devices: Sequence[Device], folder: Path, seed: int, load: float | None = None
) -> Workload:
    """All sources together, at a load (offered warm GPU time over capacity) or as they are.

    Raises BadTrace, BadWorkload and BadSource. File names are looked for from `folder` on.
    """
    work = _all(sources, devices, folder, seed, 1.0)
    if load is None:
        return work
    now = load_of(work, devices)
    if now == 0:
        raise BadSource("only arrivals have a load; clients in closed loops ask as fast as they are answered")
    return _all(sources, devices, folder, seed, load / now)


def load_of(workload: Workload, devices: Sequence[Device]) -> float:
    """Offered warm GPU time over what the slots of all GPUs give in the time; of the cores where there is no GPU.

    With several products the capacity is what each would do of it alone, added up.
    """
    on_gpu = any(device.kind is DeviceKind.GPU for device in devices)
    capacity = 0.0
    for device in devices:
        if (device.kind is DeviceKind.GPU) is not on_gpu:
            continue
        work_us = int(workload.exec_on(device.product).sum())
        slots = device.slots if on_gpu else max(1, device.millicores // 1000)
        capacity += slots * workload.horizon_us / work_us if work_us else 0.0
    return 1 / capacity if capacity else 0.0


def _all(
    sources: Sequence[forms.AnySource], devices: Sequence[Device], folder: Path, seed: int, factor: float
) -> Workload:
    memory_mib = min((d.memory_mib for d in devices if d.kind is DeviceKind.GPU), default=0)
    parts = [_one(source, memory_mib, folder, seed, factor) for source in sources]
    return parts[0] if len(parts) == 1 else merged(*parts)


def _one(source: forms.AnySource, memory_mib: int, folder: Path, seed: int, factor: float) -> Workload:
    base = _base(source)
    whole_mib = memory_mib or base.device_memory_mib
    given = replace(base, **{"seed": seed, "device_memory_mib": whole_mib, **said(source)})
    if isinstance(source, forms.Generated):
        work = generated(source, given, factor)
    else:
        work = _trace(source, given, folder)
        if factor != 1.0:
            work = replace(work.scaled(factor), arrival_notes=(*work.arrival_notes, _COMPRESSED))
    return work if source.mapped is None else _mapped(work, source, source.mapped, given)


def _base(source: forms.AnySource) -> Assumptions:
    """What holds of it where the scenario says nothing."""
    if isinstance(source, forms.Disb):
        return disb.DEFAULTS
    if isinstance(source, forms.Kaas):
        return Assumptions(start_us=profiles.context_us().value, sharing=Sharing.SHARED)
    return Assumptions()


def said(source: forms.Source) -> dict[str, Any]:
    """What the source says of its functions, by the names of Assumptions."""
    every = {
        "slo_factor": source.slo_factor,
        "start_us": source.start,
        "resume_us": source.resume,
        "device_memory_mib": source.memory,
        "sharing": source.sharing,
        "concurrency": source.concurrency,
        "timeout_us": source.timeout,
        "cpu_factor": source.cpu_factor,
    }
    return {name: value for name, value in every.items() if value is not None}


def _trace(source: forms.AnySource, given: Assumptions, folder: Path) -> Workload:
    match source:
        case forms.Csv():
            return rotated(plain_csv.load(folder / source.file, given), given.seed)
        case forms.AzureFunctions():
            return azure_functions.sample(source.spread, given, source.begin_minute, source.end_minute)
        case forms.AzureFunctions2019():
            return azure_public.load_2019(
                folder / source.folder,
                source.day,
                source.spread,
                given,
                share=source.share,
                begin_minute=source.begin_minute,
                end_minute=source.end_minute,
            )
        case forms.AzureFunctions2021():
            work = azure_public.load_2021(
                folder / source.file, given, share=source.share, begin_s=source.begin / 1e6, end_s=source.end / 1e6
            )
            return rotated(work, given.seed)
        case forms.AzureLlm():
            if source.file is None:
                work = azure_llm.sample(source.service, _serving(source), given)
            else:
                work = azure_llm.load(folder / source.file, "llm", _serving(source), given)
            return rotated(work, given.seed)
        case forms.Mooncake():
            path = None if source.file is None else folder / source.file
            work = mooncake.load(path, _serving(source), given, spread_ticks=source.spread_ticks)
            return rotated(work, given.seed)
        case forms.ServeGen():
            return servegen.load(
                source.model,
                given,
                _serving(source),
                begin_s=source.begin // 1_000_000,
                end_s=source.end // 1_000_000,
                rate=source.rate,
            )
        case forms.Philly():
            path = None if source.file is None else folder / source.file
            return rotated(philly.load(path, given, exec_us=source.exec), given.seed)
        case forms.Disb():
            return rotated(disb.load(None, given, server=source.server, best_effort=source.best_effort), given.seed)
        case forms.Kaas():
            _check_kaas(source)
            return kaas.tenants(
                source.app,
                source.tenants,
                source.mode,
                horizon_us=source.duration,
                given=given,
                outstanding=source.outstanding,
            )
    raise AssertionError(f"no trace is of the kind {type(source).__name__}")


def _serving(source: forms.LlmSource) -> Serving:
    serving = Serving(functions=source.functions, batch=source.batch)
    return serving if source.start is None else replace(serving, start_us=source.start)


def _check_kaas(source: forms.Kaas) -> None:
    known = profiles_of_kaas()
    if (source.app, source.mode) not in known:
        pairs = ", ".join(f"{app} {mode}" for app, mode in known)
        raise BadSource(f"the benchmark has no {source.app} in the mode {source.mode}; there are {pairs}")


def profiles_of_kaas() -> tuple[tuple[str, str], ...]:
    """(app, mode) that were measured alone."""
    return tuple(sorted(kaas.isolated()))


def _mapped(work: Workload, source: forms.Source, how: forms.Mapped, given: Assumptions) -> Workload:
    if how.profiles is forms.Profiles.NVIDIA:
        catalogue = profiles.catalogue(how.products)
    else:
        catalogue = tuple(p for p in profiles.small_gpu_catalogue() if set(how.products) <= set(p.exec_us))
    if not catalogue:
        raise BadSource(f"no profile is measured on {' and '.join(how.products)}")
    if source.sharing is None:
        given = replace(given, sharing=Sharing.SHARED)
    return mapped(work, catalogue, how.products, given.seed, given, strata=how.strata, variation=how.variation)
