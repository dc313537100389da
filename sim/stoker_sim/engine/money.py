"""The money of a simulation in the form of replicas: the core's meter and the core's last hour, told in simulated time.

Exists only where the setup has prices. What bounds permit is plan()'s, as live.
"""

from collections.abc import Sequence

from stoker.cost.costs import Costs
from stoker.cost.meter import Charge, Meter
from stoker.cost.prices import prices_of
from stoker.cost.shares import parts_of
from stoker.cost.spending import Spending
from stoker.model.device import Device, Reservation
from stoker.model.function import Function, Variant
from stoker.model.replica import ReplicaSpec
from stoker.prediction import Estimate, Predictions
from stoker_sim.charges import Charges
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.setup import Setup
from stoker_sim.workload import Workload


class Money:
    """See the module."""

    def __init__(self, workload: Workload, setup: Setup, agenda: Agenda) -> None:
        self._devices: Sequence[Device] = setup.devices
        self._by_id = {device.id: device for device in setup.devices}
        self._agenda = agenda
        self._meter = Meter()
        self._prices = prices_of(setup.devices, setup.prices)
        self._meter.set_prices(self._prices, agenda.now_us)
        self._spending = Spending()
        self._spending.bound_by((function.definition for function in workload.functions), setup.namespace_caps)
        self._dearest: dict[str, int] = {}
        self._caps: dict[str, int] = {}

    def hold(self, spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Charge:
        """A replica starts."""
        parts = parts_of(reservations, self._by_id)
        return self._meter.hold(spec.id, spec.function, spec.variant, parts, self._agenda.now_us)

    def release(self, replica_id: str) -> None:
        """It gave its devices back."""
        self._meter.release(replica_id, self._agenda.now_us)

    def costs(self, predictions: Sequence[Predictions]) -> Costs:
        """What plan() is shown now."""
        now_us = self._agenda.now_us
        if self._spending.is_bounded:
            self._spending.see(self._meter.accounts(now_us), now_us)
        costs = self._spending.costs(self._devices, self._prices, Together(predictions), now_us)
        self._caps = costs.caps
        for name, spent in costs.spent.items():
            if spent.micro > self._dearest.get(name, 0):
                self._dearest[name] = spent.micro
        return costs

    def charges(self, now_us: int) -> Charges:
        """What it came to by the end."""
        return Charges(
            accounts=self._meter.accounts(now_us),
            unallocated=self._meter.unallocated(now_us),
            total=self._meter.total(now_us),
            caps=dict(self._caps),
            dearest_hours=self._dearest,
        )


class Together:
    """The execution times that several agents measured: of the one that knows most."""

    def __init__(self, predictions: Sequence[Predictions]) -> None:
        self._predictions = predictions

    def exec_us(self, function: Function, variant: Variant, product: str | None = None) -> Estimate:
        """As Predictions.exec_us()."""
        found = [each.exec_us(function, variant, product) for each in self._predictions]
        return max(found, key=lambda estimate: estimate.samples)


def money_of(workload: Workload, setup: Setup, agenda: Agenda) -> Money | None:
    """None where nothing has a price."""
    return Money(workload, setup, agenda) if setup.prices else None
