"""`slack-value` (ours): keep those whose next requests would lose most of their slack to a start.

What users of this platform state is an objective, so that is what a warm copy is worth. If a function is evicted, its
next request waits for a start. Warm it would keep the slack `spare = objective - execution`; with the start it keeps
`spare - start`. The harm of that start, in requests:
- start <= spare: no request is late. It costs start / spare of the slack, from 0 to 1: what a queue cannot use up then.
- start > spare: the first request is late, and so are those that come before the start is within their slack:
  1 + rate * (start - spare).
- spare <= 0: late even when warm, so keeping it saves nobody.
Requests come at `rate` = uses / time since they are counted (at least the start-up time, so that one request is no
stream), so what is not used loses value as it idles. The value is the harm that keeping it avoids, for each second and
each MiB that it takes from others: rate * harm / memory. Nobody leaves unless memory is needed.

Greedy-dual weighs by start-up time alone: a model with a minute of slack and a start of ten seconds pushes out ten
small ones whose callers wait 200 ms. Here it is the other way round.
"""

from typing import ClassVar

from stoker.policies.eviction.bases import UntilNeeded
from stoker.policies.eviction.interface import IdleResident

_SECOND_US = 1_000_000


class SlackValue(UntilNeeded):
    """By the requests whose slack it saves, in requests per second and MiB."""

    name: ClassVar[str] = "slack-value"
    fades: ClassVar[bool] = True

    def value(self, resident: IdleResident, now_us: int) -> float:
        spare_us = resident.latency_us - resident.exec_us
        if spare_us <= 0:
            return 0.0
        start_us = resident.reload_us
        rate = resident.uses / max(1, start_us, now_us - resident.loaded_us)
        harm = start_us / spare_us if start_us <= spare_us else 1 + rate * (start_us - spare_us)
        return _SECOND_US * rate * harm / max(1, resident.memory_mib)
