"""What `stoker serve` prints when it is up: where it is, what it serves on what, and what to try. Text only."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function
from stoker.model.quantity import format_duration
from stoker_cli.console import mib
from stoker_cli.describe import url_of


def banner(url: str, internal: str, functions: Mapping[str, Function], devices: Collection[Device], logs: Path) -> str:
    """Several lines without a trailing newline."""
    return "\n".join(_lines(url, internal, functions, devices, logs))


def _lines(
    url: str, internal: str, functions: Mapping[str, Function], devices: Collection[Device], logs: Path
) -> Iterator[str]:
    yield f"Stoker serves at {url} (metrics and health: {internal})"
    yield ""
    yield "functions"
    width = max((len(key) for key in functions), default=0)
    for key, function in sorted(functions.items()):
        yield f"  {key:<{width}}  {url_of(url, function)}  slo {format_duration(function.spec.slo.latency_us)}"
    if not functions:
        yield "  none yet; they appear as soon as a valid .yaml file is there (folders in folders are not read)"
    yield "devices"
    for device in devices:
        health = "" if device.healthy else f", not healthy: {device.reason}"
        cores = f", {device.millicores / 1000:g} cores for functions" if device.kind is DeviceKind.CPU else ""
        yield f"  {device.label}, {mib(device.memory_mib)}{cores}{health}"
    if any(device.simulated for device in devices):
        yield "  Simulated GPUs do the accounting only: the CPU does the work, and every answer says so."
    yield f"output of the functions: {logs}"
    yield "try"
    name = _short(min(functions)) if functions else "FUNCTION"
    yield f"  stoker invoke {name}"
    yield f"  curl -i {url}/{min(functions) if functions else 'NAMESPACE/FUNCTION'}/"
    yield "  stoker top"
    yield "Ctrl-C finishes what was accepted, then ends."


def _short(key: str) -> str:
    return key.removeprefix("default/")
