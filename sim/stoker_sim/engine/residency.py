"""Late binding: which functions are resident on which device, what loading one takes, and who is evicted for it.

A copy is one resident instance of a function; it serves as many requests at once as its concurrency. A request takes a
copy that has room, else a new one is made: from cold, or where the function is in host memory over the node's bus.
Copies that run nothing may be evicted. Never more memory is taken than the device has. Knows no queue.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heappush
from typing import Any

from stoker.model.device import Device, DeviceKind
from stoker.policies.eviction.interface import EvictionPolicy, IdleResident
from stoker.policies.prewarm import histogram
from stoker.policies.prewarm.interface import ArrivalHistory
from stoker.policies.queueing.interface import SlotView
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.flows import Flow
from stoker_sim.engine.host import Host
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.engine.setup import Memory

_NO_HISTORY = ArrivalHistory()
_SECOND_US = 1_000_000
_SPARE = 64
"""Entries of copies that are idle no more which are never worth a rebuild."""


class Copy:
    """One resident instance."""

    __slots__ = ("clock", "flow", "home", "idle_number", "idle_since_us", "ready", "row", "running", "swap")

    def __init__(self, flow: Flow, home: "DeviceMemory", row: list[int], now_us: int, *, swap: bool) -> None:
        self.flow = flow
        self.home = home
        self.row = row
        self.swap = swap
        """It comes from host memory."""
        self.ready = False
        self.running = 1
        self.idle_since_us = now_us
        self.idle_number = 0
        """Serial number of its becoming idle."""
        self.clock = 0.0


class DeviceMemory:
    """What is resident on one device, and the views of it that policies are shown."""

    __slots__ = (
        "busy",
        "by_size",
        "clock",
        "copies",
        "device",
        "free",
        "host",
        "idle",
        "idlings",
        "largest",
        "open",
        "roomy",
        "tight",
        "with_room",
        "worths",
    )

    def __init__(self, device: Device, flows: list[Flow], host: Host) -> None:
        self.device = device
        self.host = host
        self.free = (device.memory_mib, device.millicores)
        """Memory and cores that nothing holds."""
        self.busy = (0, 0)
        """Memory and cores of copies that load or run something."""
        self.largest = (max((f.memory_mib for f in flows), default=0), max((f.millicores for f in flows), default=0))
        self.copies: dict[str, int] = {}
        self.idle: dict[Copy, IdleResident] = {}
        """Copies that run nothing, in the order in which they became idle, and how that was then."""
        self.worths: list[tuple[float, int, Copy]] = []
        """A heap of what they are worth, where that stays, and of their serial numbers; some are idle no more."""
        self.idlings = 0
        self.with_room: dict[str, list[Copy]] = {}
        """Ready copies that can take a request, by flow."""
        self.open: dict[str, Flow] = {flow.key: flow for flow in flows}
        """Flows that a request could be popped of, if memory allows."""
        self.by_size: dict[tuple[int, int], dict[str, None]] = {}
        """The same by the memory and cores that they need."""
        for flow in flows:
            self.by_size.setdefault((flow.memory_mib, flow.millicores), {})[flow.key] = None
        self.clock = 0.0
        self.roomy = SlotView(device.id, self.open.keys(), self.with_room.keys())
        self.tight = SlotView(device.id, _Eligible(self), self.with_room.keys())

    def reopen(self, flow: Flow) -> None:
        """Its requests could be popped."""
        if flow.key not in self.open:
            self.open[flow.key] = flow
            self.by_size[flow.memory_mib, flow.millicores][flow.key] = None

    def close(self, flow: Flow) -> None:
        """They could not, whatever memory is free."""
        if self.open.pop(flow.key, None) is not None:
            del self.by_size[flow.memory_mib, flow.millicores][flow.key]

    def could_hold(self, memory_mib: int, millicores: int) -> bool:
        """Whether there is room for one more copy of that size once all idle ones are gone."""
        device, busy = self.device, self.busy
        return memory_mib <= device.memory_mib - busy[0] and millicores <= device.millicores - busy[1]

    def is_roomy(self) -> bool:
        """Whether that holds of every flow."""
        return self.could_hold(*self.largest)


class _Eligible(AbstractSet[str]):
    """The flows that are open and either have a copy with room or memory for a new one; looked up when asked.

    To count them costs a look at each size that flows have and at each resident one.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory

    def __contains__(self, key: object) -> bool:
        memory = self._memory
        if key in memory.with_room:
            return True
        flow = memory.open.get(key)  # type: ignore[call-overload]
        return flow is not None and memory.could_hold(flow.memory_mib, flow.millicores)

    def __iter__(self) -> Iterator[str]:
        memory = self._memory
        for size, flows in memory.by_size.items():
            if memory.could_hold(*size):
                yield from flows
            else:
                yield from (key for key in memory.with_room if key in flows)

    def __len__(self) -> int:
        memory = self._memory
        return sum(
            len(flows) if memory.could_hold(*size) else len(memory.with_room.keys() & flows.keys())
            for size, flows in memory.by_size.items()
        )


class Residency:
    """All devices. `take` and `give_back` around each run, `load` between them where the copy is not ready."""

    def __init__(
        self,
        agenda: Agenda,
        memory: Memory,
        policy: EvictionPolicy,
        hosts: Callable[[str], Host],
        log: ResidenceLog,
    ) -> None:
        """`hosts`: the host of a node, by its name."""
        self._agenda = agenda
        self._limit = memory.copies
        self._bus_mib_per_s = memory.bus_mib_per_s
        self._peer_mib_per_s = memory.peer_mib_per_s
        self._policy = policy
        self._keeps_worths = not policy.fades and memory.peer_mib_per_s is None
        """Whether what a copy is worth stays while it is idle: then nobody is looked at twice."""
        self._hosts = hosts
        self._log = log
        self._devices: list[DeviceMemory] = []
        self._uses: dict[str, int] = {}
        self._resident: dict[str, int] = {}
        """Copies by flow, over all devices."""
        self._ready: dict[str, int] = {}
        """Those of them that are ready."""
        self._first_us: dict[str, int] = {}
        """When a flow began to be resident somewhere."""
        self._histories: dict[str, ArrivalHistory] = {}
        """Of a policy that learns."""
        self._leave = agenda.kind(self._on_leave)
        self._copied = agenda.kind(_call)

    def open(self, device: Device, flows: list[Flow]) -> None:
        """One more device, empty, for these functions. The order of calls is that of the indexes."""
        host = self._hosts(device.node)
        self._devices.append(DeviceMemory(device, flows, host))
        for flow in flows:
            host.know(flow)

    def is_warm(self, device: int, key: str) -> bool:
        """Whether a copy of the flow could take a request there at once."""
        return key in self._devices[device].with_room

    def view(self, device: int) -> SlotView:
        """Who may use a free slot of the device now."""
        memory = self._devices[device]
        return memory.roomy if memory.is_roomy() else memory.tight

    def take(self, device: int, flow: Flow) -> Copy:
        """A copy for one more request: one with room, else a new one that is to be loaded."""
        memory = self._devices[device]
        self._uses[flow.key] = self._uses.get(flow.key, 0) + 1
        self._learn(flow, arrived=True)
        ready = memory.with_room.get(flow.key)
        if ready:
            copy = ready[-1]
            if copy in memory.idle:
                del memory.idle[copy]
                memory.busy = _plus(memory.busy, flow, 1)
            copy.running += 1
            copy.clock = memory.clock
            if copy.running >= flow.concurrency:
                ready.pop()
                self._see_room(memory, flow, ready)
            return copy
        swap = memory.device.kind is DeviceKind.GPU and memory.host.call_up(flow)
        while not (flow.memory_mib <= memory.free[0] and flow.millicores <= memory.free[1]):
            self._evict_one(memory)
        memory.free = _plus(memory.free, flow, -1)
        memory.busy = _plus(memory.busy, flow, 1)
        memory.copies[flow.key] = memory.copies.get(flow.key, 0) + 1
        self._resident[flow.key] = self._resident.get(flow.key, 0) + 1
        now_us = self._agenda.now_us
        self._first_us.setdefault(flow.key, now_us)
        row = self._log.begin(flow.index, flow.variant, memory.device.id, now_us, flow.memory_mib)
        copy = Copy(flow, memory, row, now_us, swap=swap)
        copy.clock = memory.clock
        self._see_room(memory, flow, [])
        return copy

    def load(self, copy: Copy, then: Callable[[Any], None]) -> None:
        """Make a new copy ready; `then` is called at that time."""

        def ready(_: None) -> None:
            memory, flow = copy.home, copy.flow
            copy.ready = True
            self._ready[flow.key] = self._ready.get(flow.key, 0) + 1
            self._log.warm(copy.row, self._agenda.now_us)
            if copy.running < flow.concurrency:
                memory.with_room.setdefault(flow.key, []).append(copy)
                memory.reopen(flow)
            then(None)

        flow = copy.flow
        if self._peer_mib_per_s and flow.behaviour.resume_us and self._ready.get(flow.key):
            self._agenda.at(self._agenda.now_us + self._from_peer_us(flow, self._peer_mib_per_s), self._copied, ready)
        else:
            copy.home.host.load(flow, ready, swap=copy.swap)

    def give_back(self, copy: Copy) -> None:
        """A request of it ended."""
        memory, flow, now_us = copy.home, copy.flow, self._agenda.now_us
        copy.running -= 1
        listed = memory.with_room.setdefault(flow.key, [])
        if copy not in listed:
            listed.append(copy)
        memory.reopen(flow)
        self._learn(flow, arrived=False)
        if copy.running == 0:
            copy.idle_since_us = now_us
            facts = memory.idle[copy] = self._facts(copy)
            memory.busy = _plus(memory.busy, flow, -1)
            if self._keeps_worths:
                memory.idlings = copy.idle_number = memory.idlings + 1
                heappush(memory.worths, (self._policy.value(facts, now_us), copy.idle_number, copy))
                if len(memory.worths) > 2 * len(memory.idle) + _SPARE:
                    memory.worths = [entry for entry in memory.worths if _is_idle(memory, entry)]
                    heapify(memory.worths)
            until_us = self._policy.keep_until_us(facts)
            if until_us is not None:
                self._agenda.at(max(until_us, now_us), self._leave, (copy, now_us))

    def _see_room(self, memory: DeviceMemory, flow: Flow, ready: list[Copy]) -> None:
        """Bring the views up to date when a flow may have lost its last copy with room."""
        if ready:
            return
        memory.with_room.pop(flow.key, None)
        if self._limit is not None and memory.copies.get(flow.key, 0) >= self._limit:
            memory.close(flow)

    def _evict_one(self, memory: DeviceMemory) -> None:
        if self._keeps_worths:
            while not _is_idle(memory, memory.worths[0]):
                heappop(memory.worths)
            worth, _, victim = heappop(memory.worths)
            memory.clock = max(memory.clock, worth)
            self._remove(victim)
            return
        now_us, value, peers = self._agenda.now_us, self._policy.value, self._peer_mib_per_s is not None
        last, worth, _, victim = min(
            (not peers or self._resident[copy.flow.key] == 1, value(facts, now_us), order, copy)
            for order, (copy, facts) in enumerate(memory.idle.items())
        )
        if last:
            memory.clock = max(memory.clock, worth)
        self._remove(victim)

    def _from_peer_us(self, flow: Flow, peer_mib_per_s: int) -> int:
        """As a swap, but for the part that moves bytes; never longer than from the host."""
        behaviour = flow.behaviour
        moved_mib = behaviour.swap_mib or flow.memory_mib
        rest_us = max(0, behaviour.resume_us - moved_mib * _SECOND_US // self._bus_mib_per_s)
        return min(behaviour.resume_us, rest_us + moved_mib * _SECOND_US // peer_mib_per_s)

    def _on_leave(self, subject: tuple[Copy, int]) -> None:
        copy, idle_since_us = subject
        if copy in copy.home.idle and copy.idle_since_us == idle_since_us:
            self._remove(copy)

    def _remove(self, copy: Copy) -> None:
        memory, flow = copy.home, copy.flow
        del memory.idle[copy]
        ready = memory.with_room[flow.key]
        ready.remove(copy)
        memory.copies[flow.key] -= 1
        memory.free = _plus(memory.free, flow, 1)
        memory.reopen(flow)
        if not ready:
            del memory.with_room[flow.key]
        self._resident[flow.key] -= 1
        self._ready[flow.key] -= 1
        if not self._resident[flow.key]:
            del self._uses[flow.key], self._first_us[flow.key]
        self._log.end(copy.row, self._agenda.now_us)
        memory.host.keep(flow)

    def _facts(self, copy: Copy) -> IdleResident:
        flow = copy.flow
        return IdleResident(
            flow=flow.key,
            memory_mib=flow.memory_mib,
            share=_share(flow, copy.home.device),
            reload_us=flow.behaviour.resume_us or flow.behaviour.cold_us,
            exec_us=flow.predicted_us,
            latency_us=flow.latency_us,
            ttl_us=flow.definition.spec.scaling.keep_alive_ttl_us,
            loaded_us=self._first_us[flow.key],
            idle_since_us=copy.idle_since_us,
            uses=self._uses.get(flow.key, 0),
            clock=copy.clock,
            episode=copy.idle_since_us,
            history=self._histories.get(flow.key),
        )

    def _learn(self, flow: Flow, *, arrived: bool) -> None:
        if self._policy.learns:
            now_us = self._agenda.now_us
            history = self._histories.get(flow.key, _NO_HISTORY)
            self._histories[flow.key] = histogram.learn(history, now_us if arrived else None, now_us, busy=True)


def _is_idle(memory: DeviceMemory, entry: tuple[float, int, Copy]) -> bool:
    """Whether the copy has been idle since the entry was made."""
    return entry[2] in memory.idle and entry[2].idle_number == entry[1]


def _call(then: Callable[[Any], None]) -> None:
    then(None)


def _share(flow: Flow, device: Device) -> float:
    """The larger part of the device that a copy holds, of its memory or its cores."""
    cores = flow.millicores / device.millicores if device.millicores else 0.0
    return max(flow.memory_mib / max(1, device.memory_mib), cores)


def _plus(amount: tuple[int, int], flow: Flow, sign: int) -> tuple[int, int]:
    return (amount[0] + sign * flow.memory_mib, amount[1] + sign * flow.millicores)
