"""What is to be different: queueing policy, number of GPUs, their product; and how much longer things then take.

Execution times on a product that the log has not seen come from profiles that were measured on both products
(stoker_sim.profiles), one of them drawn for each function and replication; where there is none, from a range that is
said. It knows no log.
"""

import re
from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker_sim.draws import key_of
from stoker_sim.profiles import catalogue

UNKNOWN_RATIOS = (0.5, 0.71, 1.0, 1.41, 2.0)
"""Ours, where no profile was measured on both products: half to twice as long."""
_MEMORY = re.compile(r".*-(\d{1,5})GB")


class BadChange(StokerError):  # noqa: N818  the name states the fact
    """The change cannot be made to the devices of the log. The text says why."""


class Change(Struct, frozen=True, kw_only=True):
    """None and empty: as it was."""

    policy: str | None = None
    gpus: int | None = None
    products: Mapping[str, str] = {}
    """Old product to new one, families (`T4`) or whole names (`L4-24GB`)."""


class Ratios(Struct, frozen=True):
    """How long things take on a new product, over the old one."""

    values: tuple[float, ...]
    known: bool
    """Whether they were measured."""

    @property
    def middle(self) -> float:
        return sorted(self.values)[len(self.values) // 2]

    def drawn(self, seed: int, function: str) -> float:
        """One of them; equal arguments give an equal one."""
        return self.values[key_of(seed, "ratio", function) % len(self.values)]


def changed(devices: tuple[Device, ...], change: Change) -> tuple[tuple[Device, ...], dict[str, str]]:
    """The devices after the change, and the old product of each new one that differs. Raises BadChange."""
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    others = tuple(device for device in devices if device.kind is not DeviceKind.GPU)
    if (change.gpus or change.products) and not gpus:
        raise BadChange("the log has no GPU, so there is none to add or to replace")
    if change.gpus is not None:
        gpus = [_copy(gpus, number) for number in range(change.gpus)]
    was: dict[str, str] = {}
    for old, new in change.products.items():
        hits = [device for device in gpus if _is(device.product, old)]
        if not hits:
            there = ", ".join(dict.fromkeys(device.product for device in gpus)) or "none"
            raise BadChange(f"there is no GPU of product {old} in the log; its products are: {there}")
        for device in hits:
            was[new] = device.product
        gpus = [_replaced(device, new) if device in hits else device for device in gpus]
    if not gpus and not others:
        raise BadChange("no device would be left")
    return (*gpus, *others), was


def ratios(old: str, new: str) -> Ratios:
    """Of execution times on `new` over those on `old`."""
    families = (old.partition("-")[0], new.partition("-")[0])
    if families[0] == families[1]:
        return Ratios((1.0,), known=True)
    both = catalogue(families)
    if not both:
        return Ratios(UNKNOWN_RATIOS, known=False)
    measured = [profile.exec_us[families[1]].value / profile.exec_us[families[0]].value for profile in both]
    return Ratios(tuple(sorted(measured)), known=True)


def _copy(gpus: list[Device], number: int) -> Device:
    if number < len(gpus):
        return gpus[number]
    return replace(gpus[number % len(gpus)], id=f"more-{number}")


def _is(product: str, name: str) -> bool:
    return name in (product, product.partition("-")[0])


def _replaced(device: Device, product: str) -> Device:
    memory = _MEMORY.fullmatch(product)
    return replace(device, product=product, memory_mib=int(memory[1]) * 1024 if memory else device.memory_mib)
