"""What a device costs an hour: from the administrator's table by product, or from a label of its node. Pure.

Money is integer micro-units of the administrator's currency (1e-6), prices are micro-units an hour of a whole device.
The table (GpuPolicy spec.prices) names products; of `cpu` it names the price of one core, and the CPU device costs that
of the cores that replicas may hold. A product that the table does not name has the price of its family, as in `A100`
for `A100-40GB`. A node's own price goes before the table. A device without any price is free, and that is said.
"""

from collections.abc import Iterable, Mapping

from stoker.model.device import Device, DeviceKind

MICRO = 1_000_000
"""Micro-units of one unit of the currency."""
HOUR_US = 3_600_000_000
CPU = "cpu"

GPU_PRICE_LABEL = "stoker.dev/price-per-hour"
"""Of a node: what each of its GPUs costs an hour. Ours, as is the next."""
CPU_PRICE_LABEL = "stoker.dev/cpu-price-per-hour"
"""Of a node: what one of its cores costs an hour."""
_MOST = 1_000_000.0

Prices = dict[str, int]
"""Micro-units an hour by device id. A device without an entry is free."""


def micro(amount: float) -> int:
    """An amount of the currency in whole micro-units, rounded to the nearest."""
    return round(amount * MICRO)


def listed(product: str, table: Mapping[str, float]) -> float | None:
    """The price of a product, or of its family; None where the table has neither."""
    exact = table.get(product)
    return table.get(product.partition("-")[0]) if exact is None else exact


def price_of(device: Device, table: Mapping[str, float], labels: Mapping[str, str] | None = None) -> int | None:
    """What the whole device costs an hour, in micro-units; None: nobody named a price. `labels` are its node's."""
    is_cpu = device.kind is DeviceKind.CPU
    own = _label(labels or {}, CPU_PRICE_LABEL if is_cpu else GPU_PRICE_LABEL)
    per_hour = listed(CPU if is_cpu else device.product, table) if own is None else own
    if per_hour is None:
        return None
    return micro(per_hour) * device.millicores // 1000 if is_cpu else micro(per_hour)


def prices_of(
    devices: Iterable[Device], table: Mapping[str, float], labels: Mapping[str, Mapping[str, str]] | None = None
) -> Prices:
    """The prices of those devices that have one. `labels`: of nodes, by name."""
    of_node = labels or {}
    priced = ((device.id, price_of(device, table, of_node.get(device.node))) for device in devices)
    return {device_id: price for device_id, price in priced if price is not None}


def unpriced(devices: Iterable[Device], prices: Mapping[str, int]) -> tuple[str, ...]:
    """Products of the devices without a price, sorted: their time is free."""
    return tuple(sorted({device.product for device in devices if device.id not in prices}))


def bad_label(labels: Mapping[str, str]) -> str | None:
    """The first price label of a node that is no price from 0 to a million, for a warning; None: all are fine."""
    for name in (GPU_PRICE_LABEL, CPU_PRICE_LABEL):
        if name in labels and _label(labels, name) is None:
            return name
    return None


def _label(labels: Mapping[str, str], name: str) -> float | None:
    """The price in a label; None where there is none, or no price from 0 to a million."""
    text = labels.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= _MOST else None  # nan is not
