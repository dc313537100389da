"""Which variant a request goes to, whether it is held, and why it is refused."""

import pytest
from gateway_fake_agent import function

from stoker.admission import (
    MIN_RETRY_AFTER_US,
    NEVER_RETRY_AFTER_US,
    Course,
    Forecast,
    Hold,
    Refuse,
    Send,
    after_miss,
    choose,
    missed_variants,
    retry_after_us,
)
from stoker.model.function import ContainerSpec, Function, FunctionSpec, OnMiss, Slo, Variant
from stoker.reasons import Reason

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU
WARM = Forecast(warm=1, wait_us=100, exec_us=100)
COLD = Forecast(start_us=8_000_000, exec_us=100_000)


def with_policy(*actions: OnMiss, cpu: bool = True) -> Function:
    return function(cpu_variant=cpu, on_predicted_miss=actions)


def test_a_warm_primary_variant_is_taken_and_asked_itself_whether_it_is_on_time() -> None:
    slow = Forecast(warm=1, wait_us=10_000_000)
    assert choose(with_policy(OnMiss.REFUSE), {GPU: slow}, 1000, wakes=True) == (Send(GPU), 0)


def test_a_function_on_cpus_only_has_the_cpu_variant_as_its_primary() -> None:
    spec = FunctionSpec(container=ContainerSpec(), slo=Slo(latency_us=1))
    cpu_only = Function(namespace="n", name="f", uid="u", generation=1, revision="r", spec=spec)
    assert choose(cpu_only, {CPU: WARM}, 1000, wakes=True)[0] == Send(CPU)
    assert choose(cpu_only, {}, 1000, wakes=True)[0] == Hold(CPU)
    assert after_miss(cpu_only, {CPU: WARM}, 1000, 0, wakes=True)[0] == Send(CPU, late_ok=True)


def test_a_cold_request_is_held_where_its_objective_allows_the_start() -> None:
    assert choose(with_policy(), {GPU: COLD}, 60_000_000, wakes=True)[0] == Hold(GPU)


def test_a_variant_of_which_nothing_is_known_is_no_predicted_miss() -> None:
    assert choose(with_policy(OnMiss.REFUSE), {}, 1, wakes=True)[0] == Hold(GPU)


def test_a_path_that_wakes_nothing_is_refused_at_zero() -> None:
    assert choose(with_policy(), {GPU: COLD}, 60_000_000, wakes=False)[0] == Refuse(Reason.SCALED_TO_ZERO)


def test_divert_takes_a_cpu_variant_that_is_on_time_and_passes_over_one_that_is_not() -> None:
    policy = with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE)
    assert choose(policy, {GPU: COLD, CPU: WARM}, 1_000_000, wakes=True) == (Send(CPU), 1)
    assert choose(policy, {GPU: COLD, CPU: COLD}, 1_000_000, wakes=True) == (Hold(GPU, late_ok=True), 2)
    soon = Forecast(start_us=200_000, exec_us=100_000)
    assert choose(policy, {GPU: COLD, CPU: soon}, 1_000_000, wakes=True) == (Hold(CPU), 1)


def test_divert_is_passed_over_without_a_cpu_variant_and_without_knowledge_of_it() -> None:
    assert after_miss(with_policy(OnMiss.DIVERT, cpu=False), {GPU: WARM, CPU: WARM}, 1000, 0, wakes=True)[0].reason  # type: ignore[union-attr]
    assert after_miss(with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE), {GPU: WARM}, 1000, 0, wakes=True) == (
        Send(GPU, True),
        2,
    )


def test_the_walk_goes_on_after_the_diverted_variant_missed_too() -> None:
    policy = with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE)
    assert after_miss(policy, {GPU: WARM, CPU: WARM}, 1_000_000, 1, wakes=True) == (Send(GPU, late_ok=True), 2)
    choice, step = after_miss(policy, {GPU: WARM, CPU: WARM}, 1_000_000, 2, wakes=True)
    assert choice == Refuse(Reason.PREDICTED_MISS, WARM.finish_us, estimated=True)
    assert step == 2


def test_refuse_ends_the_walk_wherever_it_stands() -> None:
    policy = with_policy(OnMiss.REFUSE, OnMiss.SERVE_LATE)
    choice, _ = choose(policy, {GPU: COLD, CPU: WARM}, 1_000_000, wakes=True)
    assert choice == Refuse(Reason.PREDICTED_MISS, 8_100_000, estimated=True)


def test_a_variant_that_no_device_could_hold_is_never_waited_for() -> None:
    never = Forecast(unplaceable="No GPU has 80 GiB.")
    refused = Refuse(Reason.NO_FITTING_DEVICE, detail="No GPU has 80 GiB.")
    policy = with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE)
    assert choose(policy, {GPU: never}, 60_000_000, wakes=True)[0] == refused
    assert choose(policy, {GPU: never, CPU: WARM}, 60_000_000, wakes=True)[0] == Send(CPU)
    assert choose(policy, {GPU: never, CPU: never}, 60_000_000, wakes=True)[0] == refused


def test_the_prediction_of_a_cold_variant_counts_its_start_once() -> None:
    assert Forecast(start_us=8, wait_us=5, exec_us=1).finish_us == 9
    assert Forecast(start_us=8, wait_us=20, exec_us=1).finish_us == 21
    assert Forecast(warm=1, start_us=8, wait_us=5, exec_us=1).finish_us == 6


def test_retry_after_is_the_wait_or_the_start_and_never_at_once() -> None:
    assert retry_after_us(Forecast(warm=1, wait_us=700_000, start_us=8_000_000)) == 700_000
    assert retry_after_us(Forecast(start_us=8_000_000)) == 8_000_000
    assert retry_after_us(Forecast(warm=1, wait_us=10**12)) == NEVER_RETRY_AFTER_US, "no queue is forecast for longer"
    assert retry_after_us(Forecast(warm=1)) == MIN_RETRY_AFTER_US
    assert retry_after_us(None) == 1_000_000
    assert retry_after_us(Forecast(unplaceable="No GPU has 80 GiB.")) == NEVER_RETRY_AFTER_US


def test_a_walk_that_could_not_divert_wants_the_cpu_variant_warm() -> None:
    policy = with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE)
    late, step = after_miss(policy, {GPU: WARM, CPU: COLD}, 1000, 0, wakes=True)
    assert missed_variants(policy, late, 0, step) == (CPU,)
    diverted, step = after_miss(policy, {GPU: WARM, CPU: WARM}, 1_000_000, 0, wakes=True)
    assert not missed_variants(policy, diverted, 0, step)
    assert not missed_variants(policy, late, 1, 2), "the walk was past Divert already"
    assert not missed_variants(with_policy(OnMiss.SERVE_LATE), late, 0, 1)
    assert not missed_variants(with_policy(OnMiss.DIVERT, cpu=False), late, 0, 1)


def test_a_walk_that_began_on_the_cpu_and_could_not_divert_wants_the_gpu_variant_warm_too() -> None:
    policy, on_cpu = with_policy(OnMiss.DIVERT, OnMiss.REFUSE), Course(CPU)
    refused, step = after_miss(policy, {GPU: COLD, CPU: WARM}, 1000, 0, wakes=True, course=on_cpu)
    assert isinstance(refused, Refuse)
    assert missed_variants(policy, refused, 0, step, on_cpu) == (CPU, GPU)
    diverted, step = after_miss(policy, {GPU: WARM, CPU: WARM}, 1_000_000, 0, wakes=True, course=on_cpu)
    assert missed_variants(policy, diverted, 0, step, on_cpu) == (CPU,)
    assert not missed_variants(policy, Send(CPU), 0, 0, on_cpu)


def test_a_path_that_wakes_nothing_is_held_for_nothing() -> None:
    policy = with_policy(OnMiss.DIVERT, OnMiss.SERVE_LATE)
    assert after_miss(policy, {GPU: WARM, CPU: COLD}, 60_000_000, 0, wakes=False)[0] == Send(GPU, late_ok=True)
    gone, _ = after_miss(policy, {GPU: COLD, CPU: COLD}, 60_000_000, 0, wakes=False)
    assert gone == Refuse(Reason.SCALED_TO_ZERO)
