"""The device choice of a gateway: who may be asked about, where a request goes first, and which agent is cheapest."""

import pytest
from msgspec.structs import replace

from stoker.admission import PRIMARY, Course, Forecast
from stoker.agents_choice import GpuCrowd, Told, cheapest_first, forecast, gpu_crowd, later, soonest_first
from stoker.device_chooser import DeviceChooser
from stoker.errors import UnknownName
from stoker.model.function import Function, OnMiss, Variant
from stoker.policies.device_choice.interface import Queued
from stoker.policies.device_choice.registry import DEVICE_CHOICE
from stoker.testing.builders import make_function
from stoker.wire.agent import VariantLoad

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU
MS = 1_000
BOTH = make_function(cpu_variant=True)
KNOWN = {GPU: Forecast(warm=1, exec_us=10 * MS), CPU: Forecast(warm=1, exec_us=30 * MS)}
SLOW_CPU = {**KNOWN, CPU: Forecast(warm=1, exec_us=50 * MS)}


def first(
    name: str, of: Function = BOTH, known: dict[Variant, Forecast] = KNOWN, *, wakes: bool = True
) -> tuple[Variant, bool]:
    """Where a request goes first, and whether it may change over."""
    course = DeviceChooser(name).course(of, known, 100 * MS, wakes=wakes)
    return course.variant or of.primary, course.crosses


def test_each_policy_sends_a_request_first_where_it_says() -> None:
    assert first("gpu-only") == (GPU, False)
    assert first("cpu-only") == (CPU, False)
    assert first("speed-up") == (CPU, True)
    assert first("speed-up", known=SLOW_CPU) == (GPU, True)
    assert first("slack") == (CPU, True)
    assert first("slack", known={**KNOWN, CPU: Forecast(warm=1, exec_us=101 * MS)}) == (GPU, True)
    assert first("landlord", known=SLOW_CPU) == (GPU, True)


@pytest.mark.parametrize("name", sorted(DEVICE_CHOICE))
@pytest.mark.parametrize(
    "bound",
    [
        make_function(),
        make_function(cpu_variant=True, on_predicted_miss=(OnMiss.SERVE_LATE,)),
        make_function(cpu_variant=True, on_predicted_miss=(OnMiss.REFUSE,)),
        replace(BOTH, spec=replace(BOTH.spec, gpu=())),
    ],
    ids=["no CPU variant", "no Divert", "refuses only", "no GPU"],
)
def test_a_function_that_may_not_divert_goes_to_its_primary_variant_under_every_policy(
    name: str, bound: Function
) -> None:
    assert first(name, bound)[0] is bound.primary


def test_where_there_is_nothing_to_compare_a_request_begins_on_the_gpu() -> None:
    assert first("cpu-only", known={}) == (GPU, False)
    assert first("cpu-only", known={CPU: KNOWN[CPU]}) == (GPU, False)
    assert first("cpu-only", known={**KNOWN, CPU: Forecast(unplaceable="no cores")}) == (GPU, False)
    assert first("speed-up", known={**KNOWN, GPU: Forecast(unplaceable="no GPU")}) == (GPU, True)


def test_a_path_that_wakes_nothing_goes_to_the_cpu_only_where_that_is_warm() -> None:
    cold = {**KNOWN, CPU: Forecast(exec_us=10 * MS, start_us=10 * MS)}
    assert first("cpu-only", known=cold)[0] is CPU
    assert first("cpu-only", known=cold, wakes=False)[0] is GPU
    assert first("cpu-only", wakes=False)[0] is CPU


def test_a_policy_is_exchanged_for_a_fresh_one_and_an_unknown_name_leaves_it() -> None:
    chooser = DeviceChooser("slack")
    chooser.exchange("cpu-only")
    assert chooser.name == "cpu-only"
    assert chooser.course(BOTH, KNOWN, MS, wakes=True) == Course(CPU, crosses=False)
    with pytest.raises(UnknownName, match="use one of: cpu-only, gpu-only, landlord, slack, speed-up"):
        chooser.exchange("coin")
    assert chooser.name == "cpu-only"
    chooser.exchange("slack")
    assert chooser.course(BOTH, KNOWN, 100 * MS, wakes=True) == Course(CPU)
    assert chooser.course(BOTH, KNOWN, MS, wakes=True) == PRIMARY


def test_the_crowd_on_gpus_is_what_all_agents_have_there() -> None:
    loads = [
        ("ns/a", VariantLoad(queued=2, running=1, exec_ms=10)),
        ("ns/b", VariantLoad(warm=1, exec_ms=10)),
        ("ns/a", VariantLoad(queued=3, exec_ms=20)),
        ("ns/c", VariantLoad(running=1, exec_ms=5)),
    ]
    assert gpu_crowd(loads) == GpuCrowd(95 * MS, {"ns/a": Queued(5, 20 * MS), "ns/c": Queued(0, 5 * MS)})


PRICES = {"H200": 10.0, "L4": 1.0}


def agent(product: str, exec_ms: float, *, wait_ms: float = 0.0, sent: int = 0) -> Told:
    return Told(VariantLoad(warm=1, free=1, exec_ms=exec_ms, wait_ms=wait_ms, product=product), sent)


def order(*agents: Told, left_ms: float = 100, prices: dict[str, float] = PRICES) -> list[int]:
    return cheapest_first(enumerate(agents), prices, round(left_ms * 1000))


def test_the_cheapest_agent_that_is_on_time_comes_first() -> None:
    fast, slow = agent("H200", 10), agent("L4", 40)
    # 100 against 40 for one execution.
    assert order(fast, slow) == [1, 0]
    assert order(fast, slow, left_ms=39) == [0, 1]
    assert order(fast, agent("L4", 40, wait_ms=70)) == [0, 1]
    # At eleven times the time the cheaper product is the dearer one.
    assert order(fast, agent("L4", 101), left_ms=200) == [0, 1]
    assert order(fast, agent("L4", 40, sent=2)) == [0, 1]


def test_a_product_has_the_price_of_its_family() -> None:
    assert order(agent("H200-141GB", 10), agent("L4-24GB", 40)) == [1, 0]


def test_a_wait_is_forecast_as_it_was_told_less_what_has_passed_since() -> None:
    busy, free = VariantLoad(warm=1, exec_ms=10, wait_ms=80), VariantLoad(warm=1, exec_ms=10, wait_ms=50)
    assert waits([Told(busy, 0), Told(free, 0)]) == 50 * MS
    assert waits([Told(busy, 0, age_us=60 * MS), Told(free, 0)]) == 20 * MS
    assert waits([Told(free, 0, age_us=60 * MS)]) == 0
    known = forecast([Told(busy, 0)])
    assert known is not None
    assert [later(known, us).wait_us for us in (0, 30 * MS, 90 * MS)] == [80 * MS, 50 * MS, 0]
    assert later(known, 30 * MS).exec_us == 10 * MS


def waits(said: list[Told]) -> int:
    known = forecast(said)
    assert known is not None
    return known.wait_us


def test_of_agents_that_are_all_late_or_cost_the_same_the_soonest_comes_first() -> None:
    assert order(agent("L4", 300), agent("H200", 200)) == [1, 0]
    assert order(agent("L4", 40, wait_ms=20), agent("L4", 40)) == [1, 0]


def test_where_a_price_or_the_product_is_not_known_time_alone_counts() -> None:
    assert order(agent("L4", 40), agent("T4", 10)) == [1, 0]
    assert order(agent("L4", 40), agent("", 10)) == [1, 0]
    agents = list(enumerate((agent("L4", 40), agent("H200", 10))))
    assert cheapest_first(agents, {}, 100 * MS) == soonest_first(agents) == [1, 0]


def test_a_policy_that_compares_is_asked_once_both_variants_were_measured() -> None:
    unmeasured = Forecast(warm=1, exec_us=30 * MS, measured=False)
    assert first("speed-up", known={GPU: unmeasured, CPU: unmeasured})[0] is GPU
    assert first("landlord", known={GPU: KNOWN[GPU], CPU: unmeasured})[0] is CPU
    assert first("speed-up", known={GPU: unmeasured, CPU: KNOWN[CPU]})[0] is GPU
    assert first("cpu-only", known={GPU: unmeasured, CPU: unmeasured})[0] is CPU


def test_a_cpu_variant_that_was_never_measured_is_tried_with_one_request_at_a_time() -> None:
    waiting = VariantLoad(warm=1, queued=1, exec_ms=30)
    tried = forecast([Told(waiting, 0), Told(VariantLoad(warm=1, exec_ms=20), 0)])
    assert tried is not None
    assert (tried.busy, tried.measured) == (True, False)
    assert first("slack", known={**KNOWN, CPU: tried})[0] is GPU
    assert first("slack", known={**KNOWN, CPU: replace(tried, busy=False)})[0] is CPU
    assert first("slack", known={**KNOWN, CPU: replace(tried, measured=True)})[0] is CPU, "it is known then"


def test_nobody_waits_for_the_cpu_to_start_while_the_gpu_is_warm_unless_only_cpus_are_used() -> None:
    cold_cpu = {**KNOWN, CPU: Forecast(exec_us=30 * MS, start_us=MS)}
    wakes = DeviceChooser("speed-up").course(BOTH, cold_cpu, 100 * MS, wakes=True)
    assert wakes == Course(wakes_cpu=True)
    assert first("cpu-only", known=cold_cpu) == (CPU, False)
    both_cold = {**cold_cpu, GPU: Forecast(exec_us=10 * MS, start_us=MS)}
    assert first("speed-up", known=both_cold) == (CPU, True)
