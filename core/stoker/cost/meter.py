"""The ledger of device time: who held which part of each device, when, and what that comes to. Exact and pure.

Each device's price x time is split between the replicas that hold parts of it, and `unallocated`. What a replica holds
is charged to its function: while it starts, while it is warm and idle (whatever keeps it: keep-alive, pre-warming,
minReplicas), and while it runs requests; these are charged to the requests in equal parts. Where parts add up to more
than a device, each is charged its proportion (stoker.cost.shares).

Exact: amounts are integers of 1e-6 micro-unit-microseconds per hour (`raw`), so that nothing is rounded on the way;
what a division leaves is carried, by the device and by the replica. Accounts are told in whole micro-units: of what an
account has begun the rest is `unallocated` until it is whole. So at any time, in micro-units,
    sum over functions and phases + unallocated == floor(sum over devices of price x time), exactly.

O(parts of one replica) at each change, and nothing as time passes: a device keeps what one part per million has cost
since it was first priced, a replica what that was when its share changed last. Idea: the virtual time of fair queueing
(Parekh and Gallager 1993). Knows no clock: whoever calls says what time it is, never earlier than before.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from msgspec import Struct

from stoker.cost.prices import HOUR_US
from stoker.cost.shares import ONE, Part
from stoker.model.function import Variant

RAW = HOUR_US * ONE
"""One micro-unit in the ledger's own unit."""


class Phase(IntEnum):
    """What a replica is charged for. In the metrics in lower case."""

    STARTING = 0
    IDLE = 1
    BUSY = 2

    @property
    def label(self) -> str:
        return self.name.lower()


class Account(Struct, frozen=True, kw_only=True):
    """What one variant of a function was charged so far, in whole micro-units."""

    starting: int = 0
    idle: int = 0
    busy: int = 0
    runs: int = 0
    """Requests that ran, however they ended."""

    @property
    def total(self) -> int:
        return self.starting + self.idle + self.busy


class _Device:
    """One device: `per_part` is what one part per million has cost so far."""

    __slots__ = ("at_us", "carry", "free", "held", "per_part", "price", "total")

    def __init__(self, now_us: int) -> None:
        self.price = 0
        self.held = 0
        self.per_part = 0
        self.carry = 0
        self.free = 0
        self.total = 0
        self.at_us = now_us

    def advance(self, now_us: int) -> None:
        elapsed_us = now_us - self.at_us
        if elapsed_us <= 0:
            return
        self.at_us = now_us
        if not self.price:
            return
        raw = self.price * elapsed_us * ONE
        self.total += raw
        whole = max(self.held, ONE)
        each, self.carry = divmod(raw + self.carry, whole)
        self.per_part += each
        self.free += (whole - self.held) * each


class _Held:
    """One part of a replica."""

    __slots__ = ("device", "mark", "part", "share")

    def __init__(self, device: _Device, part: Part) -> None:
        self.device = device
        self.part = part
        self.share = 0
        self.mark = 0

    def set_share(self, share: int) -> None:
        """From now on; the device has been brought up to date."""
        self.device.held += share - self.share
        self.share = share

    def take(self, now_us: int) -> int:
        """What it cost since it was last asked."""
        device = self.device
        device.advance(now_us)
        cost = self.share * (device.per_part - self.mark)
        self.mark = device.per_part
        return cost


class Charge:
    """What one replica is charged, from its reservation until it is gone. Made by Meter.hold()."""

    __slots__ = ("_carry", "_grows", "_held", "_per_run", "_rest", "_running", "_warm", "book")

    def __init__(self, held: Sequence[_Held], book: "list[int]", now_us: int) -> None:
        self._held = held
        self._grows = any(one.part.each_run for one in held)
        """What it holds depends on how much runs."""
        self.book = book
        """Raw amounts by Phase, then the count of runs: of its account."""
        self._running: dict[Any, int] = {}
        """By run, what one run had cost when it began."""
        self._warm = False
        self._per_run = 0
        self._rest = 0
        """What could not be split evenly between the runs."""
        self._carry = 0
        """What its runs cost and was not told yet: less than a micro-unit."""
        for one in held:
            one.device.advance(now_us)
            one.mark = one.device.per_part
        self._weigh()

    def warm(self, now_us: int) -> None:
        """It is ready from now on."""
        self.settle(now_us)
        self._warm = True

    def begin(self, run: Any, now_us: int) -> None:
        """A request begins to run on it."""
        self.settle(now_us)
        self._running[run] = self._per_run
        if self._grows:
            self._weigh()

    def so_far(self, run: Any, now_us: int) -> int:
        """What a run that goes on has cost by now, in micro-units; 0 for one that is not known."""
        if run not in self._running:
            return 0
        self.settle(now_us)
        return (self._per_run - self._running[run]) // RAW

    def end(self, run: Any, now_us: int) -> int:
        """A request has ended: its charge in micro-units. All charges of a replica add up to its busy time's cost."""
        begun = self._running.get(run)
        if begun is None:
            return 0
        self.settle(now_us)
        del self._running[run]
        self.book[3] += 1
        if self._grows:
            self._weigh()
        charge, self._carry = divmod(self._per_run - begun + self._carry, RAW)
        return charge

    def settle(self, now_us: int) -> None:
        """Charge what it held until now."""
        cost = 0
        for one in self._held:
            cost += one.take(now_us)
        if not cost:
            return
        count = len(self._running)
        if count:
            self.book[Phase.BUSY] += cost
            each, self._rest = divmod(cost + self._rest, count)
            self._per_run += each
        else:
            self.book[Phase.IDLE if self._warm else Phase.STARTING] += cost

    def drop(self, now_us: int) -> None:
        """It is gone. What still ran is charged until now, and no request is told its charge."""
        self.settle(now_us)
        self._running.clear()
        for one in self._held:
            one.set_share(0)
        self._held = ()

    def _weigh(self) -> None:
        running = len(self._running)
        for one in self._held:
            one.set_share(one.part.held(running))


class Meter:
    """The ledger of one agent: all its devices and replicas."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}
        self._charges: dict[str, Charge] = {}
        self.books: dict[tuple[str, Variant], list[int]] = {}

    @property
    def is_priced(self) -> bool:
        """Whether anything has, or had, a price."""
        return any(device.price or device.total for device in self._devices.values())

    def set_prices(self, prices: Mapping[str, int], now_us: int) -> None:
        """Micro-units an hour by device, from now on; devices without an entry are free from now on."""
        for device_id in prices:
            self._device(device_id, now_us)
        for device_id, device in self._devices.items():
            device.advance(now_us)
            device.price = prices.get(device_id, 0)

    def hold(self, replica_id: str, function: str, variant: Variant, parts: Sequence[Part], now_us: int) -> Charge:
        """A replica holds these parts from now on, instead of what the id held before."""
        self.release(replica_id, now_us)
        held = [_Held(self._device(part.device_id, now_us), part) for part in parts]
        book = self.books.setdefault((function, variant), [0, 0, 0, 0])
        charge = self._charges[replica_id] = Charge(held, book, now_us)
        return charge

    def charge(self, replica_id: str) -> Charge | None:
        """What a replica is charged; None for one that holds nothing."""
        return self._charges.get(replica_id)

    def release(self, replica_id: str, now_us: int) -> None:
        """It holds nothing any more. Unknown ids are fine."""
        charge = self._charges.pop(replica_id, None)
        if charge is not None:
            charge.drop(now_us)

    def accounts(self, now_us: int) -> dict[tuple[str, Variant], Account]:
        """What each variant of each function was charged until now; functions that are gone too."""
        for charge in self._charges.values():
            charge.settle(now_us)
        return {
            pair: Account(
                starting=book[Phase.STARTING] // RAW,
                idle=book[Phase.IDLE] // RAW,
                busy=book[Phase.BUSY] // RAW,
                runs=book[3],
            )
            for pair, book in self.books.items()
        }

    def total(self, now_us: int) -> int:
        """Price x time of all devices until now, in micro-units rounded down."""
        for device in self._devices.values():
            device.advance(now_us)
        return sum(device.total for device in self._devices.values()) // RAW

    def unallocated(self, now_us: int) -> int:
        """What no account was charged of it: free parts, and the begun micro-units of accounts."""
        accounts = self.accounts(now_us)
        return self.total(now_us) - sum(account.total for account in accounts.values())

    def forget(self, function: str, variant: Variant) -> None:
        """Drop the account of a function that is gone: what it cost is `unallocated` from then on. Whoever needs it
        longer has taken it before. One that still holds something stays.
        """
        book = self.books.get((function, variant))
        if book is not None and all(charge.book is not book for charge in self._charges.values()):
            del self.books[function, variant]

    def _device(self, device_id: str, now_us: int) -> _Device:
        device = self._devices.get(device_id)
        if device is None:
            device = self._devices[device_id] = _Device(now_us)
        return device
