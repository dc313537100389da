"""Which functions and variants the devices here could ever hold, were they all empty. Pure."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from stoker.model.device import Device
from stoker.model.fitting import fits_any
from stoker.model.function import Function, Variant


def misfit(function: Function, devices: Sequence[Device]) -> str | None:
    """Why no replica of any variant could ever be placed, in one sentence; None where one can."""
    reasons = [_misfit_of(function, variant, devices) for variant in function.variants]
    # The primary's reason: it is what the user asked for.
    return reasons[0] if None not in reasons else None


def unplaceable(functions: Iterable[Function], devices: Sequence[Device]) -> dict[str, dict[Variant, str]]:
    """By function key: its variants that could never be placed, and why."""
    found: dict[str, dict[Variant, str]] = {}
    for function in functions:
        for variant in function.variants:
            if (reason := _misfit_of(function, variant, devices)) is not None:
                found.setdefault(function.key, {})[variant] = reason
    return found


def _misfit_of(function: Function, variant: Variant, devices: Sequence[Device]) -> str | None:
    if variant is not function.primary:
        # fits_any judges the primary variant: without its GPU form the CPU one is.
        function = replace(function, spec=replace(function.spec, gpu=()))
    return fits_any(function, devices)
