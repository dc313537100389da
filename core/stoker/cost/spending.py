"""The last hour of all accounts, and what plan() is to be shown of it. For shells that hold a meter, or hear of some.

Before each plan they let it `see` the running totals of each meter, then ask for Costs. Pure.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Protocol

from stoker.control.capacity import needs_of
from stoker.cost import cap
from stoker.cost.costs import NO_COSTS, Costs
from stoker.cost.meter import Account
from stoker.cost.prices import HOUR_US, Prices, micro
from stoker.cost.rates import rate_of
from stoker.cost.window import RollingHour
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.prediction import Estimate

_LEAST_RUNS = 20
"""What a request costs is what those of the last hour did once there were so many; before, what its execution time
comes to on a full replica. Ours."""
_KNOWN_RUNS = 5
"""Before so many runs on a product nothing is too dear there: a first run may load what later ones find, and whoever is
refused is measured no more. Ours.
"""

Accounts = Mapping[tuple[str, Variant], Account]
Parts = Sequence[tuple[int, int]]
"""(instant, micro-units), oldest first."""


class ExecTimes(Protocol):
    """Whoever measured execution times (stoker.prediction)."""

    def exec_us(self, function: Function, variant: Variant, product: str | None = None, /) -> Estimate: ...


class Spending:
    """See the module."""

    def __init__(self) -> None:
        self._micro = RollingHour()
        self._runs = RollingHour()
        self._bounded: dict[str, Function] = {}
        self._under: dict[str, Function] = {}
        """Those, and those whose namespace has a bound."""
        self._caps: dict[str, int] = {}
        self._run_caps: dict[str, int] = {}

    def bound_by(self, functions: Iterable[Function], caps: Mapping[str, float]) -> None:
        """The functions that there are now, and what the replicas of some namespaces may cost an hour."""
        self._bounded, self._caps, self._run_caps = {}, {}, {}
        namespaces = set()
        known = list(functions)
        for function in known:
            namespaces.add(function.namespace)
            bounds = function.spec.slo.cost
            if bounds.per_hour is not None:
                self._caps[function.key] = micro(bounds.per_hour)
            if bounds.per_thousand_requests is not None:
                self._run_caps[function.key] = micro(bounds.per_thousand_requests)
            if function.key in self._caps or function.key in self._run_caps:
                self._bounded[function.key] = function
        self._caps |= {name: micro(amount) for name, amount in sorted(caps.items()) if name in namespaces}
        self._under = {one.key: one for one in known if one.key in self._bounded or one.namespace in self._caps}

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound on anything."""
        return bool(self._run_caps or self._caps)

    def is_under(self, key: str) -> bool:
        """Whether a function, or its namespace, has a bound."""
        return key in self._bounded or key.partition("/")[0] in self._caps

    def see(self, accounts: Accounts, now_us: int, source: str = "") -> None:
        """The running totals of one meter now."""
        totals, runs = _totals(accounts)
        self._micro.see(totals, now_us, source)
        self._runs.see(runs, now_us, source)

    def meet(self, accounts: Accounts, parts: Mapping[str, Parts], now_us: int, source: str) -> None:
        """A meter that has run for longer than it is known: its totals, and what of them was spent when (parts())."""
        totals, runs = _totals(accounts)
        self._micro.meet(totals, source)
        self._runs.meet(runs, source)
        for key, some in parts.items():
            for at_us, micro_units in some:
                self.remember(key, micro_units, 0, min(at_us, now_us))

    def knows(self, source: str) -> bool:
        """Whether a meter was seen or met."""
        return self._micro.knows(source)

    def parts(self, key: str, now_us: int) -> Parts:
        """What a function spent in the last hour and about when, for meet(); empty for one without a bound."""
        if not self.is_under(key):
            return ()
        before, found = 0, []
        for out_us, freed in self._micro.spent(key, now_us).frees:
            found.append((out_us - HOUR_US, freed - before))
            before = freed
        return tuple(found)

    def keep_only(self, sources: Container[str]) -> None:
        """Other meters are gone. What they told still counts."""
        self._micro.keep_only(sources)
        self._runs.keep_only(sources)

    def remember(self, key: str, spent: int, runs: int, at_us: int) -> None:
        """What a function spent before this object was made; oldest first, before anything is seen."""
        self._micro.add(key, spent, at_us)
        self._micro.add(key.partition("/")[0], spent, at_us)
        self._runs.add(key, runs, at_us)

    def last_hour(self, key: str, now_us: int) -> tuple[int, int]:
        """Micro-units that a function spent in the last hour, and the requests that ran."""
        return self._micro.spent(key, now_us).micro, self._runs.spent(key, now_us).micro

    def costs(self, devices: Sequence[Device], prices: Prices, predictions: ExecTimes | None, now_us: int) -> Costs:
        """What plan() is shown now. `predictions`: where execution times were measured; None: nowhere."""
        if not prices:
            return NO_COSTS
        if not self.is_bounded:
            return Costs(prices=prices)
        spent = {key: self._micro.spent(key, now_us) for key in (*self._bounded, *self._caps)}
        examples = _examples(devices, prices)
        dear: dict[str, tuple[str, ...]] = {}
        run_micro: dict[str, dict[Variant, int]] = {}
        for key, most in self._run_caps.items():
            by_product = _run_costs(self._bounded[key], examples, prices, predictions)
            found = tuple(sorted({p for (_, p), cost in by_product.items() if cap.dear(cost, most)}))
            if found:
                dear[key] = found
            run_micro[key] = self._of_variants(self._bounded[key], by_product, now_us)
        return Costs(
            prices=prices,
            caps=self._caps,
            run_caps=self._run_caps,
            spent={key: found for key, found in spent.items() if found.micro},
            runs={key: self._runs.spent(key, now_us).micro for key in self._run_caps},
            run_micro=run_micro,
            dear=dear,
            exec_us=_exec_us(self._under.values(), predictions),
            on_time=_on_time(self._under.values(), examples, predictions),
            slow=_slow(self._bounded.values(), examples, predictions),
        )

    def _of_variants(
        self, function: Function, by_product: Mapping[tuple[Variant, str], int], now_us: int
    ) -> dict[Variant, int]:
        """What a request costs on each variant: as in the last hour, else as on its cheapest product."""
        found: dict[Variant, int] = {}
        for variant in function.variants:
            beside = _beside(function.key, variant)
            runs = self._runs.spent(beside, now_us).micro
            if runs >= _LEAST_RUNS:
                found[variant] = self._micro.spent(beside, now_us).micro // runs
                continue
            costs = [cost for (of, _), cost in by_product.items() if of is variant]
            if costs:
                found[variant] = min(costs)
        return found


def _totals(accounts: Accounts) -> tuple[dict[str, int], dict[str, int]]:
    """Micro-units and requests by all that they are counted for: function, namespace, and variant."""
    totals: dict[str, int] = {}
    runs: dict[str, int] = {}
    for (key, variant), account in accounts.items():
        space, beside = key.partition("/")[0], _beside(key, variant)
        totals[key] = totals.get(key, 0) + account.total
        totals[space] = totals.get(space, 0) + account.total
        totals[beside] = account.busy
        runs[key] = runs.get(key, 0) + account.runs
        runs[beside] = account.runs
    return totals, runs


def _beside(key: str, variant: Variant) -> str:
    """The key of what a variant alone spent. No function is named like that."""
    return f"{key}:{variant.value}"


def _examples(devices: Sequence[Device], prices: Prices) -> dict[str, Device]:
    """The cheapest device of each product that has a price; free ones cost no request anything."""
    found: dict[str, Device] = {}
    for device in devices:
        price = prices.get(device.id, 0)
        if device.product not in found or price < prices.get(found[device.product].id, 0):
            found[device.product] = device
    return found


def _run_costs(
    function: Function, examples: Mapping[str, Device], prices: Prices, predictions: ExecTimes | None
) -> dict[tuple[Variant, str], int]:
    """What a request costs at the least by variant and product, where _KNOWN_RUNS were measured: when as many run
    beside it as its replica takes.
    """
    found: dict[tuple[Variant, str], int] = {}
    if predictions is None:
        return found
    for variant in function.variants:
        full = function.concurrency_of(variant)
        for need in needs_of(function, variant):
            for product, device in examples.items():
                if (variant, product) in found or not need.could_use(device):
                    continue
                estimate = predictions.exec_us(function, variant, product)
                if estimate.samples >= _KNOWN_RUNS:
                    rate = rate_of(need, (device,) * need.count, prices, full)
                    found[variant, product] = cap.amount(rate, estimate.us) // full
    return found


def _slow(
    functions: Iterable[Function], examples: Mapping[str, Device], predictions: ExecTimes | None
) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    if predictions is None:
        return found
    for function in functions:
        slow = set()
        for variant in function.variants:
            for product in examples:
                estimate = predictions.exec_us(function, variant, product)
                if estimate.samples and estimate.us > function.spec.slo.latency_us:
                    slow.add(product)
        if slow:
            found[function.key] = tuple(sorted(slow))
    return found


def _on_time(
    functions: Iterable[Function], examples: Mapping[str, Device], predictions: ExecTimes | None
) -> dict[str, tuple[Variant, ...]]:
    """Variants that were measured to take less than the objective by a sixth of it, on some device."""
    found: dict[str, tuple[Variant, ...]] = {}
    if predictions is None:
        return found
    for function in functions:
        met = []
        for variant in function.variants:
            estimates = [predictions.exec_us(function, variant, product) for product in examples]
            if any(one.samples and one.us * 6 <= function.spec.slo.latency_us * 5 for one in estimates):
                met.append(variant)
        if met:
            found[function.key] = tuple(met)
    return found


def _exec_us(functions: Iterable[Function], predictions: ExecTimes | None) -> dict[str, dict[Variant, int]]:
    found: dict[str, dict[Variant, int]] = {}
    if predictions is None:
        return found
    for function in functions:
        for variant in function.variants:
            estimate = predictions.exec_us(function, variant)
            if estimate.samples:
                found.setdefault(function.key, {})[variant] = estimate.us
    return found
