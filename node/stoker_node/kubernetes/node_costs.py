"""The money of one node: its prices from the GpuPolicy or its own labels, and what the operator is told of it.

Keeps the last hour of the functions that are under a bound, so that an operator that has just begun knows it.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from stoker.cost.prices import bad_label, prices_of
from stoker.cost.spending import Spending
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy, default_policy
from stoker.wire.cluster import CostReport, SpentReport
from stoker_node.metering import Metering

log = structlog.get_logger(__name__)


class NodeCosts:
    """See the module. The last hour is brought up to date whenever somebody asks, and at each `tick`."""

    def __init__(
        self, metering: Metering, devices: Callable[[], Sequence[Device]], clock_us: Callable[[], int]
    ) -> None:
        self._metering = metering
        self._devices = devices
        self._clock_us = clock_us
        self._spending = Spending()
        self._policy = default_policy()
        self._labels: Mapping[str, str] = {}
        self._functions: Mapping[str, Function] = {}
        self._priced = False

    def set_policy(self, policy: Policy) -> None:
        """Its prices and bounds act from now on."""
        self._policy = policy
        self._price()
        self._bind()

    def set_labels(self, labels: Mapping[str, str]) -> None:
        """Of the Node."""
        if labels == self._labels:
            return
        bad = bad_label(labels)
        if bad is not None and labels.get(bad) != self._labels.get(bad):
            log.warning("price_label_ignored", label=bad, value=labels[bad], detail="a price is a number from 0 to 1e6")
        self._labels = dict(labels)
        self._price()

    def devices_changed(self) -> None:
        """They are others now, or the node has fewer cores: what they cost follows."""
        self._price()

    def set_functions(self, functions: Mapping[str, Function]) -> None:
        """These are the functions."""
        self._functions = functions
        self._bind()

    def tick(self) -> None:
        """Bring metrics and the last hour up to date."""
        self._metering.export()
        self._see()

    def totals(self) -> dict[str, dict[Variant, CostReport]]:
        """What each function was charged here since this agent began."""
        found: dict[str, dict[Variant, CostReport]] = {}
        if self._priced:
            for (key, variant), one in self._metering.accounts().items():
                report = CostReport(starting=one.starting, idle=one.idle, busy=one.busy, runs=one.runs)
                found.setdefault(key, {})[variant] = report
        return found

    def spent(self) -> dict[str, tuple[SpentReport, ...]]:
        """The last hour of those that are under a bound."""
        if not self._priced or not self._spending.is_bounded:
            return {}
        self._see()
        now_us = self._clock_us()
        found: dict[str, tuple[SpentReport, ...]] = {}
        for key in self._functions:
            parts = self._spending.parts(key, now_us)
            if parts:
                found[key] = tuple(SpentReport(max(0, now_us - at_us) // 1000, micro) for at_us, micro in parts)
        return found

    def _see(self) -> None:
        if self._priced and self._spending.is_bounded:
            self._spending.see(self._metering.accounts(), self._clock_us())

    def _price(self) -> None:
        devices = self._devices()
        prices = prices_of(devices, self._policy.prices, {device.node: self._labels for device in devices})
        self._priced = self._priced or bool(prices)
        self._metering.set_prices(prices)

    def _bind(self) -> None:
        namespaces = {function.namespace for function in self._functions.values()}
        self._spending.bound_by(self._functions.values(), self._policy.max_costs_per_hour(namespaces))
