"""What a keep-alive policy and a pre-warm policy make of every idle gap: how long memory is held, and whether the next
request finds the function warm.

The policies are the core's own objects, asked as plan() asks them: the keep-alive policy when the function becomes
idle, the pre-warm policy then and whenever it says that its word may change (stoker.control.prewarming, with its lead).
The history is folded by the core too. What a policy learnt from a gap acts in the next one. There is always a device.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.control import prewarming
from stoker.control.planning import PlanParams
from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.interface import EvictionPolicy, IdleResident
from stoker.policies.prewarm import histogram
from stoker.policies.prewarm.interface import ArrivalHistory
from stoker_sim.keep_alive.gaps import Gaps

_NEVER = 1 << 62
_NO_HISTORY = ArrivalHistory()


class Kept(Struct, frozen=True, eq=False):
    """Of each gap of one function."""

    held_us: NDArray[np.int64]
    """How long a replica held memory in the gap, pre-warming starts included."""
    cold: NDArray[np.bool_]
    """Whether the request that ended the gap waited for a start."""


class KeepAlive:
    """One way to keep functions warm; remembers nothing of a function."""

    def __init__(
        self,
        policy: EvictionPolicy,
        pre_warm: PreWarmPolicy = PreWarmPolicy.NONE,
        *,
        device_mib: int = 0,
    ) -> None:
        """`device_mib`: of the device that functions take a part of; 0: each counts as holding a whole one."""
        self._policy = policy
        self._params = PlanParams(pre_warm=pre_warm)
        self._brings_back = pre_warm is not PreWarmPolicy.NONE
        self.learns = policy.learns or self._brings_back
        """Whether it looks at the history."""
        self._device_mib = device_mib

    def keep(self, gaps: Gaps, history: ArrivalHistory, at: int) -> tuple[int, bool]:
        """Of one gap: for how long memory is held, and whether the request that ends it is cold.

        `history`: of the idle times before it, as of its begin.
        """
        begin_us, end_us = int(gaps.begin_us[at]), int(gaps.end_us[at])
        leaves_us = self._leaves_us(gaps, history, begin_us, at)
        if leaves_us >= end_us:
            return end_us - begin_us, False
        return self._left(gaps, history, (begin_us, end_us), leaves_us)

    def _leaves_us(self, gaps: Gaps, history: ArrivalHistory, begin_us: int, at: int) -> int:
        """When the replica that became idle goes."""
        until_us = self._policy.keep_until_us(
            IdleResident(
                flow=gaps.definition.key,
                memory_mib=gaps.memory_mib,
                share=min(1.0, gaps.memory_mib / self._device_mib) if self._device_mib else 1.0,
                reload_us=gaps.start_us,
                exec_us=gaps.exec_us,
                latency_us=gaps.definition.spec.slo.latency_us,
                ttl_us=gaps.definition.spec.scaling.keep_alive_ttl_us,
                loaded_us=gaps.first_us,
                idle_since_us=begin_us,
                uses=at + 1,
                clock=0.0,
                episode=at,
                history=history if self.learns else None,
                comes_back=self._brings_back,
            )
        )
        return _NEVER if until_us is None else max(begin_us, until_us)

    def _left(self, gaps: Gaps, history: ArrivalHistory, gap: tuple[int, int], leaves_us: int) -> tuple[int, bool]:
        """Of a gap that outlasts the replica: memory held, and whether nobody was warm at its end."""
        begin_us, end_us = gap
        held_us = leaves_us - begin_us
        if not self._brings_back:
            return held_us, True
        now_us = begin_us
        while now_us < end_us:
            found = prewarming.forecast(gaps.definition, self._params, history, now_us, 0, gaps.start_us)
            until_us = _NEVER if found.until_us is None else found.until_us
            if found.weak:
                # Whoever is still there needs no start.
                ready_us = begin_us if now_us <= leaves_us else now_us + gaps.start_us
                held_us += max(0, min(until_us, end_us) - max(now_us, leaves_us))
                if until_us >= end_us:
                    return held_us, ready_us > end_us
            if found.until_us is None or until_us <= now_us:
                break
            now_us = until_us
        return held_us, True


def play(ways: Sequence[KeepAlive], gaps: Gaps) -> tuple[Kept, ...]:
    """Go through the gaps of one function in order, every way by itself. They share the history: it is of the gaps."""
    count = len(gaps)
    found = tuple(Kept(np.zeros(count, np.int64), np.zeros(count, np.bool_)) for _ in ways)
    learns = any(way.learns for way in ways)
    history = _NO_HISTORY
    if learns:
        history = histogram.learn(history, gaps.first_us, gaps.first_us, busy=True)
    for at, (begin_us, end_us) in enumerate(zip(gaps.begin_us.tolist(), gaps.end_us.tolist(), strict=True)):
        if learns:
            history = histogram.learn(history, None, begin_us, busy=True)
        for way, kept in zip(ways, found, strict=True):
            kept.held_us[at], kept.cold[at] = way.keep(gaps, history, at)
        if learns:
            history = histogram.learn(history, end_us, end_us, busy=True)
    return found
