"""What the agent's devices cost, and who is charged for it: stoker.cost.meter, told what happens to replicas here.

Reads the ledger of reservations, so that what is charged is what is promised. O(devices of one replica) at each change;
metrics are brought up to date when somebody reads them. Restarting begins all accounts at zero.
"""

from collections.abc import Callable, Mapping

from stoker import metrics as m
from stoker.cost.meter import Account, Meter, Phase
from stoker.cost.prices import Prices
from stoker.cost.shares import parts_of
from stoker.model.function import Variant
from stoker.model.replica import ReplicaSpec
from stoker.slots.reservations import Reservations
from stoker_node.replica_table import Replica

Accounts = dict[tuple[str, Variant], Account]

_PHASES = tuple((phase, phase.label) for phase in Phase)


class Metering:
    """See the module."""

    def __init__(self, reservations: Reservations, sink: m.MetricsSink, clock_us: Callable[[], int]) -> None:
        self._reservations = reservations
        self._sink = sink
        self._clock_us = clock_us
        self._meter = Meter()
        self._shown: dict[tuple[str, Variant], tuple[int, int, int]] = {}
        """By Phase, what the metrics say."""
        self._shown_free = 0

    def set_prices(self, prices: Prices) -> None:
        """Micro-units an hour by device, from now on; a device without an entry is free."""
        self._meter.set_prices(prices, self._clock_us())

    def hold(self, spec: ReplicaSpec, replica: Replica | None = None) -> None:
        """What the id has reserved is held by it from now on, as a `replica` or before it is one."""
        devices = {device.id: device for device in self._reservations.devices()}
        parts = parts_of(self._reservations.of(spec.id), devices)
        charge = self._meter.hold(spec.id, spec.function, spec.variant, parts, self._clock_us())
        if replica is not None:
            replica.charge = charge

    def warm(self, replica: Replica, now_us: int) -> None:
        """It is ready."""
        if replica.charge is not None:
            replica.charge.warm(now_us)

    def release(self, replica_id: str) -> None:
        """It has given back what it held."""
        self._meter.release(replica_id, self._clock_us())

    def forget(self, key: str) -> None:
        """The accounts of a function of which nothing is left: whoever needs them has read them."""
        for variant in Variant:
            self._meter.forget(key, variant)
            self._shown.pop((key, variant), None)

    def accounts(self) -> Accounts:
        """Running totals by function and variant since the agent started."""
        return self._meter.accounts(self._clock_us())

    def unallocated(self) -> int:
        """Micro-units of priced device time that nobody was charged for."""
        return self._meter.unallocated(self._clock_us())

    def export(self) -> None:
        """Bring the metrics up to date."""
        if not self._meter.is_priced:
            return
        for (key, variant), account in self.accounts().items():
            told = (account.starting, account.idle, account.busy)
            before = self._shown.get((key, variant), (0, 0, 0))
            if told == before:
                continue
            self._shown[key, variant] = told
            namespace, _, name = key.partition("/")
            for phase, label in _PHASES:
                if told[phase] > before[phase]:
                    amount = told[phase] - before[phase]
                    self._sink.inc(m.COST, namespace, name, label, amount=amount)
        free = self.unallocated()
        # It falls by the units that accounts complete; a counter waits until it is more again.
        if free > self._shown_free:
            self._sink.inc(m.COST_UNALLOCATED, amount=free - self._shown_free)
            self._shown_free = free


def by_function(accounts: Mapping[tuple[str, Variant], Account]) -> dict[str, Account]:
    """Accounts of functions, their variants together."""
    found: dict[str, Account] = {}
    for (key, _), account in accounts.items():
        before = found.get(key, Account())
        found[key] = Account(
            starting=before.starting + account.starting,
            idle=before.idle + account.idle,
            busy=before.busy + account.busy,
            runs=before.runs + account.runs,
        )
    return found
