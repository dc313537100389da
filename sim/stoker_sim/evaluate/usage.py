"""What devices did in the measured time: GPU-seconds held and used, memory held, useful work, starts, cost.

Held: a residence holds its share of the device's memory, all of it where it is exclusive; with static residence
every GPU is held whole. Used: time in which at least one request ran on the GPU, start-up left out. Useful: isolated
warm execution time of requests that were on time. The cost of a residence is its share of the device's price.
"""

from collections.abc import Mapping

import numpy as np

from stoker.model.device import DeviceKind
from stoker_sim.engine.setup import Form
from stoker_sim.evaluate.sample import CPU_CODE, Counts, Reals, Sample
from stoker_sim.workload import CPU

_HOUR_US = 3_600_000_000


def usage(sample: Sample, form: Form, prices: Mapping[str, float]) -> dict[str, float | None]:
    """By name. `prices`: of a whole device an hour by product (of `cpu`: one core); without any there is no cost."""
    useful_us = sample.isolated_us(sample.requests)
    on_time = sample.requests.on_time
    useful_on_gpu_us = int(useful_us[on_time & sample.on_gpu(sample.requests)].sum())
    rest = sample.whole.residence
    length_us = _clipped(sample, rest.begin_us, rest.end_us)
    gpu = np.array([device.kind is DeviceKind.GPU for device in sample.devices])
    memory_mib = np.array([max(1, device.memory_mib) for device in sample.devices], float)
    on_gpu = gpu[rest.device]
    share = _shares(sample)
    held_us, held_mib_us = float((share * length_us)[on_gpu].sum()), float((rest.memory_mib * length_us)[on_gpu].sum())
    cost: float | None = (
        float(sum((share[at] * length_us[at] * price).sum() for at, price in _priced(sample, prices))) / _HOUR_US
    )
    if form is Form.STATIC:
        whole_us = sample.end_us - sample.begin_us
        held_us, held_mib_us = float(gpu.sum()) * whole_us, float(memory_mib[gpu].sum()) * whole_us
        cost = sum(_price(device.product, prices) * _size(device.millicores, device.kind) for device in sample.devices)
        cost = cost * whole_us / _HOUR_US
    starts = (rest.begin_us >= sample.begin_us) & (rest.begin_us < sample.end_us)
    return {
        "goodput_per_s": float(on_time.sum()) / sample.seconds,
        "useful_gpu_s_per_s": useful_on_gpu_us / 1e6 / sample.seconds,
        "held_gpu_s": held_us / 1e6,
        "held_gib_s": held_mib_us / 1024 / 1e6,
        "used_gpu_s": _used_us(sample) / 1e6,
        "starts": float(starts.sum()),
        "cost": cost if prices else None,
    }


def _clipped(sample: Sample, begin_us: Counts, end_us: Counts) -> Counts:
    """How much of each span is in the measured time."""
    inside_us = np.minimum(end_us, sample.end_us) - np.maximum(begin_us, sample.begin_us)
    return np.asarray(np.maximum(inside_us, 0), np.int64)


def _shares(sample: Sample) -> Reals:
    """The share of its device that each residence holds; of the CPU device, cores."""
    rest = sample.whole.residence
    memory_mib = np.array([max(1, device.memory_mib) for device in sample.devices], float)
    millis = []
    for function in sample.functions:
        variant = function.definition.spec.cpu_variant
        container = function.definition.spec.container if variant is None else variant.container
        millis.append(container.cpu_millis)
    cores = np.array(millis, float)[rest.function] / 1000
    on_gpu = np.where(rest.exclusive, 1.0, rest.memory_mib / memory_mib[rest.device])
    return np.where(np.equal(rest.variant, CPU_CODE), cores, on_gpu)


def _priced(sample: Sample, prices: Mapping[str, float]) -> list[tuple[Counts, float]]:
    """The rows of residences on each device that has a price, and that."""
    device = sample.whole.residence.device
    return [
        (np.flatnonzero(device == index), _price(CPU if its.kind is DeviceKind.CPU else its.product, prices))
        for index, its in enumerate(sample.devices)
    ]


def _price(product: str, prices: Mapping[str, float]) -> float:
    """`A100-40GB` costs what `A100` does where only that has a price."""
    exact = prices.get(product)
    return prices.get(product.partition("-")[0], 0.0) if exact is None else exact


def _size(millicores: int, kind: DeviceKind) -> float:
    """How often a device costs the price of its product."""
    return millicores / 1000 if kind is DeviceKind.CPU else 1.0


def _used_us(sample: Sample) -> float:
    """Time in which each GPU ran something, over all GPUs."""
    whole = sample.whole
    begin_us = np.maximum(whole.dispatch_us + whole.start_us, sample.begin_us)
    end_us = np.minimum(whole.dispatch_us + whole.occupied_us, sample.end_us)
    ran = sample.on_gpu(whole) & (end_us > begin_us)
    return float(
        sum(
            covered_us(begin_us[mine], end_us[mine])
            for mine in (ran & np.equal(whole.device, index) for index in range(len(sample.devices)))
        )
    )


def covered_us(begin_us: Counts, end_us: Counts) -> int:
    """The length of the union of spans."""
    if not len(begin_us):
        return 0
    order = np.argsort(begin_us, kind="stable")
    begin_us, latest_us = begin_us[order], np.maximum.accumulate(end_us[order])
    before_us = np.concatenate([begin_us[:1], latest_us[:-1]])
    return int((latest_us - np.maximum(begin_us, before_us)).sum())
