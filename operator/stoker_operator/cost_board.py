"""What the cluster spends, by what the agents tell: what plan() is shown of it, and what statuses say. Decides nothing.

Each agent is a meter of its own; its running totals are added up here. The first word of one that has run for longer
than this leader is taken for what it is (stoker.cost.spending.Spending.meet), so a failover forgets no hour.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stoker.cost.costs import NO_COSTS, Bound, Bounds, Costs
from stoker.cost.meter import Account
from stoker.cost.prices import MICRO, Prices, prices_of
from stoker.cost.spending import Spending
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.model.policy import Policy
from stoker.prediction import Estimate
from stoker.wire.cluster import ProfileReport, ReplicaFrame
from stoker_operator.agent_board import AgentBoard
from stoker_operator.status_form import MESSAGE_MAX

Labels = Callable[[str], Mapping[str, str]]
"""Of a node, by its name."""


class CostBoard:
    """Times are microseconds on the operator's monotonic clock."""

    def __init__(self, agents: AgentBoard, labels: Labels) -> None:
        self._agents = agents
        self._labels = labels
        self._spending = Spending()
        self._bound_for: tuple[Mapping[str, Function], Policy] | None = None
        self._told: set[str] = set()
        """Functions that an agent has told a cost of."""
        self._hour: dict[str, dict[str, Any]] = {}
        self._refused: dict[str, tuple[dict[str, Any], ...]] = {}
        self._prices: Prices = {}
        self._priced_for: tuple[tuple[Device, ...], Policy, tuple[Mapping[str, str], ...]] | None = None

    @property
    def is_priced(self) -> bool:
        """Whether any device had a price at the last look."""
        return bool(self._prices)

    def costs(self, functions: dict[str, Function], policy: Policy, devices: tuple[Device, ...], now_us: int) -> Costs:
        """What plan() is shown now."""
        self._bind(functions, policy)
        self._price(devices, policy)
        if not self._prices:
            return NO_COSTS
        if self._spending.is_bounded:
            self._listen(now_us)
        return self._spending.costs(devices, self._prices, Measured(self._agents.profiles()), now_us)

    def planned(self, bounds: Bounds, now_us: int, wall_us: int) -> None:
        """What the last plan permits nobody."""
        self._refused = {
            key: tuple(_refused(variant, bound, wall_us - now_us) for variant, bound in variants.items())
            for key, variants in bounds.items()
        }

    def look(self, now_us: int) -> None:
        """Bring what figures tell of the last hour up to date."""
        if not self._prices:
            self._hour = {}
            return
        self._listen(now_us)
        self._hour = {
            key: said for key in self._told if (said := _hour_of(*self._spending.last_hour(key, now_us))) is not None
        }

    def figure(self, key: str) -> dict[str, Any]:
        """`status.cost` of a function; empty where there is nothing to say."""
        refused = self._refused.get(key)
        return {**self._hour.get(key, {}), **({"refused": list(refused)} if refused else {})}

    def functions(self) -> set[str]:
        """Keys of those of which there is something to say."""
        return self._hour.keys() | self._refused.keys()

    def _listen(self, now_us: int) -> None:
        told = self._agents.costs()
        for agent, frame in told.items():
            accounts = accounts_of(frame)
            self._told.update(frame.costs)
            if self._spending.knows(agent):
                self._spending.see(accounts, now_us, agent)
            else:
                parts = {
                    key: [(now_us - part.age_ms * 1_000, part.micro) for part in some]
                    for key, some in frame.spent.items()
                }
                self._spending.meet(accounts, parts, now_us, agent)
        self._spending.keep_only(told)

    def _bind(self, functions: dict[str, Function], policy: Policy) -> None:
        before = self._bound_for
        if before is not None and before[0] == functions and before[1] is policy:
            return
        self._bound_for = (dict(functions), policy)
        self._told &= functions.keys()
        namespaces = {function.namespace for function in functions.values()}
        self._spending.bound_by(functions.values(), policy.max_costs_per_hour(namespaces))

    def _price(self, devices: tuple[Device, ...], policy: Policy) -> None:
        """Made anew only when something that it is made of is another one."""
        nodes = list(dict.fromkeys(device.node for device in devices))
        labels = tuple(self._labels(node) for node in nodes)
        if self._priced_for is not None and self._priced_for == (devices, policy, labels):
            return
        self._priced_for = (devices, policy, labels)
        self._prices = prices_of(devices, policy.prices, dict(zip(nodes, labels, strict=True)))


def _hour_of(micro: int, runs: int) -> dict[str, Any] | None:
    """To two digits: a status is not written for less."""
    if not micro:
        return None
    said = {"perHour": _two_digits(micro / MICRO)}
    if runs:
        said["perThousandRequests"] = _two_digits(1000 * micro / runs / MICRO)
    return said


def _two_digits(amount: float) -> float:
    return float(f"{amount:.1e}")


def _refused(variant: Variant, bound: Bound, epoch_us: int) -> dict[str, Any]:
    """`epoch_us` is what the wall clock is ahead of the plan's."""
    said: dict[str, Any] = {"variant": variant.value, "message": bound.detail[:MESSAGE_MAX]}
    if bound.warm_too:
        said["warmToo"] = True
    if bound.until_us is not None:
        # To ten seconds, so that two plans say the same.
        until = datetime.fromtimestamp(-(-(bound.until_us + epoch_us) // 10_000_000) * 10, UTC)
        said["until"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    return said


class Measured:
    """The execution times that agents report, as Predictions tells them: the median of who measured most."""

    def __init__(self, profiles: Mapping[str, Sequence[ProfileReport]]) -> None:
        self._profiles = profiles

    def exec_us(self, function: Function, variant: Variant, product: str | None = None) -> Estimate:
        """No samples where nobody has measured it."""
        found = [
            one
            for one in self._profiles.get(function.key, ())
            if one.variant is variant and product in (None, one.product)
        ]
        if not found:
            return Estimate(1, 0)
        best = max(found, key=lambda one: one.samples)
        return Estimate(max(1, round(best.p50_ms * 1_000)), best.samples)


def accounts_of(frame: ReplicaFrame) -> dict[tuple[str, Variant], Account]:
    """The running totals that an agent tells."""
    return {
        (key, variant): Account(starting=one.starting, idle=one.idle, busy=one.busy, runs=one.runs)
        for key, variants in frame.costs.items()
        for variant, one in variants.items()
    }
