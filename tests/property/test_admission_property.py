"""What holds of admission for every function, forecast and objective; and that with `slack` a request is on time where
either variant is predicted to be.
"""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stoker.admission import PRIMARY, Choice, Forecast, Hold, Refuse, Send, after_miss, choose, missed_variants
from stoker.device_chooser import DeviceChooser
from stoker.model.function import Function, OnMiss, Variant
from stoker.policies.device_choice.registry import DEVICE_CHOICE
from stoker.reasons import Reason
from stoker.testing.builders import make_function as function

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
def test_with_slack_a_request_is_on_time_wherever_either_variant_is_predicted_to_be(
    gpu: Forecast, cpu: Forecast, remaining_us: int
) -> None:
    assume(not gpu.unplaceable and not cpu.unplaceable and gpu.measured and cpu.measured and cpu.finish_us > 0)
    f = function(cpu_variant=True, on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE))
    known = {Variant.GPU: gpu, Variant.CPU: cpu}
    course = DeviceChooser("slack").course(f, known, remaining_us, wakes=True)
    choice, step = choose(f, known, remaining_us, wakes=True, course=course)
    if isinstance(choice, Send) and known[choice.variant].finish_us > remaining_us:
        # The agent predicts the same and refuses.
        choice, _ = after_miss(f, known, remaining_us, step, wakes=True, course=course)
    on_time = [variant for variant, one in known.items() if one.finish_us <= remaining_us]
    assert isinstance(choice, Refuse) == (not on_time)
    if not isinstance(choice, Refuse):
        assert choice.variant in on_time


def as_before_device_choices(
    f: Function, known: dict[Variant, Forecast], remaining_us: int, step: int | None, *, wakes: bool
) -> tuple[Choice, int]:
    """The first choice (`step` None) or the next one, as a gateway made them before it had a device choice."""
    primary, actions = f.primary, f.spec.on_predicted_miss
    forecast = known.get(primary)
    if step is None:
        if forecast is not None and forecast.warm:
            return Send(primary), 0
        if not wakes:
            return Refuse(Reason.SCALED_TO_ZERO), len(actions)
        if forecast is None or (not forecast.unplaceable and forecast.finish_us <= remaining_us):
            return Hold(primary), 0
    for index in range(step or 0, len(actions)):
        if actions[index] is OnMiss.REFUSE:
            break
        if actions[index] is OnMiss.DIVERT:
            other = known.get(Variant.CPU)
            if primary is Variant.CPU or f.spec.cpu_variant is None or other is None or other.unplaceable:
                continue
            if (wakes or other.warm) and other.finish_us <= remaining_us:
                return (Send(Variant.CPU) if other.warm else Hold(Variant.CPU)), index + 1
        elif forecast is None or not forecast.unplaceable:
            if forecast is not None and forecast.warm:
                return Send(primary, late_ok=True), index + 1
            return (Hold(primary, late_ok=True), index + 1) if wakes else (Refuse(Reason.SCALED_TO_ZERO), len(actions))
    if forecast is None or not forecast.unplaceable:
        finish_us = None if forecast is None else forecast.finish_us
        return Refuse(Reason.PREDICTED_MISS, finish_us, forecast is not None and forecast.estimated), len(actions)
    return Refuse(Reason.NO_FITTING_DEVICE, detail=forecast.unplaceable), len(actions)


@given(policies, forecasts, micros, st.booleans(), st.booleans())
def test_on_the_primary_course_every_choice_is_the_one_that_was_made_before_there_were_device_choices(
    actions: tuple[OnMiss, ...], known: dict[Variant, Forecast], remaining_us: int, cpu: bool, wakes: bool
) -> None:
    f = function(cpu_variant=cpu, on_predicted_miss=actions)
    found = choose(f, known, remaining_us, wakes=wakes, course=PRIMARY)
    assert found == as_before_device_choices(f, known, remaining_us, None, wakes=wakes)
    step = found[1]
    while not isinstance(found[0], Refuse):
        found = after_miss(f, known, remaining_us, step, wakes=wakes, course=PRIMARY)
        assert found == as_before_device_choices(f, known, remaining_us, step, wakes=wakes)
        step = found[1]


@given(policies, forecasts, micros, st.booleans(), st.booleans(), st.sampled_from(sorted(DEVICE_CHOICE)))
def test_under_every_device_choice_a_request_goes_to_the_cpu_only_where_its_function_permits_it(  # noqa: PLR0917
    actions: tuple[OnMiss, ...], known: dict[Variant, Forecast], remaining_us: int, cpu: bool, wakes: bool, name: str
) -> None:
    f = function(cpu_variant=cpu, on_predicted_miss=actions)
    course = DeviceChooser(name).course(f, known, remaining_us, wakes=wakes)
    first = course.variant or f.primary
    choice, step = choose(f, known, remaining_us, wakes=wakes, course=course)
    begin = 0
    while not isinstance(choice, Refuse):
        if choice.variant is Variant.CPU:
            assert cpu
            assert OnMiss.DIVERT in actions
            assert name != "gpu-only"
        if choice.variant is not first:
            assert course.crosses
            assert not choice.late_ok
            assert known[choice.variant].finish_us <= remaining_us
        if choice.late_ok:
            assert OnMiss.SERVE_LATE in actions
        if missed_variants(f, choice, begin, step, course):
            assert cpu
            assert name != "gpu-only"
        begin = step
        choice, step = after_miss(f, known, remaining_us, step, wakes=wakes, course=course)
        assert step > begin or isinstance(choice, Refuse)
