"""Device choice: which variant a request goes to."""

from collections.abc import Mapping

import pytest

from stoker.errors import UnknownName
from stoker.model.function import Variant
from stoker.policies.device_choice.interface import Arrival, ChoiceParams, Queued, Side
from stoker.policies.device_choice.landlord import LOW_LOAD, SIZE_US, Landlord
from stoker.policies.device_choice.registry import DEVICE_CHOICE, make_device_choice

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU
S = 1_000_000
BUSY = LOW_LOAD * SIZE_US


def arrival(  # noqa: PLR0917  two sides and the load
    function: str = "f",
    gpu: tuple[int, int] = (S, S),
    cpu: tuple[int, int] | None = (3 * S, 3 * S),
    load_us: int = 0,
    flows: Mapping[str, Queued] | None = None,
    remaining_us: int = 2 * S,
) -> Arrival:
    """`gpu` and `cpu`: execution alone, and from now to the end."""
    return Arrival(
        function=function,
        gpu=Side(*gpu),
        cpu=None if cpu is None else Side(*cpu),
        remaining_us=remaining_us,
        load_us=load_us,
        flows=flows or {},
    )


def chosen(name: str, *arrivals: Arrival, seed: int = 0) -> list[Variant]:
    policy = make_device_choice(name, ChoiceParams(seed=seed))
    return [policy.choose(one) for one in arrivals]


@pytest.mark.parametrize("name", sorted(DEVICE_CHOICE))
def test_what_has_no_cpu_variant_goes_to_the_gpu_under_every_policy(name: str) -> None:
    assert chosen(name, *[arrival(cpu=None, gpu=(S, 900 * S), load_us=BUSY)] * 20) == [GPU] * 20


def test_the_two_ends_send_everything_one_way() -> None:
    assert chosen("gpu-only", arrival(gpu=(S, 900 * S))) == [GPU]
    assert chosen("cpu-only", arrival()) == [CPU]


def test_slack_sends_to_the_gpu_what_gains_enough_and_nothing_to_where_it_is_late() -> None:
    assert chosen("slack", arrival(cpu=(2 * S, 2 * S), remaining_us=20 * S)) == [CPU]
    assert chosen("slack", arrival(cpu=(9 * S, 9 * S), remaining_us=20 * S)) == [GPU]
    on_time, late = (S, 2 * S), (S, 2 * S + 1)
    assert chosen("slack", arrival(gpu=late, cpu=on_time)) == [CPU]
    assert chosen("slack", arrival(gpu=on_time, cpu=late)) == [GPU]
    assert chosen("slack", arrival(gpu=late, cpu=late)) == [GPU]
    assert chosen("slack", arrival(gpu=(S, 2 * S), cpu=(2 * S, 2 * S))) == [CPU], "no slack is left on either"


def test_slack_spares_the_side_whose_waiting_takes_more_of_the_slack() -> None:
    def gains(times: int, gpu_wait: int = 0, cpu_wait: int = 0) -> Variant:
        """Its slack is 80 s on the GPU, and less by its longer execution on the CPU."""
        gpu, cpu = (S, (1 + gpu_wait) * S), (times * S, (times + cpu_wait) * S)
        return chosen("slack", arrival(gpu=gpu, cpu=cpu, remaining_us=81 * S))[0]

    assert (gains(8), gains(9)) == (CPU, GPU)
    # Half of the slack is gone on the GPU: twice the gain is needed.
    assert (gains(16, gpu_wait=40), gains(17, gpu_wait=40)) == (CPU, GPU)
    # Half of 77 s is gone on the CPU: half the gain is enough.
    assert (gains(4, cpu_wait=38), gains(5, cpu_wait=38)) == (CPU, GPU)


def test_speed_up_looks_at_execution_times_and_at_no_queue() -> None:
    queued = 900 * S
    assert chosen("speed-up", arrival(gpu=(S, queued), cpu=(4 * S + 1, 4 * S + 1))) == [GPU]
    assert chosen("speed-up", arrival(cpu=(4 * S, queued))) == [CPU]


def tried(seed: int = 0) -> list[Variant]:
    """What becomes of a function that the GPU slows down, while others that gain come and end it there."""
    policy = make_device_choice("landlord", ChoiceParams(seed=seed))
    found = []
    for index in range(300):
        found.append(policy.choose(arrival(gpu=(S, 9 * S))))
        policy.choose(arrival(f"gains{index}"))
    return found


def test_landlord_tries_every_function_on_the_gpu_and_ever_more_rarely_one_that_it_does_not_help() -> None:
    found = tried()
    assert found[0] is GPU
    assert 10 <= found.count(GPU) <= 60
    assert found[150:].count(GPU) < found[:150].count(GPU)
    assert tried() == found
    assert tried(1) != found


def test_landlord_keeps_a_function_in_that_gains_and_lets_it_bear_a_loss_from_its_credit() -> None:
    gains, loses = arrival(), arrival(gpu=(S, 5 * S))
    # Let in with 2 s, which the next gain doubles; a loss of 2 s is then borne, and nothing is left of it but credit.
    assert chosen("landlord", gains, gains, loses, gains) == [GPU] * 4
    assert chosen("landlord", gains, arrival(gpu=(S, 9 * S))) == [GPU, CPU]


def test_landlord_under_load_replaces_the_poorest_idle_resident_once_more_was_refused_than_it_has() -> None:
    # Each refusal would have saved 1 s: the resident goes when those add up to its credit.
    policy = Landlord(ChoiceParams(seed=5))
    assert policy.choose(arrival("old", cpu=(S, 6 * S))) is GPU
    asked = arrival("new", load_us=BUSY, gpu=(S, 2 * S))
    policy._times["new"] = 10**18  # the lottery is over
    assert [policy.choose(asked) for _ in range(5)] == [CPU, CPU, CPU, CPU, GPU]
    assert policy.choose(arrival("old", load_us=BUSY, cpu=(S, 6 * S))) is GPU, "it is tried again by lottery or worth"


def test_landlord_refuses_under_overload_and_charges_rent_by_what_residents_have_queued() -> None:
    policy = Landlord(ChoiceParams(seed=5))
    for name in ("busy", "calm"):
        assert policy.choose(arrival(name, cpu=(S, 11 * S))) is GPU
    policy._times["new"] = 10**18  # the lottery is over
    flows = {"busy": Queued(3, S), "calm": Queued(1, S)}
    asked = arrival("new", load_us=BUSY, gpu=(S, 7 * S), cpu=(S, 11 * S), flows=flows)
    assert policy.choose(asked) is CPU
    # 11 - 7 * (1 + 2 * 0.05) = 3.3 s of rent, three quarters of it from the one with three of four seconds queued.
    left_us = policy._credits_us
    assert left_us["busy"] == pytest.approx(10 * S - 3.3 * S * 3 / 4)
    assert left_us["calm"] == pytest.approx(10 * S - 3.3 * S / 4)


def test_an_unknown_policy_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match="cpu-only, gpu-only, landlord, slack, speed-up"):
        make_device_choice("coin")
