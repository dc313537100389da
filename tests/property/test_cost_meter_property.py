"""The ledger of device time over random histories: accounts and `unallocated` add up to price x time exactly."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stoker.cost.meter import Charge, Meter
from stoker.cost.prices import HOUR_US
from stoker.cost.shares import ONE, Part
from stoker.cost.window import RollingHour
from stoker.model.function import Variant

pytestmark = pytest.mark.property

DEVICES = ("d0", "d1")
FUNCTIONS = ("a/f", "a/g", "b/h")
PRICES = st.integers(0, 10**10)
PARTS = st.builds(
    Part,
    device_id=st.sampled_from(DEVICES),
    standing=st.one_of(st.just(ONE), st.integers(0, ONE)),
    each_run=st.one_of(st.just(0), st.just(ONE), st.integers(1, ONE)),
)


class MeterMachine(RuleBasedStateMachine):
    """What happens to replicas, told to a meter, beside a plain sum of price x time."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter()
        self.now_us = 0
        self.prices = dict.fromkeys(DEVICES, 0)
        self.owed = 0
        """Price x time of both devices, in micro-unit-microseconds an hour."""
        self.live: dict[str, list[int]] = {}
        """Its runs by replica."""
        self.runs = 0
        self.told = 0
        self.seen: dict[tuple[str, Variant], int] = {}
        self.cut = False

    @initialize(first=PRICES, second=PRICES)
    def price(self, first: int, second: int) -> None:
        self.prices = {"d0": first, "d1": second}
        self.meter.set_prices(self.prices, self.now_us)

    @rule(price=PRICES)
    def reprice(self, price: int) -> None:
        self.prices["d0"] = price
        self.meter.set_prices(self.prices, self.now_us)

    @rule(elapsed_us=st.one_of(st.integers(0, 10), st.integers(0, 10**9)))
    def wait(self, elapsed_us: int) -> None:
        self.now_us += elapsed_us
        self.owed += elapsed_us * sum(self.prices.values())

    @rule(
        number=st.integers(0, 3),
        function=st.sampled_from(FUNCTIONS),
        variant=st.sampled_from(Variant),
        parts=st.lists(PARTS, min_size=1, max_size=2, unique_by=lambda part: part.device_id),
    )
    def hold(self, number: int, function: str, variant: Variant, parts: list[Part]) -> None:
        self.cut = self.cut or bool(self.live.get(f"r{number}"))
        self.meter.hold(f"r{number}", function, variant, parts, self.now_us)
        self.live[f"r{number}"] = []

    def _charge(self, data: st.DataObject) -> tuple[str, Charge]:
        replica = data.draw(st.sampled_from(sorted(self.live)))
        charge = self.meter.charge(replica)
        assert charge is not None
        return replica, charge

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def warm(self, data: st.DataObject) -> None:
        self._charge(data)[1].warm(self.now_us)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        replica, charge = self._charge(data)
        self.runs += 1
        self.live[replica].append(self.runs)
        charge.begin(self.runs, self.now_us)

    @precondition(lambda self: any(self.live.values()))
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        replica = data.draw(st.sampled_from(sorted(key for key, runs in self.live.items() if runs)))
        charge = self.meter.charge(replica)
        assert charge is not None
        run = self.live[replica].pop(0)
        so_far = charge.so_far(run, self.now_us)
        told = charge.end(run, self.now_us)
        assert 0 <= so_far <= told <= so_far + 1
        self.told += told

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        replica = data.draw(st.sampled_from(sorted(self.live)))
        self.cut = self.cut or bool(self.live[replica])
        del self.live[replica]
        self.meter.release(replica, self.now_us)

    @invariant()
    def accounts_add_up_to_price_x_time(self) -> None:
        accounts = self.meter.accounts(self.now_us)
        charged = sum(account.total for account in accounts.values())
        assert charged + self.meter.unallocated(self.now_us) == self.owed // HOUR_US
        assert self.meter.unallocated(self.now_us) >= 0

    @invariant()
    def no_account_ever_shrinks(self) -> None:
        accounts = {pair: account.total for pair, account in self.meter.accounts(self.now_us).items()}
        assert all(accounts[pair] >= total for pair, total in self.seen.items())
        self.seen = accounts

    @invariant()
    def requests_are_told_what_their_replicas_were_charged_for_running(self) -> None:
        busy = sum(account.busy for account in self.meter.accounts(self.now_us).values())
        assert self.told <= busy + 8  # as many accounts and replicas may hold less than a unit each
        if not self.cut and not any(self.live.values()):
            assert busy - 8 <= self.told


MeterMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
TestMeter = MeterMachine.TestCase


@given(spends=st.lists(st.tuples(st.integers(0, HOUR_US // 2), st.integers(0, 1000)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_window_never_says_less_than_any_hour_held_and_soon_forgets(spends: list[tuple[int, int]]) -> None:
    window, at_us, history, total = RollingHour(), 0, [], 0
    for gap_us, micro in spends:
        at_us += gap_us
        total += micro
        history.append((at_us, micro))
        window.see({"k": total}, at_us)
        said = window.spent("k", at_us)
        within = sum(amount for when, amount in history if when > at_us - HOUR_US)
        somewhat_longer = sum(amount for when, amount in history if when > at_us - HOUR_US - 10_000_001)
        assert within <= said.micro <= somewhat_longer
        if said.micro:
            assert said.frees[-1][1] == said.micro
            half_us = said.left_us(said.micro // 2)
            assert half_us is not None
            left = sum(amount for when, amount in history if when > max(half_us, at_us) - HOUR_US)
            assert left <= max(said.micro // 2, said.micro if half_us == 0 else 0)


def test_shares_of_one_full_device_are_charged_in_proportion() -> None:
    meter, hour = Meter(), HOUR_US
    meter.set_prices({"d": 3_000_000}, 0)
    for number, standing in enumerate((ONE, ONE // 2)):
        meter.hold(f"r{number}", f"n/f{number}", Variant.GPU, [Part(device_id="d", standing=standing)], 0)
    accounts = meter.accounts(hour)
    assert accounts["n/f0", Variant.GPU].starting == 2_000_000
    assert accounts["n/f1", Variant.GPU].starting == 1_000_000
    assert meter.unallocated(hour) == 0
    assert Fraction(meter.total(hour)) == 3_000_000
