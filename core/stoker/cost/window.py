"""What each account spent in the last hour, and when that will be less: the window that bounds are held against.

Fed with running totals, as the meter tells them; a total that went down is one that began again at zero. An amount is
put in the bucket of the moment at which it is seen and counts until that bucket's end is an hour old, so what is said
is never less than what was spent in any hour that ends now. Pure; keeps at most an hour of buckets for each key.
"""

from collections import deque
from collections.abc import Container, Mapping

from msgspec import Struct

from stoker.cost.prices import HOUR_US

BUCKET_US = 10_000_000
"""Ours: an amount counts up to 10 s longer than an hour, 0.3 % of what a steady spender spends."""
_STEPS = 12
"""Of the times at which the window empties, so many are told."""


class Spent(Struct, frozen=True, kw_only=True):
    """What one key spent in the last hour."""

    micro: int = 0
    frees: tuple[tuple[int, int], ...] = ()
    """(instant, micro-units): from that instant on so much of it is out of the window, in order; the last is all."""

    def left_us(self, most: int) -> int | None:
        """The instant from which the window holds at most `most` of it, if nothing is added; None: never (most < 0).

        0 where that is so now.
        """
        if self.micro <= most:
            return 0
        if most < 0:
            return None
        return next((at_us for at_us, freed in self.frees if self.micro - freed <= most), None)

    def lasts(self, most: int, rate: int, now_us: int) -> bool:
        """Whether a bound pays for this rate (micro-units an hour) from now on, as what was spent leaves the hour."""
        left = most - self.micro
        for at_us, freed in self.frees:
            if rate * max(0, at_us - now_us) > left * HOUR_US:
                return False
            left = most - self.micro + freed
        return rate <= most and left >= 0


class RollingHour:
    """See the module."""

    def __init__(self, bucket_us: int = BUCKET_US) -> None:
        self._bucket_us = bucket_us
        self._seen: dict[str, dict[str, int]] = {}
        self._spent: dict[str, _Buckets] = {}

    def see(self, totals: Mapping[str, int], now_us: int, source: str = "") -> None:
        """The running totals of a source now: each has its own, and what a key spent is the sum over sources."""
        seen = self._seen.setdefault(source, {})
        for key, total in totals.items():
            before = seen.get(key, 0)
            if total != before:
                seen[key] = total
                self.add(key, total - before if total > before else total, now_us)

    def meet(self, totals: Mapping[str, int], source: str) -> None:
        """The running totals of a source that began before it was known: none of them was spent now."""
        self._seen[source] = dict(totals)

    def knows(self, source: str) -> bool:
        """Whether anything was told of it."""
        return source in self._seen

    def add(self, key: str, micro: int, at_us: int) -> None:
        """So much was spent at that time. What is older than what was added last counts as long as that."""
        if micro <= 0:
            return
        buckets = self._spent.get(key)
        if buckets is None:
            buckets = self._spent[key] = _Buckets()
        buckets.add(at_us // self._bucket_us, micro)

    def spent(self, key: str, now_us: int) -> Spent:
        """What the key spent in the hour up to now."""
        buckets = self._spent.get(key)
        if buckets is None:
            return _NOTHING
        # A bucket is out of the window when its end is an hour old.
        buckets.drop((now_us - HOUR_US) // self._bucket_us)
        if not buckets.total:
            del self._spent[key]
            return _NOTHING
        if buckets.frees is None:
            buckets.frees = self._frees(buckets)
        last_us = buckets.ends[-1][0] * self._bucket_us + self._bucket_us + HOUR_US
        return Spent(micro=buckets.total, frees=(*buckets.frees, (last_us, buckets.total)))

    def keep_only(self, sources: Container[str]) -> None:
        """The totals of others will not come again; what they spent still counts."""
        for gone in [source for source in self._seen if source not in sources]:
            del self._seen[gone]

    def _frees(self, buckets: "_Buckets") -> tuple[tuple[int, int], ...]:
        """All but the last one, which still grows."""
        stride = -(-len(buckets.ends) // _STEPS)
        freed, found = 0, []
        for number, (bucket, amount) in enumerate(buckets.ends, 1):
            freed += amount
            if number % stride == 0 and number < len(buckets.ends):
                found.append(((bucket + 1) * self._bucket_us + HOUR_US, freed))
        return tuple(found)


class _Buckets:
    """What one key spent, oldest first."""

    __slots__ = ("ends", "frees", "total")

    def __init__(self) -> None:
        self.ends: deque[list[int]] = deque()
        """(bucket, micro-units)."""
        self.total = 0
        self.frees: tuple[tuple[int, int], ...] | None = None
        """While no bucket comes or goes."""

    def add(self, bucket: int, micro: int) -> None:
        self.total += micro
        if self.ends and self.ends[-1][0] >= bucket:
            self.ends[-1][1] += micro
        else:
            self.ends.append([bucket, micro])
            self.frees = None

    def drop(self, before: int) -> None:
        """Drop the buckets before that one."""
        while self.ends and self.ends[0][0] < before:
            self.total -= self.ends.popleft()[1]
            self.frees = None


_NOTHING = Spent()
