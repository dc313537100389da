"""`light-first`: functions that come back unnoticed leave first, the others by recency (Torpor, ATC'25, section on
eviction; earlier FaaSwap, arXiv 2306.03622).

Torpor calls a model light where swapping it in does not slow its inference, because copies and kernels overlap
(DenseNet: 30 ms without and 27 ms with a swap), and heavy where it does (BERT-qa: 42 and 144 ms). Nobody leaves unless
memory is needed, since the host keeps a copy. Ours: a function is light if bringing it back takes no longer than one of
its requests runs, which is what overlap can hide; so one that starts from cold is heavy, and all is LRU then.
"""

from typing import ClassVar

from stoker.model.function import KeepAlivePolicy
from stoker.policies.eviction.bases import UntilNeeded
from stoker.policies.eviction.interface import IdleResident

_HEAVY = float(1 << 50)
"""Above any time in microseconds (35 years), and small enough that a float still tells microseconds apart."""


class LightFirst(UntilNeeded):
    """Light ones first, and the longest idle first among equals."""

    name: ClassVar[str] = "light-first"
    keep_alive: ClassVar[KeepAlivePolicy | None] = KeepAlivePolicy.LIGHT_FIRST

    def value(self, resident: IdleResident, now_us: int) -> float:  # noqa: ARG002  the order needs no clock
        is_light = resident.reload_us <= resident.exec_us
        return resident.idle_since_us if is_light else resident.idle_since_us + _HEAVY
