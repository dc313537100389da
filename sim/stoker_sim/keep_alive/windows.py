"""What a keep-alive policy and a pre-warm policy make of every idle gap: how long memory is held, and whether the next
request finds the function warm.

The policies are the core's own objects, asked as plan() asks them: the keep-alive policy when the function becomes
idle, the pre-warm policy then and whenever it says that its word may change (stoker.control.prewarming, with its lead).
The history is folded by the core too. What a policy learnt from a gap acts in the next one. There is always a device.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from stoker.control import prewarming
from stoker.control.planning import PlanParams
from stoker.model.function import PreWarmPolicy
from stoker.policies.eviction.interface import EvictionPolicy, IdleResident
from stoker.policies.prewarm import histogram
from stoker.policies.prewarm.interface import WAIT_WEIGHT, ArrivalHistory
from stoker_sim.keep_alive.gaps import Gaps

_NEVER = 1 << 62
_NO_HISTORY = ArrivalHistory()


class Kept(Struct, frozen=True, eq=False):
    """Of one function, under one policy."""

    held_us: NDArray[np.int64]
    """By gap: how long a replica held memory in it, pre-warming starts included."""
    cold: NDArray[np.bool_]
    """By gap: whether the request that ended it waited for a start."""
    held_after_us: int
    """How long memory was held after the last request, up to the horizon."""


class KeepAlive:
    """One way to keep functions warm; remembers nothing of a function."""

    def __init__(
        self, policy: EvictionPolicy, pre_warm: PreWarmPolicy = PreWarmPolicy.NONE, *, wait_weight: int = WAIT_WEIGHT
    ) -> None:
        self._policy = policy
        self._params = PlanParams(pre_warm=pre_warm, wait_weight=wait_weight)
        self.brings_back = pre_warm is not PreWarmPolicy.NONE
        self.is_constant = not (policy.learns or policy.draws or self.brings_back)
        """Whether a function stays as long in every gap."""

    def stays_us(self, idle: IdleResident) -> int:
        """How long the replica that became idle stays."""
        until_us = self._policy.keep_until_us(idle)
        return _NEVER if until_us is None else max(0, until_us - idle.idle_since_us)

    def keep(self, gaps: Gaps, idle: IdleResident, end_us: int, since_us: int) -> tuple[int, bool]:
        """Of one gap: for how long after `since_us` memory is held, and whether the request that ends it is cold."""
        begin_us = idle.idle_since_us
        leaves_us = begin_us + self.stays_us(idle)
        if leaves_us >= end_us:
            return _after(since_us, begin_us, end_us), False
        held_us = _after(since_us, begin_us, leaves_us)
        if not self.brings_back:
            return held_us, True
        again_us, cold = self._brought_back(gaps, idle, (leaves_us, end_us), since_us)
        return held_us + again_us, cold

    def _brought_back(self, gaps: Gaps, idle: IdleResident, times: tuple[int, int], since_us: int) -> tuple[int, bool]:
        """Of a gap that outlasts the replica: memory held by those that come after it, and whether nobody was warm at
        the end.
        """
        leaves_us, end_us = times
        begin_us = now_us = idle.idle_since_us
        held_us = 0
        while now_us < end_us:
            found = prewarming.forecast(
                gaps.definition, self._params, idle.history or _NO_HISTORY, now_us, 0, gaps.start_us, idle.share
            )
            until_us = _NEVER if found.until_us is None else found.until_us
            if found.weak:
                # Whoever is still there needs no start.
                ready_us = begin_us if now_us <= leaves_us else now_us + gaps.start_us
                held_us += _after(since_us, max(now_us, leaves_us), min(until_us, end_us))
                if until_us >= end_us:
                    return held_us, ready_us > end_us
            if found.until_us is None or until_us <= now_us:
                break
            now_us = until_us
        return held_us, True


def play(ways: Sequence[KeepAlive], gaps: Gaps, device_mib: int, since_us: int = 0) -> tuple[Kept, ...]:
    """Go through the gaps of one function in order, every way by itself. They share the history: it is of the gaps.

    `device_mib`: of the device that the function takes a part of. Memory counts from `since_us` on.
    """
    share = share_of(gaps, device_mib)
    found = {at: _constant(way, gaps, share, since_us) for at, way in enumerate(ways) if way.is_constant}
    others = [at for at, way in enumerate(ways) if not way.is_constant]
    if others:
        found |= dict(zip(others, _in_turn([ways[at] for at in others], gaps, share, since_us), strict=True))
    return tuple(found[at] for at in range(len(ways)))


def share_of(gaps: Gaps, device_mib: int) -> float:
    """The part of a device that the function keeps from others."""
    return min(1.0, gaps.memory_mib / device_mib)


def _constant(way: KeepAlive, gaps: Gaps, share: float, since_us: int) -> Kept:
    stays_us = way.stays_us(_idle(gaps, share, 0, gaps.first_us, _NO_HISTORY))
    until_us = np.minimum(gaps.begin_us + stays_us, gaps.end_us)
    return Kept(
        np.maximum(0, until_us - np.maximum(gaps.begin_us, since_us)),
        gaps.length_us > stays_us,
        _after(since_us, gaps.last_us, min(gaps.last_us + stays_us, gaps.horizon_us)),
    )


def _in_turn(ways: Sequence[KeepAlive], gaps: Gaps, share: float, since_us: int) -> list[Kept]:
    count = len(gaps)
    held = np.zeros((len(ways), count + 1), np.int64)
    cold = np.zeros((len(ways), count + 1), np.bool_)
    history = histogram.learn(_NO_HISTORY, gaps.first_us, gaps.first_us, busy=True)
    begins, ends = [*gaps.begin_us.tolist(), gaps.last_us], [*gaps.end_us.tolist(), gaps.horizon_us]
    for at, (begin_us, end_us) in enumerate(zip(begins, ends, strict=True)):
        history = histogram.learn(history, None, begin_us, busy=True)
        alone = _idle(gaps, share, at, begin_us, history)
        returning = replace(alone, comes_back=True)
        for index, way in enumerate(ways):
            idle = returning if way.brings_back else alone
            held[index, at], cold[index, at] = way.keep(gaps, idle, end_us, since_us)
        history = histogram.learn(history, end_us, end_us, busy=True)
    return [Kept(held[i, :count], cold[i, :count], int(held[i, count])) for i in range(len(ways))]


def _idle(gaps: Gaps, share: float, at: int, begin_us: int, history: ArrivalHistory) -> IdleResident:
    """The facts as of the begin of a gap; `at`: its number."""
    return IdleResident(
        flow=gaps.definition.key,
        memory_mib=gaps.memory_mib,
        share=share,
        reload_us=gaps.start_us,
        exec_us=gaps.exec_us,
        latency_us=gaps.definition.spec.slo.latency_us,
        ttl_us=gaps.definition.spec.scaling.keep_alive_ttl_us,
        loaded_us=gaps.first_us,
        idle_since_us=begin_us,
        uses=at + 1,
        clock=0.0,
        episode=at,
        history=history,
    )


def _after(since_us: int, begin_us: int, end_us: int) -> int:
    return max(0, end_us - max(begin_us, since_us))
