"""Virtual times of namespaces and functions: who is charged, who catches up, what fades."""

import pytest
from planning_world import CPU, GPU, S, make_function

from stoker.control.planning import Level, Shares, Usage
from stoker.control.shares import charge, lead_us, settle
from stoker.model.function import Function
from stoker.policies.allocation.fair import MOST_US

pytestmark = pytest.mark.unit

FUNCTIONS = {
    function.key: function
    for function in (
        make_function("f", namespace="a"),
        make_function("g", namespace="a", fair_share=2),
        make_function("f", namespace="b"),
    )
}


def pairs(*keys: str) -> list[tuple[str, object]]:
    return [(key, GPU) for key in keys]


def after(shares: Shares | None, at_s: int, *lacking: str) -> Shares:
    found = settle(shares, at_s * S, [(key, GPU) for key in lacking], GPU)
    assert found is not None
    return found


def charged(shares: Shares, at_s: int, functions: dict[str, Function] = FUNCTIONS, **held: int) -> Shares:
    used = [(key.replace("_", "/"), Usage(at_us=shares.at_us, held=count)) for key, count in held.items()]
    return charge(shares, at_s * S, used, functions, {"b": 4})


def namespace_lead_s(shares: Shares, name: str) -> float:
    return lead_us(shares.namespaces, name) / S


def test_devices_are_charged_by_weight_at_both_levels_while_somebody_lacks_one() -> None:
    shares = charged(after(None, 0, "a/f"), 10, a_g=3, b_f=2)
    assert lead_us(shares.functions["a"], "a/g") / S == 15
    assert (namespace_lead_s(shares, "a"), namespace_lead_s(shares, "b")) == (30, 5)
    # b lacks nothing itself, so among its functions nobody is charged.
    assert lead_us(shares.functions["b"], "b/f") == 0


def test_the_virtual_time_is_the_least_of_those_that_lack_and_never_goes_back() -> None:
    shares = charged(after(None, 0, "a/f", "b/f"), 10, a_f=1, b_f=1)
    shares = after(shares, 10, "a/f", "b/f")
    assert shares.namespaces.virtual_us == 2.5 * S
    assert (namespace_lead_s(shares, "a"), namespace_lead_s(shares, "b")) == (7.5, 0)
    assert after(shares, 10, "a/f").namespaces.virtual_us == 10 * S


def test_who_begins_to_lack_a_device_begins_at_the_virtual_time() -> None:
    shares = after(charged(after(None, 0, "a/f"), 100, a_f=1), 100, "a/f")
    shares = after(shares, 100, "a/f", "b/f")
    assert shares.namespaces.times_us == {"a": 100 * S, "b": 100 * S}


def test_who_lacks_one_throughout_keeps_its_place_behind() -> None:
    shares = after(charged(after(None, 0, "a/f", "b/f"), 100, a_f=1), 100, "a/f", "b/f")
    assert (namespace_lead_s(shares, "a"), namespace_lead_s(shares, "b")) == (100, 0)


def test_leads_fade_with_the_clock_while_nobody_lacks_anything() -> None:
    shares = after(charged(after(None, 0, "a/f", "b/f"), 10, a_f=3), 10)
    assert namespace_lead_s(shares, "a") == 30
    shares = after(charged(shares, 25, a_f=3), 25)
    assert namespace_lead_s(shares, "a") == 15
    assert settle(charged(shares, 41, a_f=3), 41 * S, [], GPU) is None


def test_a_lead_is_an_hour_at_most_whoever_holds_the_virtual_time_back() -> None:
    shares = after(charged(after(None, 0, "a/f", "b/f"), 90_000, a_f=10), 90_000, "a/f", "b/f")
    assert lead_us(shares.namespaces, "a") == MOST_US
    assert shares.namespaces.times_us["a"] == shares.namespaces.virtual_us + MOST_US


def test_functions_that_are_gone_and_devices_of_the_other_kind_count_for_nobody() -> None:
    shares = after(None, 0, "a/f")
    assert charged(shares, 10, {}, a_f=5).namespaces == shares.namespaces
    assert settle(None, 0, [("a/f", CPU)], GPU) is None
    assert lead_us(Level(5.0, {"a": 3.0}), "a") == 0
    assert lead_us(Level(5.0), "nobody") == 0
