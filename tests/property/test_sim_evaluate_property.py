"""What holds of figures whatever became of the requests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sim_outcomes import Row, expired, refused, sampled

from stoker_sim.engine.setup import Form
from stoker_sim.evaluate.fairness import indexes
from stoker_sim.evaluate.figures import measure
from stoker_sim.evaluate.max_min import max_min
from stoker_sim.evaluate.service_gap import union
from stoker_sim.evaluate.usage import covered_us
from stoker_sim.evaluate.windows import windows_of

pytestmark = pytest.mark.property

HORIZON = 400
arrivals = st.integers(0, HORIZON - 1)
owners = st.integers(0, 2)
served = st.builds(
    lambda at, wait, took, owner, promised, cold: Row(
        at=at, dispatch=at + wait, exec=took, function=owner, promised=promised, cold=cold
    ),
    arrivals,
    st.integers(0, 300),
    st.integers(1, 120),
    owners,
    st.booleans(),
    st.booleans(),
)
ended = st.builds(lambda at, wait, owner: expired(at, at + wait, owner), arrivals, st.integers(1, 300), owners)
turned_away = st.builds(refused, arrivals, owners)
histories = st.lists(served | ended | turned_away, min_size=1, max_size=25).map(
    lambda rows: sorted(rows, key=lambda row: row.at)
)
demands = st.floats(0, 100).map(lambda demand: round(demand, 3))


def by_steps(demand: list[float], weight: list[float], capacity: float) -> list[float]:
    """Max-min by its definition: all are filled at the pace of their weights, and who is full stops."""
    given_to = [0.0] * len(demand)
    hungry = {row for row, wanted in enumerate(demand) if wanted > 0}
    left = capacity
    while hungry and left > 1e-12:
        total = sum(weight[row] for row in hungry)
        step = min(left / total, *((demand[row] - given_to[row]) / weight[row] for row in hungry))
        for row in hungry:
            given_to[row] += step * weight[row]
        left -= step * total
        hungry = {row for row in hungry if demand[row] - given_to[row] > 1e-12}
    return given_to


@settings(max_examples=60)
@given(st.lists(st.tuples(demands, st.sampled_from([1.0, 2.0, 5.0])), min_size=1, max_size=8), st.floats(0, 200))
def test_shares_are_those_of_filling_step_by_step(asking: list[tuple[float, float]], capacity: float) -> None:
    demand, weight = [d for d, _ in asking], [w for _, w in asking]
    segment = np.zeros(len(asking), np.int64)
    found = max_min(segment, np.array(demand), np.array(weight), np.array([capacity]))
    assert found.tolist() == pytest.approx(by_steps(demand, weight, capacity), abs=1e-6)


@settings(max_examples=40)
@given(histories, st.integers(0, 200), st.sampled_from([50, 100, 130]))
def test_nobody_is_served_more_than_it_asks_for(rows: list[Row], warm_up: int, length: int) -> None:
    seen = windows_of(sampled(rows, horizon=HORIZON, warm_up=warm_up), length)
    assert (seen.demand_us > 0).all()
    assert (seen.service_us <= seen.demand_us).all()
    assert (seen.window < seen.count).all()


@settings(max_examples=40)
@given(histories, st.sampled_from([50, 100, 130]))
def test_jains_index_is_above_0_and_at_most_1(rows: list[Row], length: int) -> None:
    sample = sampled(rows, horizon=HORIZON)
    for found, most in zip(indexes(sample, windows_of(sample, length)), (2, 3), strict=True):
        assert (found.jain >= 1 / most - 1e-9).all()
        assert (found.jain <= 1).all()


@settings(max_examples=40)
@given(histories, st.integers(0, 200))
def test_what_became_of_requests_adds_up(rows: list[Row], warm_up: int) -> None:
    values = measure(sampled(rows, horizon=HORIZON, warm_up=warm_up), Form.STATIC, {}).values
    offered, served_, late = values["offered"], values["served"], values["late"]
    assert offered == sum(row.at >= warm_up for row in rows)
    assert offered == sum(values[name] or 0 for name in ("served", "refused", "expired", "failed"))
    if offered:
        assert served_ is not None
        assert late is not None
        assert values["attainment"] == pytest.approx((served_ - late) / offered)
        assert 0 <= (values["attainment_by_function"] or 0) <= 1
    if values["cold_attainment"] is not None:
        assert values["cold_ratio"]
    on_time = (values["goodput_per_s"] or 0) * (HORIZON - warm_up) / 1e6
    assert on_time == pytest.approx((served_ or 0) - (late or 0))


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12))
def test_the_union_of_spans_covers_what_they_cover(spans: list[tuple[int, int]]) -> None:
    columns = np.array([(begin, begin + length) for begin, length in spans], np.int64).reshape(-1, 2)
    covered = {at for begin, end in columns.tolist() for at in range(begin, end)}
    begins, ends = union(columns[:, 0], columns[:, 1])
    assert covered == {
        at for begin, end in zip(begins.tolist(), ends.tolist(), strict=True) for at in range(begin, end)
    }
    assert covered_us(columns[:, 0], columns[:, 1]) == len(covered)
    assert (begins[1:] > ends[:-1]).all()
