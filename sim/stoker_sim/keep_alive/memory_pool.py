"""Keep-alive as a cache: containers of bounded memory in all, each serving one invocation at a time, never queueing.

Source: the simulator of FaasCache (A. Fuerst and P. Sharma, ASPLOS'21, https://github.com/aFuerst/faascache-sim). An
invocation takes an idle container of its function, else a new one, for which idle ones are evicted in the order of the
policy; where running ones leave no room it is dropped. A cold invocation lasts the cold time, every other the warm
time. As there, the frequency of a function is that of its living containers, and what falls with it is seen when the
function is used again. The policies are objects of the eviction interface whose values do not read the clock.
"""

from collections.abc import Sequence
from heapq import heappop, heappush, heapreplace

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.policies.eviction.interface import EvictionPolicy, IdleResident
from stoker_sim.workload import Times

_GONE = -1


class Kind(Struct, frozen=True):
    """One function, in microseconds and MiB."""

    key: str
    memory_mib: int
    warm_us: int
    cold_us: int
    """Of a whole cold invocation, start-up included."""


class PoolTally(Struct, frozen=True, eq=False):
    """By function."""

    warm: NDArray[np.int64]
    cold: NDArray[np.int64]
    dropped: NDArray[np.int64]

    def overhead(self, kinds: Sequence[Kind]) -> float:
        """Time that cold starts added, over the time that all invocations that ran would have taken warm."""
        warm_us = np.array([kind.warm_us for kind in kinds])
        extra_us = np.array([kind.cold_us for kind in kinds]) - warm_us
        return float((self.cold * extra_us).sum() / ((self.warm + self.cold) * warm_us).sum())


class _Container:
    __slots__ = ("clock", "function", "idle_since_us", "memory_mib", "stamp", "uses")

    def __init__(self, function: int, memory_mib: int) -> None:
        self.function = function
        self.memory_mib = memory_mib
        self.idle_since_us = 0
        self.clock = 0.0
        self.uses = 0
        self.stamp = 0
        """Of the period, idle or running, that it is in; _GONE: it is no more."""


class MemoryPool:
    """One run."""

    def __init__(self, kinds: Sequence[Kind], capacity_mib: int, policy: EvictionPolicy) -> None:
        self._kinds = kinds
        self._free = capacity_mib
        self._policy = policy
        self._clock = 0.0
        self._stamps = 0
        self._uses = [0] * len(kinds)
        """Of all living containers of the function."""
        self._fell: set[int] = set()
        """Functions that lost containers since they were used last."""
        self._idle: list[list[_Container]] = [[] for _ in kinds]
        """By function; the one that was used last is last."""
        self._idle_mib = 0
        self._order: list[tuple[float, int, _Container]] = []
        """Idle containers by value, outdated entries among them: a value may have grown since."""
        self._running: list[tuple[int, int, _Container]] = []
        self._leaving: list[tuple[int, int, _Container]] = []
        counts = [np.zeros(len(kinds), np.int64) for _ in range(3)]
        self.tally = PoolTally(*counts)

    def play(self, time_us: Times, function: NDArray[np.int32], lasts_us: Times | None = None) -> PoolTally:
        """All invocations, in order of time; `lasts_us`: how long each runs when warm, instead of its kind's time."""
        warm_us = [kind.warm_us for kind in self._kinds]
        lasts = np.array(warm_us)[function] if lasts_us is None else lasts_us
        for now_us, index, last_us in zip(time_us.tolist(), function.tolist(), lasts.tolist(), strict=True):
            self._until(now_us)
            self._invoke(now_us, index, last_us)
        return self.tally

    def _until(self, now_us: int) -> None:
        """Let end what ends by now, and leave what leaves."""
        while self._running and self._running[0][0] <= now_us:
            end_us, _, container = heappop(self._running)
            self._rest(container, end_us)
        while self._leaving and self._leaving[0][0] < now_us:
            _, stamp, container = heappop(self._leaving)
            if container.stamp == stamp:
                self._remove(container)

    def _invoke(self, now_us: int, index: int, lasts_us: int) -> None:
        kind = self._kinds[index]
        idle = self._idle[index]
        if idle:
            container = idle.pop()
            self._idle_mib -= kind.memory_mib
            self.tally.warm[index] += 1
        else:
            if not self._make_room(kind.memory_mib):
                self.tally.dropped[index] += 1
                return
            container = _Container(index, kind.memory_mib)
            lasts_us += kind.cold_us - kind.warm_us
            self._free -= kind.memory_mib
            self.tally.cold[index] += 1
        self._uses[index] += 1
        container.uses += 1
        if index in self._fell:
            self._fell.remove(index)
            for other in idle:
                heappush(self._order, (self._value(other), other.stamp, other))
        container.clock = self._clock
        container.stamp = self._next_stamp()
        heappush(self._running, (now_us + lasts_us, container.stamp, container))

    def _rest(self, container: _Container, now_us: int) -> None:
        container.idle_since_us = now_us
        container.stamp = stamp = self._next_stamp()
        self._idle[container.function].append(container)
        self._idle_mib += container.memory_mib
        heappush(self._order, (self._value(container), stamp, container))
        until_us = self._policy.keep_until_us(self._facts(container))
        if until_us is not None:
            heappush(self._leaving, (until_us, stamp, container))

    def _make_room(self, size_mib: int) -> bool:
        """Evict idle ones, least value first, until there is room; nobody is evicted where that cannot help."""
        if self._free >= size_mib:
            return True
        if self._free + self._idle_mib < size_mib:
            return False
        order = self._order
        while self._free < size_mib:
            least, stamp, container = order[0]
            if container.stamp != stamp:
                heappop(order)
                continue
            value = self._value(container)
            if value > least:
                heapreplace(order, (value, stamp, container))
                continue
            heappop(order)
            self._clock = max(self._clock, value)
            self._remove(container)
        return True

    def _remove(self, container: _Container) -> None:
        container.stamp = _GONE
        self._idle[container.function].remove(container)
        self._idle_mib -= container.memory_mib
        self._free += container.memory_mib
        self._uses[container.function] -= container.uses
        self._fell.add(container.function)

    def _value(self, container: _Container) -> float:
        return self._policy.value(self._facts(container), container.idle_since_us)

    def _facts(self, container: _Container) -> IdleResident:
        kind = self._kinds[container.function]
        return IdleResident(
            flow=kind.key,
            memory_mib=kind.memory_mib,
            reload_us=kind.cold_us - kind.warm_us,
            exec_us=kind.warm_us,
            loaded_us=0,
            idle_since_us=container.idle_since_us,
            uses=self._uses[container.function],
            clock=container.clock,
        )

    def _next_stamp(self) -> int:
        self._stamps += 1
        return self._stamps
