"""What one plan may still spend: bounds on cost held against what was spent, what is held, and what is wanted.

The rules are stoker.cost.cap's; here they meet replicas and devices. Acts only for functions with a bound and in
namespaces with one, and only where devices have prices: for all others every answer is yes, at no cost.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from stoker.control import pacing, scaling
from stoker.control.capacity import Need, Needs
from stoker.control.planning import Pair
from stoker.cost import cap
from stoker.cost.costs import Bound, Bounds
from stoker.cost.money import about, money
from stoker.cost.rates import rate_of
from stoker.cost.window import Spent
from stoker.model.device import Device
from stoker.model.function import Function, Variant
from stoker.model.quantity import format_duration
from stoker.model.replica import ReplicaState, ReplicaStatus
from stoker.reasons import Reason

if TYPE_CHECKING:
    from stoker.control.draft import Draft

_NOTHING = Spent()
_FOREVER_US = 1 << 62


class Scope(Struct):
    """A function or a namespace with maxCostPerHour. Read by others, written here."""

    name: str
    most: int
    rate: int = 0
    """Of all replicas that stay, an hour, as if they were full."""
    tails: int = 0
    """What all replicas still cost once they are to go."""
    begun: int = 0
    """What starting ones cost beside that until they have served as long as they are had for."""
    staying: list[tuple[ReplicaStatus, int]] = []


class Purse:
    """See the module."""

    def __init__(self, draft: "Draft") -> None:
        self._draft = draft
        self._costs = draft.observed.costs
        self._scopes = {name: Scope(name=name, most=most, staying=[]) for name, most in self._costs.caps.items()}
        self._denied: dict[Pair, str] = {}
        self._cheap: dict[Need, tuple[str, ...] | None] = {}
        if self._scopes:
            for replica in draft.fleet.by_id.values():
                self._count(replica)

    @property
    def is_bounded(self) -> bool:
        """Whether there is any bound."""
        return bool(self._scopes or self._costs.run_caps)

    def denial(self, pair: Pair) -> str | None:
        """Why the last replica that the pair wanted was not had, in one sentence; None: nothing was denied."""
        return self._denied.get(pair)

    # Before anything is wanted.

    def enforce(self) -> None:
        """Drain what is beyond a bound, and what idles for longer than bounds pay for."""
        if not self.is_bounded:
            return
        for replica in list(self._draft.fleet.by_id.values()):
            if replica.spec.id not in self._draft.fleet.leaving and self._idles_too_long(replica):
                self._drain(replica)
        for scope in self._scopes.values():
            left = scope.most - self._spent(scope.name).micro - scope.tails
            for replica in scaling.least_loss_first(one for one, _ in scope.staying):
                if cap.may_stay(left, scope.rate):
                    break
                if replica.spec.id not in self._draft.fleet.leaving:
                    self._drain(replica)

    def _drain(self, replica: ReplicaStatus) -> None:
        self._draft.drain(replica, Reason.COST_BOUND)
        for scope in self._of(replica.spec.function):
            scope.rate -= next((rate for one, rate in scope.staying if one is replica), 0)

    # What is wanted.

    def denies(self, pair: Pair, function: Function, *, promised: bool) -> bool:
        """Whether no replica of the pair may be had now, whatever device it got. `promised`: it is one of minReplicas
        or of a window.
        """
        if not self._is_under(pair[0]):
            return False
        denial = self._denial(pair, function, promised=promised)
        if denial is None:
            self._denied.pop(pair, None)
            return False
        self._denied[pair] = self._said(*denial)
        return True

    def _denial(self, pair: Pair, function: Function, *, promised: bool) -> tuple[str, int | None] | None:
        """Why no replica may be had now, and until when; None: one may, or no device would do, for another reason."""
        needs = self.in_order(pair, function, self._draft.needs(function, pair[1]))
        fits = False
        for need in needs:
            cheapest = self._cheapest(need)
            if cheapest is None:
                continue
            fits = True
            if self._may_come(pair, function, need, cheapest, promised=promised):
                spared = pacing.spared(self._draft, pair, function)
                return None if spared is None else (spared, None)
        return self._why(pair, function, needs) if fits or not needs else None

    def pays(self, pair: Pair, function: Function, need: Need, devices: Sequence[str], *, promised: bool) -> bool:
        """Whether one more replica may be had on these devices. The answer yes counts it in."""
        if not self._scopes:
            return True
        found = [self._draft.board.devices[device_id] for device_id in devices]
        rate = self._rate(need, found, function, pair)
        if not self._may_come_at(pair, function, rate, promised=promised):
            return False
        start_us, exec_us = self._draft.start_us(pair), self._draft.exec_us(pair)
        tail_us = cap.tail_us(exec_us, function.spec.timeout_us)
        for scope in self._of(pair[0]):
            scope.rate += rate
            scope.tails += cap.amount(rate, tail_us)
            scope.begun += cap.amount(rate, cap.first_us(start_us, exec_us))
        return True

    def in_order(self, pair: Pair, function: Function, needs: Needs) -> Needs:
        """The ways to place a replica of the pair: of a function with a bound, the cheapest device that meets its
        objective first, and none on which its requests cost more than they may.
        """
        key, costs = pair[0], self._costs
        if not self._is_under(key):
            return needs
        dear, slow = costs.dear.get(key, ()), costs.slow.get(key, ())
        found: list[tuple[bool, int, int, Need]] = []
        for number, need in enumerate(needs):
            products = dict.fromkeys(device.product for device in self._draft.board.usable((need,)))
            for product in products:
                one = need if len(products) == 1 or pair[1] is Variant.CPU else replace(need, products=(product,))
                cheapest = self._cheapest(one)
                if product in dear or cheapest is None:
                    continue
                found.append((product in slow, self._rate_of(one, cheapest, function, pair), number, one))
            if not products:
                found.append((True, 0, number, need))
        return tuple(need for *_, need in sorted(found, key=lambda entry: entry[:3]))

    def dearer_nodes(self, pair: Pair, function: Function, need: Need, device_ids: Sequence[str]) -> frozenset[str]:
        """Nodes whose devices would do and cost more than these: where others choose the node, a replica under a bound
        must not land there.
        """
        board = self._draft.board
        if not self._is_under(pair[0]) or not any(board.devices[one].node for one in device_ids):
            return frozenset()
        meant = {board.devices[one].node for one in device_ids}
        most = max(self._rate_of(need, (one,), function, pair) for one in device_ids)
        needs = self._draft.needs(function, pair[1])
        return frozenset(
            device.node
            for device in board.devices.values()
            if device.node not in meant
            and any(one.could_use(device) for one in needs)
            and self._rate(need, (device,), function, pair) > most
        )

    def kept_us(self, kept_us: int, pair: Pair, function: Function, replica: ReplicaStatus) -> int:
        """How long an idle replica stays that would be kept for `kept_us`."""
        key = pair[0]
        most = self._costs.run_caps.get(key)
        scopes = self._of(key)
        if most is None and not scopes:
            return kept_us
        spare = None
        if most is not None:
            spare = self._costs.runs.get(key, 0) * most // 1000 - self._spent(key).micro
        need = self._draft.needs(function, pair[1])[0]
        devices = self._devices_of(replica)
        rate = rate_of(need, devices, self._costs.prices, 0)
        paced = pacing.kept_us(self._draft, pair, function, replica)
        return cap.idle_us(kept_us, self._draft.start_us(pair), paced=paced, spare=spare, rate=rate)

    # What pacing asks (stoker.control.pacing).

    def caps_of(self, key: str) -> list[Scope]:
        """The bounds on an hour that a function is under, its own first."""
        return self._of(key) if self._scopes else []

    def lasts(self, scope: Scope, rate: int) -> bool:
        """Whether a bound pays for replicas at this rate from now on, beside what was spent."""
        return self._spent(scope.name).lasts(scope.most - scope.tails, rate, self._draft.now_us)

    def left(self, scope: Scope) -> int:
        """What is left of a bound beside all that is set aside."""
        return scope.most - self._spent(scope.name).micro - scope.tails - scope.begun

    def rate(self, pair: Pair, function: Function) -> int | None:
        """An hour of the next replica of the pair, on the cheapest device that it would get; None: none would do."""
        for need in self.in_order(pair, function, self._draft.needs(function, pair[1])):
            cheapest = self._cheapest(need)
            if cheapest is not None:
                return self._rate_of(need, cheapest, function, pair)
        return None

    # What gateways are told.

    def bounds(self) -> Bounds:
        """The variants that requests may not have, now that the plan is made."""
        found: Bounds = {}
        if not self.is_bounded:
            return found
        for key, function in self._draft.observed.functions.items():
            if not self._is_under(key):
                continue
            wanted = self._draft.wanted(key)
            for variant in function.variants:
                bound = self._bound((key, variant), wanted)
                if bound is not None:
                    found.setdefault(key, {})[variant] = bound
        return found

    def _bound(self, pair: Pair, function: Function) -> Bound | None:
        key = pair[0]
        if self._is_dear(pair):
            most, each = self._costs.run_caps[key], self._costs.run_micro[key][pair[1]]
            detail = (
                f"a thousand of its requests cost {money(1000 * each)} on its {pair[1]} variant, "
                f"more than the {money(most)} of slo.maxCostPerThousandRequests"
            )
            return Bound(detail=detail, until_us=None, warm_too=True)
        fleet = self._draft.fleet
        if fleet.live(pair) or fleet.started.get(pair):
            return None
        denial = self._denial(pair, function, promised=False)
        if denial is None:
            return None
        self._denied[pair] = self._said(*denial)
        return Bound(detail=denial[0], until_us=denial[1])

    # Inside.

    def _count(self, replica: ReplicaStatus) -> None:
        key, variant = replica.spec.function, replica.spec.variant
        scopes = self._of(key)
        function = self._draft.observed.functions.get(key)
        if not scopes or function is None or variant not in function.variants:
            return
        pair = (key, variant)
        rate = self._rate(self._needed(pair), self._devices_of(replica), function, pair)
        exec_us = self._exec_us(pair, function)
        tail = cap.amount(rate, cap.tail_us(exec_us, function.spec.timeout_us))
        begun = 0
        if replica.state is ReplicaState.STARTING:
            since_us = max(0, self._draft.now_us - replica.started_us)
            begun = cap.amount(rate, max(0, cap.first_us(self._draft.start_us(pair), exec_us) - since_us))
        for scope in scopes:
            scope.tails += tail
            if replica.spec.id not in self._draft.fleet.leaving:
                scope.rate += rate
                scope.begun += begun
                scope.staying.append((replica, rate))

    def _needed(self, pair: Pair) -> Need:
        return self._draft.needs(self._draft.observed.functions[pair[0]], pair[1])[0]

    def _exec_us(self, pair: Pair, function: Function) -> int:
        return self._draft.exec_us((function.key, pair[1]))

    def _idles_too_long(self, replica: ReplicaStatus) -> bool:
        """Whether bounds pay for no more of its idleness, whatever wants it warm."""
        pair = (replica.spec.function, replica.spec.variant)
        function = self._draft.observed.functions.get(pair[0])
        if function is None or not self._is_under(pair[0]) or pair[1] not in function.variants:
            return False
        since_us = replica.idle_since_us
        if since_us is None or not scaling.is_idle(replica):
            return False
        if self._is_dear(pair):
            return True
        stays_us = max(self.kept_us(_FOREVER_US, pair, function, replica), self._draft.params.wake_us)
        return self._draft.now_us - since_us >= stays_us

    def _is_dear(self, pair: Pair) -> bool:
        """Whether requests may not have the variant at all, for what each of them costs."""
        most, each = self._costs.run_caps.get(pair[0]), self._costs.run_micro.get(pair[0], {}).get(pair[1])
        return most is not None and each is not None and cap.dear(each, most)

    def _may_come(
        self, pair: Pair, function: Function, need: Need, device_ids: Sequence[str], *, promised: bool
    ) -> bool:
        return self._may_come_at(pair, function, self._rate_of(need, device_ids, function, pair), promised=promised)

    def _may_come_at(self, pair: Pair, function: Function, rate: int, *, promised: bool) -> bool:
        draft = self._draft
        start_us, exec_us = draft.start_us(pair), draft.exec_us(pair)
        load = -(-draft.load(pair) // function.concurrency_of(pair[1]))
        needed = load > len(draft.fleet.live(pair)) + draft.fleet.started.get(pair, 0)
        for scope in self._of(pair[0]):
            left = self.left(scope)
            if promised and not needed:
                if not cap.lasts(scope.most, scope.rate + rate) or left < 0:
                    return False
            elif not cap.may_come(
                left - cap.amount(scope.rate, 2 * cap.PLAN_US), rate, start_us, exec_us, function.spec.timeout_us
            ):
                return False
        return True

    def _said(self, detail: str, until_us: int | None) -> str:
        """The sentence of a condition. On Kubernetes without the time, or the status would be written all the time."""
        devices = self._draft.observed.devices
        if until_us is None or (devices and devices[0].node):
            return detail
        return (
            f"{detail}; the next replica may be had in {format_duration(max(1_000_000, until_us - self._draft.now_us))}"
        )

    def _why(self, pair: Pair, function: Function, needs: Needs) -> tuple[str, int | None]:
        """The sentence, and until when it will be so; None: time alone changes nothing."""
        key, now_us = pair[0], self._draft.now_us
        start_us, exec_us = self._draft.start_us(pair), self._draft.exec_us(pair)
        need = next((one for one in needs if self._cheapest(one) is not None), None)
        if need is None:
            most = money(self._costs.run_caps.get(key, 0))
            detail = (
                f"its requests cost more than the {most} a thousand of slo.maxCostPerThousandRequests on every device "
                "that it could get"
            )
            return detail, None
        rate = self._rate_of(need, self._cheapest(need) or (), function, pair)
        once_us = cap.first_us(start_us, exec_us) + cap.tail_us(exec_us, function.spec.timeout_us)
        worst, until_us = "", now_us
        for scope in self._of(key):
            who, where = f"namespace {scope.name}", "maxCostPerHour in GpuPolicy"
            if scope.name == key:
                who, where = "it", "slo.maxCostPerHour"
            spent = self._spent(scope.name)
            said = f"{who} has spent {about(spent.micro)} of the {money(scope.most)} an hour of {where}"
            at_us = spent.left_us(scope.most - scope.tails - scope.begun - cap.amount(rate, once_us))
            if at_us is None:
                return f"{said}, and its cheapest device costs {money(rate)} an hour: too much to start and serve", None
            if not worst or at_us > until_us:
                worst, until_us = said, max(at_us, now_us)
        if until_us == now_us:
            return f"{worst}: too little to hold what minReplicas asks for", None
        return worst, until_us

    def _spent(self, name: str) -> Spent:
        return self._costs.spent.get(name, _NOTHING)

    def _of(self, key: str) -> list[Scope]:
        """The bounds that a function is under."""
        found = (self._scopes.get(key), self._scopes.get(key.partition("/")[0]))
        return [scope for scope in found if scope is not None]

    def _is_under(self, key: str) -> bool:
        """Whether any bound is on the function."""
        return self.is_bounded and (key in self._costs.run_caps or bool(self._of(key)))

    def _cheapest(self, need: Need) -> tuple[str, ...] | None:
        """Devices that would do, empty and healthy, at the least price; None where there are none."""
        if need not in self._cheap:
            prices = self._costs.prices
            usable = sorted(self._draft.board.usable((need,)), key=lambda device: (prices.get(device.id, 0), device.id))
            enough = len(usable) >= need.count
            self._cheap[need] = tuple(device.id for device in usable[: need.count]) if enough else None
        return self._cheap[need]

    def _rate_of(self, need: Need, device_ids: Iterable[str], function: Function, pair: Pair) -> int:
        return self._rate(need, [self._draft.board.devices[one] for one in device_ids], function, pair)

    def _rate(self, need: Need, devices: Sequence[Device], function: Function, pair: Pair) -> int:
        """An hour of a replica that runs as much as it can."""
        return rate_of(need, devices, self._costs.prices, function.concurrency_of(pair[1]))

    def _devices_of(self, replica: ReplicaStatus) -> list[Device]:
        known = self._draft.board.devices
        return [known[one] for one in self._draft.devices_of(replica) if one in known]
