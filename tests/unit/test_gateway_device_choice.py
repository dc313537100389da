"""The device choice at a gateway: where requests go first, what is woken, what the answer says, and live changes."""

import asyncio
from typing import Any

import pytest
from gateway_fake_agent import GatewayUnderTest, Run, Start, function, serve, starting
from msgspec.structs import replace

from stoker.model.function import OnMiss, Slo, Variant
from stoker.model.policy import AdmissionMode, Policy, default_policy
from stoker.policies.device_choice.interface import Arrival
from stoker.reasons import DeviceReason, Reason

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)

BOTH = function(cpu_variant=True)
GPU, CPU = Variant.GPU, Variant.CPU


def policy(device_choice: str, **changes: Any) -> Policy:
    return replace(default_policy(), device_choice=device_choice, **changes)


async def both_warm(g: GatewayUnderTest, name: str, *, cpu_ms: float = 10.0) -> None:
    await g.warm("ns/f", GPU, exec_ms=5.0, samples=9)
    await g.warm("ns/f", CPU, exec_ms=cpu_ms, samples=9)
    g.gateway.set_policy(policy(name))


async def on_which(g: GatewayUnderTest) -> tuple[str, str]:
    """The variant that the agent was asked for, and the reason in the answer."""
    answer = await g.call()
    assert answer.status == 200
    return g.agent.runs[-1].header("stoker-variant") or "", answer.headers["stoker-device-reason"]


async def test_each_device_choice_sends_requests_where_it_says_and_the_answer_says_why(start: Start) -> None:
    g = await start(BOTH)
    await both_warm(g, "slack")
    assert await on_which(g) == ("cpu", "Chosen")
    for name, variant in (("cpu-only", "cpu"), ("gpu-only", "gpu"), ("speed-up", "cpu"), ("slack", "cpu")):
        g.gateway.set_policy(policy(name))
        assert await on_which(g) == (variant, "Chosen")
    await g.warm("ns/f", CPU, exec_ms=500.0, samples=9)
    g.gateway.set_policy(policy("speed-up"))
    assert await on_which(g) == ("gpu", "Chosen")
    record = await g.ended(6)
    assert (record.variant, record.device_reason, record.diverted) == (GPU, DeviceReason.CHOSEN, False)
    assert any("speed-up sent it to the gpu variant (predicted: " in step.what for step in record.steps)
    assert (await g.ended(2)).diverted
    # slack twice, cpu-only once and speed-up once.
    assert g.metrics.values["stoker_requests_diverted_total", "ns", "f", "Chosen"] == 4


async def test_a_function_that_may_not_divert_never_goes_to_the_cpu(start: Start) -> None:
    strict = function(cpu_variant=True, on_predicted_miss=(OnMiss.SERVE_LATE,))
    g = await start(strict)
    await both_warm(g, "cpu-only")
    assert await on_which(g) == ("gpu", "OnlyVariant")


async def test_only_what_is_chosen_is_woken_and_told_as_demand(start: Start) -> None:
    g = await start(BOTH, warm=False)
    g.agent.load("ns/f", GPU, exec_ms=5.0, start_ms=100.0)
    g.agent.load("ns/f", CPU, exec_ms=10.0, start_ms=100.0)
    await g.until(lambda: len(g.gateway._view.forecasts("ns/f")) == 2)
    g.gateway.set_policy(policy("cpu-only"))
    calling = asyncio.create_task(g.call())
    await g.until(lambda: bool(g.gateway.demand()))
    (wanted,) = g.gateway.demand()["ns/f"].items()
    assert wanted[0] is CPU
    assert (wanted[1].held, wanted[1].arrivals) == (1, 1)
    assert g.gateway._states["ns/f"].gpu.arrivals == 0
    await g.warm("ns/f", CPU)
    answer = await calling
    assert (answer.status, answer.headers["stoker-cold-start"], answer.headers["stoker-device-reason"]) == (
        200,
        "1",
        "Chosen",
    )
    assert GPU not in g.gateway.demand()["ns/f"]


async def test_a_full_queue_wakes_what_its_requests_were_sent_to(start: Start) -> None:
    g = await start(function(cpu_variant=True, queue=replace(BOTH.spec.queue, max_requests=1)), warm=False)
    g.agent.load("ns/f", GPU, exec_ms=5.0)
    g.agent.load("ns/f", CPU, exec_ms=10.0)
    await g.until(lambda: len(g.gateway._view.forecasts("ns/f")) == 2)
    g.gateway.set_policy(policy("cpu-only"))
    held = asyncio.create_task(g.call())
    await g.until(lambda: bool(g.gateway.demand()))
    assert (await g.call()).problem().reason == "QueueFull"
    assert set(g.gateway.demand()["ns/f"]) == {CPU}
    held.cancel()


async def test_what_the_cpu_refuses_goes_to_the_gpu_that_is_on_time_and_ends_late_where_it_began(start: Start) -> None:
    g = await start(BOTH)
    await both_warm(g, "speed-up")

    async def refuses(run: Run) -> None:
        if run.header("stoker-late-ok") == "0":
            await run.refuse(Reason.PREDICTED_MISS)
        else:
            await serve(run)

    g.agent.on_run = refuses
    answer = await g.call()
    asked = [(run.header("stoker-variant"), run.header("stoker-late-ok")) for run in g.agent.runs]
    assert asked == [("cpu", "0"), ("gpu", "0"), ("cpu", "1")]
    assert answer.headers["stoker-device-reason"] == "ServedLate"
    assert g.metrics.values["stoker_requests_diverted_total", "ns", "f", "ServedLate"] == 1

    async def full_cpu(run: Run) -> None:
        await (run.refuse(Reason.PREDICTED_MISS) if run.header("stoker-variant") == "cpu" else serve(run))

    g.agent.on_run = full_cpu
    answer = await g.call()
    assert (answer.status, answer.headers["stoker-device-reason"]) == (200, "PredictedMiss")
    assert not (await g.ended(2)).diverted


@pytest.mark.parametrize(("name", "variant"), [("gpu-only", "gpu"), ("cpu-only", "cpu")])
async def test_the_two_ends_stay_where_they_are_also_when_a_miss_is_predicted(
    start: Start, name: str, variant: str
) -> None:
    g = await start(function(cpu_variant=True, on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE)))
    await both_warm(g, name)
    g.agent.on_run = lambda run: run.refuse(Reason.PREDICTED_MISS)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "PredictedMiss")
    assert answer.headers["stoker-device-reason"] == "none"
    assert not any(name[0] == "stoker_requests_diverted_total" for name in g.metrics.values)
    assert {run.header("stoker-variant") for run in g.agent.runs} == {variant}


async def test_a_landlord_counts_what_is_on_the_gpus_of_all_agents(start: Start) -> None:
    g = await start(BOTH, agents=2, device_choice_seed=3)
    g.gateway.set_policy(policy("landlord"))
    seen: list[int] = []
    chooser = g.gateway._choosing._chooser
    choose = chooser._policy.choose

    def watched(arrival: Arrival) -> Variant:
        seen.append(arrival.load_us)
        return choose(arrival)

    chooser._policy.choose = watched  # type: ignore[method-assign]
    for agent in g.agents:
        agent.load("ns/f", GPU, warm=1, running=1, queued=2, exec_ms=10.0, samples=9)
        agent.load("ns/f", CPU, warm=1, exec_ms=20.0, samples=9)
    await g.until(lambda: g.gateway._view.warm("ns/f", CPU) == 2)
    await g.call()
    assert seen == [60_000]


async def test_where_prices_are_known_the_cheapest_agent_that_is_on_time_is_asked_first(start: Start) -> None:
    g = await start(agents=2)
    g.agents[0].load("ns/f", warm=1, free=1, exec_ms=5.0, product="H200")  # type: ignore[arg-type]
    g.agents[1].load("ns/f", warm=1, free=1, exec_ms=20.0, product="L4")  # type: ignore[arg-type]
    await g.until(lambda: all(link.functions["ns/f"][GPU].product for link in g.gateway._view._links))
    await g.call()
    assert [len(agent.runs) for agent in g.agents] == [1, 0]
    g.gateway.set_policy(policy("slack", prices={"H200": 10.0, "L4": 1.0}))
    await g.call()
    assert [len(agent.runs) for agent in g.agents] == [1, 1]


@pytest.mark.parametrize("off", [{"admission": AdmissionMode.OBSERVE}, {"admission_policy": "none"}])
async def test_in_mode_observe_and_without_admission_nobody_is_refused_for_a_predicted_miss(
    start: Start, off: dict[str, Any]
) -> None:
    slo = Slo(latency_us=250_000, cold_latency_us=1_000_000)
    g = await start(function(slo=slo, on_predicted_miss=(OnMiss.REFUSE,)), warm=False)
    g.agent.load("ns/f", start_ms=8_000.0)
    await g.until(lambda: bool(g.gateway._view.forecasts("ns/f")))
    assert (await g.call()).problem().reason == "PredictedMiss"
    g.gateway.set_policy(policy("slack", **off))
    calling = asyncio.create_task(g.call())
    await g.until(lambda: any(wanted[GPU].held for wanted in g.gateway.demand().values()))
    await g.warm()
    assert (await calling).status == 200

    async def strict(run: Run) -> None:
        await (serve(run) if run.header("stoker-late-ok") == "1" else run.refuse(Reason.PREDICTED_MISS))

    g.agent.on_run = strict
    assert (await g.call()).status == 200


async def test_the_warm_gpu_serves_while_the_cpu_that_is_wanted_starts(start: Start) -> None:
    g = await start(BOTH)
    await g.warm("ns/f", GPU, exec_ms=5.0, samples=9)
    g.agent.load("ns/f", CPU, exec_ms=10.0, start_ms=100.0, samples=9)
    await g.until(lambda: len(g.gateway._view.forecasts("ns/f")) == 2)
    g.gateway.set_policy(policy("speed-up"))
    assert await on_which(g) == ("gpu", "NotWarmElsewhere")
    assert g.gateway.demand()["ns/f"][CPU].last_wake_us is not None
    await g.warm("ns/f", CPU, exec_ms=10.0, samples=9)
    assert await on_which(g) == ("cpu", "Chosen")
    assert (await g.ended()).device_reason is DeviceReason.NOT_WARM_ELSEWHERE


async def test_a_request_that_is_over_its_function_s_share_of_the_gpus_says_so_on_the_cpu(start: Start) -> None:
    g = await start(BOTH)
    await both_warm(g, "speed-up", cpu_ms=50.0)

    async def full_gpu(run: Run) -> None:
        await (run.refuse(Reason.OVER_SHARE) if run.header("stoker-variant") == "gpu" else serve(run))

    g.agent.on_run = full_gpu
    assert await on_which(g) == ("cpu", "OverShare")
    assert any("over its share on the gpu variant" in step.what for step in (await g.ended()).steps)


async def test_a_request_that_a_full_core_refuses_goes_to_the_gpu_whose_told_wait_has_passed_since(
    start: Start,
) -> None:
    g = await start(
        function(cpu_variant=True, slo=Slo(latency_us=600_000), on_predicted_miss=(OnMiss.DIVERT, OnMiss.REFUSE))
    )
    await both_warm(g, "cpu-only")
    g.gateway.set_policy(policy("slack"))
    await g.warm("ns/f", GPU, exec_ms=5.0, samples=9, wait_ms=700.0)

    async def full(run: Run) -> None:
        if run.header("stoker-variant") == "cpu":
            await run.refuse(Reason.PREDICTED_MISS, predicted_finish_ms=900)
        else:
            await serve(run)

    g.agent.on_run = full
    assert (await g.call()).status == 429, "it would have waited for too long when that was told"
    await asyncio.sleep(0.2)
    assert await on_which(g) == ("gpu", "PredictedMiss")
