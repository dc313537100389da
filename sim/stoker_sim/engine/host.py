"""Host memory of a node, where evicted functions are kept alive, and what it takes to bring one to a device."""

from collections.abc import Callable

from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.bus import Bus
from stoker_sim.engine.flows import Flow
from stoker_sim.engine.setup import Memory

_SECOND_US = 1_000_000


class Host:
    """One node. A function that can be hibernated stays here when it is evicted; the oldest goes when room lacks.

    A swap takes Behaviour.resume_us on an idle bus: the part that moves bytes shares the bus, the rest follows it.
    """

    __slots__ = ("_agenda", "_bus", "_kept", "_loaded", "_memory", "_used_mib")

    def __init__(self, agenda: Agenda, memory: Memory) -> None:
        self._agenda = agenda
        self._memory = memory
        self._bus = Bus(agenda)
        self._kept: dict[Flow, int] = {}
        """MiB; insertion order is age."""
        self._used_mib = 0
        self._loaded = agenda.kind(_call)

    def know(self, flow: Flow) -> None:
        """A function that may run on this node."""
        flow.start_us = flow.behaviour.cold_us
        if self._memory.in_host_at_start:
            self.keep(flow)

    def keep(self, flow: Flow) -> None:
        """It was evicted from a device. Policies are told what its next start takes on an idle bus."""
        if not flow.behaviour.resume_us:
            return
        self._used_mib += flow.memory_mib - self._kept.pop(flow, 0)
        self._kept[flow] = flow.memory_mib
        flow.start_us = flow.behaviour.resume_us
        bound_mib = self._memory.host_mib
        while bound_mib is not None and self._used_mib > bound_mib:
            oldest = next(iter(self._kept))
            self._used_mib -= self._kept.pop(oldest)
            oldest.start_us = oldest.behaviour.cold_us

    def call_up(self, flow: Flow) -> bool:
        """It is about to be loaded: whether that is a swap. It counts as used now, before others are evicted for it."""
        size_mib = self._kept.pop(flow, None)
        if size_mib is None:
            return False
        self._kept[flow] = size_mib
        return True

    def load(self, flow: Flow, then: Callable[[None], None], *, swap: bool) -> None:
        """Bring it to a device, by a swap or from cold; `then` is called when it is ready."""
        behaviour, agenda = flow.behaviour, self._agenda
        if not swap:
            agenda.at(agenda.now_us + behaviour.cold_us, self._loaded, then)
            return
        moved_us = min(behaviour.resume_us, self._transfer_us(flow))

        def arrived(_: None) -> None:
            agenda.at(agenda.now_us + behaviour.resume_us - moved_us, self._loaded, then)

        self._bus.transfer(moved_us, arrived, None)

    def _transfer_us(self, flow: Flow) -> int:
        moved_mib = flow.behaviour.swap_mib or flow.memory_mib
        return moved_mib * _SECOND_US // self._memory.bus_mib_per_s


def _call(then: Callable[[None], None]) -> None:
    then(None)
