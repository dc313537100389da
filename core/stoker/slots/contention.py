"""How much of a function is taken while its devices are contended: about its fair share, and what nobody else can use.

A schedule that admits whatever fits lets those in first that can wait longest: they fill the queue up to their long
objectives, and nothing fits before them any more. So while more is asked of a pool than it has, a request of a flow
that asks for more than its weighted max-min share is taken
- where a slot is free, and while fewer requests wait in the pool than it can run at a time: the slots would idle before
  others come;
- while half as many more wait (at least one), as long as MOST_PERCENT of its share were not taken of it within
  WINDOW_US (or within the time that its requests may wait, where that is longer): so those who got less come first;
- while no more of the flow is queued than its share does in all of the time that its requests may wait but WINDOW_US:
  a burst that may wait for seconds is taken.
A longer queue serves nobody sooner, and whoever asks for less than its share waits behind it. Whoever asks for less is
not bound, nor whoever is alone. Of higher priority first: the others share what it leaves.

Demand is what came within the last WINDOW_US, refused or not; and on average over the last LONG of these windows, since
a burst of one second is no overload, nor does it make a quiet flow a greedy one. A pool is contended by what comes in
one window, or by a little on average: then those are bound that ask for much more than their share on average. Pure;
the shell brings the clock.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from stoker.max_min import max_min
from stoker.model.function import Priority
from stoker.policies.queueing.interface import Weights

WINDOW_US = 1_000_000
"""Ours: long enough for some requests of each flow, short beside what people notice."""
EVERY_US = 250_000
"""Shares are computed so often (ours)."""
MOST_PERCENT = 103
"""Ours: of three flows nobody is pushed below 80 % of its share, and little capacity is kept for who is late."""
_BUSY_PERCENT = 120
"""Demand, in percent of a pool, from which on it is contended (ours): what comes within one second varies by that much
where all of it can be served.
"""
LONG = 8
"""Windows of an average (ours)."""
_BUSY_ON_AVERAGE_PERCENT = 102
_GREEDY_PERCENT = 130
"""Ours: by the average, a pool is contended from so much of what it has on, and a flow is bound from so much of its
share on.
"""


class _Sum(Struct):
    """Execution time within the last WINDOW_US: that of this window and of the one before; and the average before."""

    began_us: int = 0
    now_us: int = 0
    past_us: deque[int] = field(default_factory=lambda: deque(maxlen=LONG))
    """Of windows that are over, the last one last, since a whole one passed without anything."""

    def add(self, work_us: int, now_us: int) -> None:
        self.turn(now_us)
        self.now_us += work_us

    def turn(self, now_us: int) -> None:
        """Begin a new window where the last one is over."""
        passed = (now_us - self.began_us) // WINDOW_US
        if passed > 0:
            if passed == 1:
                self.past_us.append(self.now_us)
            else:
                self.past_us.clear()
            self.now_us = 0
            self.began_us += passed * WINDOW_US

    def last_us(self, now_us: int) -> int:
        """Within the last WINDOW_US, the window before taken as even."""
        self.turn(now_us)
        before_us = self.past_us[-1] if self.past_us else 0
        return self.now_us + before_us * (WINDOW_US - (now_us - self.began_us)) // WINDOW_US

    def average_us(self, now_us: int) -> int:
        """In WINDOW_US, over the last LONG of them or since it began, whichever is less."""
        self.turn(now_us)
        over_us = max(WINDOW_US, len(self.past_us) * WINDOW_US + now_us - self.began_us)
        return (sum(self.past_us) + self.now_us) * WINDOW_US // over_us


class _Demand(Struct):
    """What was asked of one flow, and taken."""

    priority: Priority
    asked: _Sum
    taken: _Sum


class Contention:
    """The demand of the flows of one agent, and the shares that follow."""

    def __init__(self) -> None:
        self._demands: dict[str, _Demand] = {}
        self._weights = Weights()
        self._shares_us: dict[str, int] = {}
        """Of flows that ask for more than their share: execution time that they may have in WINDOW_US."""
        self._due_us = 0

    def set_weights(self, weights: Weights) -> None:
        """The shares from now on."""
        self._weights = weights
        self._due_us = 0

    def ask(self, flow: str, priority: Priority, work_us: int, now_us: int) -> None:
        """A request of the flow comes, whatever becomes of it."""
        demand = self._demands.get(flow)
        if demand is None:
            demand = self._demands[flow] = _Demand(priority, _Sum(began_us=now_us), _Sum(began_us=now_us))
        demand.priority = priority
        demand.asked.add(work_us, now_us)

    def take(self, flow: str, work_us: int, now_us: int) -> None:
        """It was taken."""
        demand = self._demands.get(flow)
        if demand is not None:
            demand.taken.add(work_us, now_us)

    def is_bound(self, flow: str, pools: Iterable[tuple[int, Iterable[str]]], now_us: int) -> bool:
        """Whether the flow asks for more than its share of what is contended.

        `pools`: servers and flows of each pool; asked for only when shares are due.
        """
        if now_us >= self._due_us:
            self._due_us = now_us + EVERY_US
            self._share(pools, now_us)
        return flow in self._shares_us

    def limit_us(self, flow: str, longest_us: int, waiting: int, servers: int, now_us: int) -> int | None:
        """How much work of a flow that is bound may be queued, whose requests may wait for `longest_us`; None: any.

        `waiting`: requests that wait in its pool; `servers`: how many can run there at a time.
        """
        share_us = self._shares_us[flow]
        burst_us = share_us * max(0, longest_us - WINDOW_US) // WINDOW_US
        is_over = self._demands[flow].taken.last_us(now_us) * 100 >= max(share_us, burst_us) * MOST_PERCENT
        if waiting < (servers if is_over else servers + max(1, servers // 2)):
            return None
        return 0 if is_over else burst_us

    def share_us(self, flow: str) -> int:
        """Execution time that a flow which is bound may have in WINDOW_US, as of the last is_bound(); 0: it is not."""
        return self._shares_us.get(flow, 0)

    def _share(self, pools: Iterable[tuple[int, Iterable[str]]], now_us: int) -> None:
        self._shares_us.clear()
        self._demands = {flow: one for flow, one in self._demands.items() if one.asked.last_us(now_us)}
        for servers, flows in pools:
            asked_us = {flow: self._demands[flow].asked.last_us(now_us) for flow in flows if flow in self._demands}
            left_us = servers * WINDOW_US
            if len(asked_us) < 2:
                continue
            average_us = {flow: self._demands[flow].asked.average_us(now_us) for flow in asked_us}
            busy = sum(asked_us.values()) * 100 > left_us * _BUSY_PERCENT
            if not busy and sum(average_us.values()) * 100 <= left_us * _BUSY_ON_AVERAGE_PERCENT:
                continue
            more_percent = 100 if busy else _GREEDY_PERCENT
            for priority in sorted(Priority, key=lambda one: one.level, reverse=True):
                level = {flow: us for flow, us in asked_us.items() if self._demands[flow].priority is priority}
                shares_us = two_level(level, self._weights, left_us)
                left_us -= sum(shares_us.values())
                for flow, share_us in shares_us.items():
                    # What rounding takes is no refusal.
                    if share_us * 100 < level[flow] * 99 and share_us * more_percent < average_us[flow] * 99:
                        self._shares_us[flow] = share_us


def two_level(demands: Mapping[str, int], weights: Weights, capacity: int) -> dict[str, int]:
    """Max-min shares of namespaces, and of each one's flows in what it gets."""
    by_namespace: dict[str, dict[str, int]] = {}
    for flow, demand in demands.items():
        by_namespace.setdefault(flow.partition("/")[0], {})[flow] = demand
    totals = {namespace: sum(flows.values()) for namespace, flows in by_namespace.items()}
    parts = max_min(totals, weights.namespaces, capacity)
    shares: dict[str, int] = {}
    for namespace, flows in by_namespace.items():
        shares |= max_min(flows, weights.flows, parts[namespace])
    return shares
