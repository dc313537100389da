"""Service and demand of each function in windows of the measured time: who got device time, and who could have used it.

Only whole windows count. Service is slot time on GPUs, start-up in the slot included (where there is no GPU: on cores).
A request demands in a window what it could use of it: its remaining time, but no more than from its arrival to the
window's end. One that was refused demands in the window of its arrival, one that expired in the queue as long as it
waited. Requests that ran on another kind of device demand nothing. Knows no fairness.
"""

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.device import DeviceKind
from stoker_sim.evaluate.sample import Reals, Sample
from stoker_sim.evaluate.sums import sums

_PORTION = 1 << 18
"""Requests that are spread over windows at a time."""


class Windows(Struct, frozen=True, eq=False, kw_only=True):
    """One row for each window and function that demands in it, by window and then function."""

    length_us: int
    count: int
    """Of windows."""
    window: NDArray[np.int64]
    function: NDArray[np.int64]
    demand_us: Reals
    service_us: Reals
    capacity_us: float
    """Slot time of one window."""


def windows_of(sample: Sample, length_us: int) -> Windows:
    """Of windows of this length, the first at the end of the warm-up."""
    kind = contended(sample)
    count = (sample.end_us - sample.begin_us) // length_us
    functions = len(sample.functions)
    code = np.empty(0, np.int64)
    demand_us, service_us = np.empty(0), np.empty(0)
    for codes, demands, services in _portions(sample, kind, length_us, count):
        code, inverse = np.unique(np.concatenate([code, codes]), return_inverse=True)
        demand_us = sums(inverse, np.concatenate([demand_us, demands]), len(code))
        service_us = sums(inverse, np.concatenate([service_us, services]), len(code))
    slots = sum(
        device.slots if kind is DeviceKind.GPU else max(1, device.millicores // 1000)
        for device in sample.devices
        if device.kind is kind
    )
    return Windows(
        length_us=length_us,
        count=count,
        window=code // functions,
        function=code % functions,
        demand_us=demand_us,
        service_us=service_us,
        capacity_us=float(slots * length_us),
    )


def contended(sample: Sample) -> DeviceKind:
    """What functions compete for: GPUs, where there is one."""
    return DeviceKind.GPU if any(d.kind is DeviceKind.GPU for d in sample.devices) else DeviceKind.CPU


def _portions(
    sample: Sample, kind: DeviceKind, length_us: int, count: int
) -> Iterator[tuple[NDArray[np.int64], Reals, Reals]]:
    """(window * functions + function, demand, service) of each request in each of its windows, some at a time."""
    whole = sample.whole
    ran = whole.dispatch_us >= 0
    mine = np.flatnonzero(~ran | sample.of_kind(whole, kind))
    work_us = np.where(ran, whole.occupied_us, sample.isolated_us(whole))[mine]
    begin_us = np.where(ran, whole.dispatch_us, -1)[mine] - sample.begin_us
    ran = ran[mine]
    arrival_us = whole.arrival_us[mine] - sample.begin_us
    leave_us = np.where(ran, begin_us + work_us, whole.finish_us[mine] - sample.begin_us)
    function = whole.function[mine].astype(np.int64)
    # A request that ends on the edge of a window is not in the next one; one that was refused is where it came.
    first = np.maximum(arrival_us // length_us, 0)
    last = np.minimum(np.maximum((leave_us - 1) // length_us, arrival_us // length_us), count - 1)
    spans = np.maximum(last - first + 1, 0)
    for at in range(0, len(mine), _PORTION):
        part = np.arange(at, min(at + _PORTION, len(mine)))
        rows = np.repeat(part, spans[part])
        place = np.arange(len(rows)) - np.repeat(np.cumsum(spans[part]) - spans[part], spans[part])
        window = first[rows] + place
        edge_us, until_us = window * length_us, (window + 1) * length_us
        going = ran[rows] & (begin_us[rows] < edge_us)
        remaining_us = np.where(going, leave_us[rows] - edge_us, work_us[rows])
        demand_us = np.minimum(remaining_us, until_us - np.maximum(edge_us, arrival_us[rows]))
        served_us = np.minimum(leave_us[rows], until_us) - np.maximum(begin_us[rows], edge_us)
        service_us = np.where(ran[rows], np.maximum(served_us, 0), 0)
        yield window * len(sample.functions) + function[rows], demand_us.astype(float), service_us.astype(float)
