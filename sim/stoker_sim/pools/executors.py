"""Shared executors: one on each device, for all tenants, one request at a time, with a cache of device buffers.

Takes the place of stoker_sim.engine.residency under the engine's pool, so that its queueing policies decide as they do
everywhere: `fcfs` is KaaS' policy balance, `cfs-affinity` its policy affinity, whose `warm` flows are the tenants that
prefer the device. What a request misses on the device is copied there first; each device has a bus of its own.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from stoker.model.device import Device
from stoker.policies.queueing.interface import SlotView
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.flows import Flow
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.pools.buffers import Buffer, BufferCache, Reserve
from stoker_sim.pools.footprint import Footprint

_SECOND_US = 1_000_000
_MIB = 1 << 20


class Use:
    """One request on an executor."""

    __slots__ = ("buffers", "cache", "copied", "ready")

    def __init__(self, cache: BufferCache, buffers: tuple[Buffer, ...], copied: int) -> None:
        self.cache = cache
        self.buffers = buffers
        self.copied = copied
        """Bytes that have to come over the bus before it can run."""
        self.ready = copied == 0


class Executors:
    """See the module; the methods are those of stoker_sim.engine.places.Places."""

    def __init__(
        self,
        agenda: Agenda,
        log: ResidenceLog,
        footprint: Footprint,
        *,
        capacity: int,
        bytes_per_s: int,
        reserve: Reserve,
        preferred: Mapping[str, frozenset[str]] | None,
    ) -> None:
        """`capacity`: bytes of one device that buffers may take; `preferred`: tenants by device, None: any."""
        self._agenda = agenda
        self._log = log
        self._footprint = footprint
        self._capacity = capacity
        self._bytes_per_s = bytes_per_s
        self._reserve = reserve
        self._preferred = preferred
        self._views: list[SlotView] = []
        self._numbers = count()
        self._copied = agenda.kind(_call)
        self.caches: list[BufferCache] = []
        """By index of the device."""

    def open(self, device: Device, flows: list[Flow]) -> None:
        """One more device with a warm executor, whose context it holds from the start."""
        keys = frozenset(flow.key for flow in flows)
        warm = None if self._preferred is None else self._preferred[device.id]
        self._views.append(SlotView(device.id, keys, warm))
        self.caches.append(BufferCache(self._capacity, self._reserve))
        if flows:
            row = self._log.begin(flows[0].index, flows[0].variant, device.id, 0, device.memory_mib, exclusive=True)
            self._log.warm(row, 0)

    def is_warm(self, device: int, key: str) -> bool:
        """Whether the tenant prefers the device."""
        return self._preferred is not None and key in self._preferred[self._views[device].device_id]

    def view(self, device: int) -> SlotView:
        """All tenants may use it."""
        return self._views[device]

    def take(self, device: int, flow: Flow) -> Use:
        """Pin the buffers of one more request."""
        cache = self.caches[device]
        buffers = self._footprint.of_request(flow.key, next(self._numbers))
        return Use(cache, buffers, cache.pin(buffers))

    def load(self, place: Use, then: Callable[[Any], None]) -> None:
        """Copy what is missing."""
        copied_us = -(-place.copied * _SECOND_US // self._bytes_per_s)
        self._agenda.at(self._agenda.now_us + copied_us, self._copied, then)

    @staticmethod
    def give_back(place: Use) -> None:
        """Its request ended."""
        place.cache.release(place.buffers)


def buffer_bytes(device_mib: int, context_mib: int, margin_mib: int) -> int:
    """What is left of a device for buffers, in bytes."""
    return (device_mib - context_mib - margin_mib) * _MIB


def _call(then: Callable[[Any], None]) -> None:
    then(None)
