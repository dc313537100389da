"""What holds of admission for every function, forecast and objective; and that it diverts as `slack` does."""

import pytest
from gateway_fake_agent import function
from hypothesis import assume, given
from hypothesis import strategies as st

from stoker.admission import Choice, Forecast, Hold, Refuse, Send, after_miss, choose
from stoker.model.function import OnMiss, Variant
from stoker.policies.device_choice.interface import Arrival, Side
from stoker.policies.device_choice.slack import Slack
from stoker.reasons import Reason

pytestmark = pytest.mark.property

micros = st.integers(0, 20_000_000)
forecast = st.builds(
    Forecast,
    warm=st.integers(0, 2),
    wait_us=micros,
    exec_us=micros,
    start_us=micros,
    unplaceable=st.sampled_from(["", "too large"]),
).filter(lambda f: not (f.warm and f.unplaceable))
forecasts = st.dictionaries(st.sampled_from(list(Variant)), forecast)
policies = st.lists(st.sampled_from(list(OnMiss)), max_size=4, unique=True).map(tuple)


@given(policies, forecasts, micros, st.booleans(), st.booleans())
def test_a_walk_ends_refuses_nothing_it_should_serve_and_promises_nothing_it_cannot(
    actions: tuple[OnMiss, ...], known: dict[Variant, Forecast], remaining_us: int, cpu: bool, wakes: bool
) -> None:
    f = function(cpu_variant=cpu, on_predicted_miss=actions)
    choice, step = choose(f, known, remaining_us, wakes=wakes)
    seen: list[Choice] = [choice]
    while not isinstance(choice, Refuse):
        choice, next_step = after_miss(f, known, remaining_us, step, wakes=wakes)
        assert next_step > step or isinstance(choice, Refuse)
        step = next_step
        seen.append(choice)
    assert len(seen) <= len(actions) + 2
    for one in seen[:-1]:
        assert isinstance(one, Send | Hold)
        if one.variant is Variant.CPU:
            assert cpu
            assert OnMiss.DIVERT in actions
            assert known[Variant.CPU].finish_us <= remaining_us
        if one.late_ok:
            assert one.variant is f.primary
            assert OnMiss.SERVE_LATE in actions
        if isinstance(one, Send):
            assert known[one.variant].warm
        elif one.variant in known:
            assert not known[one.variant].unplaceable
            assert not known[one.variant].warm
            assert wakes
    last = seen[-1]
    assert isinstance(last, Refuse)
    if last.reason is Reason.SCALED_TO_ZERO:
        assert not wakes
    elif OnMiss.REFUSE not in actions and OnMiss.SERVE_LATE in actions and last.reason is Reason.PREDICTED_MISS:
        assert any(isinstance(one, Send | Hold) and one.late_ok for one in seen)


@given(forecast, forecast, micros)
def test_a_gateway_that_diverts_and_serves_late_chooses_the_device_as_slack_does(
    gpu: Forecast, cpu: Forecast, remaining_us: int
) -> None:
    assume(not gpu.unplaceable and not cpu.unplaceable)
    f = function(cpu_variant=True, on_predicted_miss=(OnMiss.DIVERT, OnMiss.SERVE_LATE))
    known = {Variant.GPU: gpu, Variant.CPU: cpu}
    choice, step = choose(f, known, remaining_us, wakes=True)
    if choice == Send(Variant.GPU) and gpu.finish_us > remaining_us:
        # The agent predicts the same and refuses.
        choice, _ = after_miss(f, known, remaining_us, step, wakes=True)
    assert isinstance(choice, Send | Hold)
    arrival = Arrival(function=f.key, gpu=side(gpu), cpu=side(cpu), remaining_us=remaining_us)
    assert choice.variant is Slack().choose(arrival)


def side(known: Forecast) -> Side:
    return Side(known.exec_us, known.finish_us)
