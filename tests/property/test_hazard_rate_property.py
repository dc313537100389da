"""The windows of the hazard rate against its definition, minute by minute."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker.policies.prewarm.hazard_rate import holding_us, rate, windows
from stoker.policies.prewarm.histogram import BIN_US, BINS
from stoker.policies.prewarm.interface import ArrivalHistory

pytestmark = pytest.mark.property

HISTORIES = st.builds(
    ArrivalHistory,
    counts=st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 40), max_size=8),
    beyond=st.integers(0, 20),
)
PRICES = st.floats(1e-4, 1.2)
NEAR = 1e-9


@settings(max_examples=10)
@given(history=HISTORIES, price=PRICES)
def test_a_minute_is_in_a_window_where_its_rate_is_worth_the_price_and_nowhere_else(
    history: ArrivalHistory, price: float
) -> None:
    found = list(windows(history, price))
    warm = {m for w in found for m in range(w.begin_us // BIN_US, w.end_us // BIN_US)}
    assert all(a.end_us < b.begin_us for a, b in pairwise(found))
    for minute in {
        *range(BINS)[::7],
        *history.counts,
        *(edge for w in found for edge in (w.begin_us // BIN_US, w.end_us // BIN_US - 1)),
    }:
        worth = rate(history, minute)
        if abs(worth - price) > NEAR:
            assert (minute in warm) == (worth > price), minute


@settings(max_examples=5)
@given(history=HISTORIES, price=PRICES)
def test_no_single_holding_time_gains_more(history: ArrivalHistory, price: float) -> None:
    alive, gains = 1.0, [0.0]
    for minute in range(BINS):
        chance = rate(history, minute)
        gains.append(gains[-1] + alive * (chance - price))
        alive *= 1 - chance
    assert gains[holding_us(history, price) // BIN_US] >= max(gains) - NEAR
