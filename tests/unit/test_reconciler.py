"""The reconciler against a fake agent, gateway and launcher: order of steps, faults at every step, no double work."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pytest
from planning_world import CPU, GPU, cores, gpus, make_function, revision_of
from reconciler_fakes import MS, Bench

from stoker.control.planning import Observed, Plan, PlanParams
from stoker.decider import Decider
from stoker.errors import UnknownName
from stoker.model.device import Device, Reservation
from stoker.model.function import ContainerSpec, Function, KeepAlivePolicy
from stoker.model.policy import NamespaceRule, default_policy
from stoker.model.replica import ReplicaSpec
from stoker.reasons import Reason
from stoker_cli.processes.launcher import ExitInfo

pytestmark = pytest.mark.unit


ID = f"default/f-{revision_of(1)}-0"


@pytest.fixture
async def benches() -> AsyncIterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.launcher.gate.set()
        bench.launcher.terminate_errors.clear()
        await bench.reconciler.stop()


async def started(benches: list[Bench], *functions: Function, **fields: Any) -> Bench:
    bench = Bench(*functions, **fields)
    benches.append(bench)
    await bench.reconciler.start()
    return bench


async def until(condition: Callable[[], object], ceiling_s: float = 5) -> None:
    deadline = time.monotonic() + ceiling_s
    while not condition():
        assert time.monotonic() < deadline, "not within the ceiling"
        await asyncio.sleep(0.002)


async def test_demand_starts_a_replica_step_by_step(benches: list[Bench]) -> None:
    bench = await started(benches, make_function())
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    assert bench.calls == [f"reserve {ID}", f"launch {ID}", f"attach {ID}"]
    await until(lambda: bench.reconciler.why_waiting("default/f") == "1 replica is warm")
    assert bench.reconciler.why_waiting("default/unknown") == ""


async def test_an_idle_replica_is_drained_terminated_and_detached_in_that_order(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(keep_alive_ttl_us=30 * MS))
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.gateway.want(0)
    await until(lambda: bench.state() == [])
    assert bench.calls[3:] == [f"drain {ID}", f"terminate {ID} 30000", f"detach {ID}"]
    assert bench.agent.reasons[ID] is None
    assert ("stoker_replica_drains_total", ("default", "f", "gpu", "Idle")) in bench.sink.counts


async def test_drain_waits_for_the_work_in_flight(benches: list[Bench]) -> None:
    bench = await started(benches, make_function())
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.agent.change(ID, in_flight=1, idle_since_us=None)
    bench.reconciler.set_functions({})
    await until(lambda: f"drain {ID}" in bench.calls)
    await asyncio.sleep(0.15)
    assert not any(call.startswith("terminate") for call in bench.calls)
    bench.agent.drained[ID].set()
    await until(lambda: bench.state() == [])


async def test_pokes_that_come_together_make_few_plans(benches: list[Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await started(benches, make_function())
    plans = 0
    original = bench.reconciler._reconcile

    def counting() -> float:
        nonlocal plans
        plans += 1
        return original()

    monkeypatch.setattr(bench.reconciler._rounds, "_play", counting)
    end = time.monotonic() + 0.25
    while time.monotonic() < end:
        for _ in range(100):
            bench.reconciler.poke()
        await asyncio.sleep(0.001)
    assert 2 <= plans <= 7


@pytest.mark.parametrize("error", [RuntimeError("boom"), OSError("no space left"), ValueError()])
async def test_whatever_a_launcher_raises_is_a_failed_start_that_releases_the_device(
    benches: list[Bench], error: Exception
) -> None:
    bench = Bench(make_function())
    benches.append(bench)
    bench.launcher.errors = [error]
    await bench.reconciler.start()
    bench.gateway.want(1)
    await until(lambda: f"detach {ID}" in bench.calls)
    assert bench.agent.reasons[ID] is Reason.START_FAILED
    assert f"attach {ID}" not in bench.calls
    await until(lambda: bench.state() == ["warm"])
    assert bench.calls.count(f"launch {ID}") == 2


async def test_a_crash_before_ready_is_shown_with_its_last_words_and_backed_off(benches: list[Bench]) -> None:
    bench = Bench(make_function(), back_off_us=300 * MS)
    benches.append(bench)
    bench.agent.ready_at_once = False
    await bench.reconciler.start()
    bench.gateway.want(1)
    await until(lambda: f"attach {ID}" in bench.calls)
    output = ("Traceback", "ModuleNotFoundError: No module named 'torch'")
    bench.launcher.die(ID, ExitInfo(code=1, output=output, detail="it ended with exit code 1"))
    assert bench.agent.reasons[ID] is Reason.START_FAILED
    await until(lambda: "No module named 'torch'" in bench.reconciler.why_waiting("default/f"))
    assert bench.calls.count(f"launch {ID}") == 1
    await until(lambda: bench.calls.count(f"launch {ID}") == 2)


async def test_a_warm_replica_that_crashes_is_replaced_at_once(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(), back_off_us=60_000 * MS)
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.launcher.die(ID, ExitInfo(code=None, signal=9, detail="it was ended by SIGKILL"))
    assert bench.agent.reasons[ID] is Reason.REPLICA_FAILED
    await until(lambda: bench.state() == ["warm"] and bench.calls.count(f"launch {ID}") == 2)


async def test_memory_exceeded_keeps_its_reason(benches: list[Bench]) -> None:
    bench = await started(benches, make_function())
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.launcher.die(ID, ExitInfo(code=None, signal=9, reason=Reason.MEMORY_EXCEEDED, detail="too much"))
    assert bench.agent.reasons[ID] is Reason.MEMORY_EXCEEDED


async def test_a_process_that_ends_before_launch_has_returned_is_not_attached(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(), back_off_us=60_000 * MS)

    async def launch(replica: ReplicaSpec, function: Function, devices: Sequence[Device]) -> int:
        bench.launcher.alive.add(replica.id)
        bench.launcher.die(replica.id, ExitInfo(code=2, detail="it ended with exit code 2"))
        return 1

    bench.launcher.launch = launch  # type: ignore[method-assign]
    bench.gateway.want(1)
    await until(lambda: f"detach {ID}" in bench.calls)
    await asyncio.sleep(0.05)
    assert f"attach {ID}" not in bench.calls
    assert bench.state() == []


async def test_a_replica_deleted_while_it_is_launched_is_ended_and_never_attached(benches: list[Bench]) -> None:
    bench = await started(benches, make_function())
    bench.launcher.gate.clear()
    bench.gateway.want(1)
    await until(lambda: f"launch {ID}" in bench.calls)
    bench.reconciler.set_functions({})
    await asyncio.sleep(0.1)
    bench.launcher.gate.set()
    await until(lambda: bench.state() == [])
    assert f"attach {ID}" not in bench.calls
    assert bench.launcher.alive == set()


async def test_a_hung_replica_is_killed_though_it_drains_and_counted_once(benches: list[Bench]) -> None:
    function = make_function(container=ContainerSpec(termination_grace_us=MS))
    bench = await started(benches, function)
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.agent.change(ID, in_flight=1, idle_since_us=None)
    bench.reconciler.set_functions({})
    await until(lambda: bench.state() == ["draining"])
    bench.agent.change(ID, overdue_us=50 * MS)
    await until(lambda: bench.state() == [])
    assert bench.agent.reasons[ID] is Reason.REPLICA_HUNG
    assert bench.calls.count(f"detach {ID}") == 1
    assert f"terminate {ID} 0" in bench.calls


async def test_startup_timeout_kills_and_says_so_with_the_output(benches: list[Bench]) -> None:
    function = make_function(container=ContainerSpec(startup_timeout_us=60 * MS))
    bench = Bench(function, back_off_us=60_000 * MS, resync_us=50 * MS)
    benches.append(bench)
    bench.agent.ready_at_once = False
    await bench.reconciler.start()

    async def terminate(replica_id: str, grace_us: int) -> None:
        bench.launcher.die(replica_id, ExitInfo(code=None, signal=9, output=("loading weights",)))

    bench.launcher.terminate = terminate  # type: ignore[method-assign]
    bench.gateway.want(1)
    await until(lambda: f"detach {ID}" in bench.calls)
    assert bench.agent.reasons[ID] is Reason.START_TIMEOUT
    await until(lambda: "loading weights" in bench.reconciler.why_waiting("default/f"))
    assert bench.reconciler.statuses()["default/f"].condition("Ready").reason is Reason.START_TIMEOUT


async def test_a_refused_reservation_starts_nothing_and_is_planned_again(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_cli.reconciler.RETRY_S", 0.05)
    bench = Bench(make_function())
    benches.append(bench)
    bench.agent.refuse = Reason.WAITING_FOR_GPU
    await bench.reconciler.start()
    bench.gateway.want(1)
    await until(lambda: bench.calls.count(f"reserve {ID}") >= 2)
    assert f"launch {ID}" not in bench.calls
    bench.agent.refuse = None
    await until(lambda: bench.state() == ["warm"])


async def test_a_terminate_that_fails_keeps_the_device_and_is_tried_again(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(), resync_us=50 * MS)
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.launcher.terminate_errors = [RuntimeError("the spawner is busy")]
    bench.reconciler.set_functions({})
    await until(lambda: bench.calls.count(f"terminate {ID} 30000") == 1)
    assert bench.agent.held
    await until(lambda: bench.state() == [])
    assert bench.calls.count(f"terminate {ID} 30000") == 2


async def test_one_action_that_breaks_does_not_keep_the_others_from_beginning(benches: list[Bench]) -> None:
    bench = Bench(make_function("a"), make_function("b"), devices=gpus(2))
    benches.append(bench)
    reserve = bench.agent.reserve

    def broken(spec: ReplicaSpec, reservations: Sequence[Reservation]) -> Reason | None:
        if spec.function == "default/a":
            raise ValueError("no")
        return reserve(spec, reservations)

    bench.agent.reserve = broken  # type: ignore[method-assign]
    await bench.reconciler.start()
    bench.gateway.want(1, "default/a")
    bench.gateway.want(1, "default/b")
    await until(lambda: bench.state() == ["warm"])
    assert "default/b" in bench.only()


async def test_a_defect_in_a_plan_does_not_end_the_reconciler(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stoker_runtime.plan_rounds.BROKEN_S", 0.01)
    bench = Bench(make_function())
    benches.append(bench)
    original = bench.reconciler._observe
    failed: list[int] = []

    def once() -> Any:
        if not failed:
            failed.append(1)
            raise RuntimeError("a defect")
        return original()

    monkeypatch.setattr(bench.reconciler, "_observe", once)
    await bench.reconciler.start()
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])


async def test_an_idle_function_gives_way_and_the_waiting_one_gets_the_device(benches: list[Bench]) -> None:
    bench = await started(benches, make_function("f"), make_function("g"))
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.gateway.want(0)
    bench.gateway.want(1, "default/g")
    await until(lambda: bench.state() == ["warm"] and "default/g" in bench.only())
    order = [call.split()[0] for call in bench.calls]
    assert order == ["reserve", "launch", "attach", "drain", "terminate", "detach", "reserve", "launch", "attach"]
    assert ("stoker_replica_drains_total", ("default", "f", "gpu", "GivesWay")) in bench.sink.counts


async def test_measured_start_ups_are_used_and_guesses_are_not(benches: list[Bench]) -> None:
    bench = await started(benches, make_function())
    assert bench.reconciler._observe().start_us == {}
    bench.agent.predictions.observe_start("default/f", GPU, 8_000_000)
    assert bench.reconciler._observe().start_us == {"default/f": {GPU: 8_000_000}}
    bench.reconciler.poke()
    await until(lambda: "usually 8 s" in bench.reconciler.why_waiting("default/f"))


async def test_stop_drains_and_ends_every_replica_and_plans_no_more(benches: list[Bench]) -> None:
    bench = Bench(make_function(min_replicas=2), make_function("c", gpu=()), devices=[*gpus(2), cores()])
    await bench.reconciler.start()
    bench.gateway.want(1, "default/c", CPU)
    await until(lambda: bench.state() == ["warm"] * 3)
    await bench.reconciler.stop()
    assert bench.state() == []
    assert bench.launcher.alive == set()
    assert sum(labels[-1] == "Shutdown" for _, labels in bench.sink.counts) == 3
    calls = len(bench.calls)
    bench.gateway.want(5)
    await asyncio.sleep(0.1)
    assert len(bench.calls) == calls
    await bench.reconciler.stop()


async def test_a_stop_that_is_cut_short_leaves_no_task_behind() -> None:
    bench = Bench(make_function())
    await bench.reconciler.start()
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.agent.change(ID, in_flight=1, idle_since_us=None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bench.reconciler.stop()
    await asyncio.sleep(0)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_an_unknown_allocation_policy_is_refused_when_it_is_made() -> None:
    with pytest.raises(UnknownName):
        Bench(make_function(), allocation="lottery")


async def test_the_keep_alive_of_a_policy_acts_at_once_on_functions_that_name_none(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(keep_alive_ttl_us=0))
    bench.reconciler.set_policy(msgspec.structs.replace(default_policy(), keep_alive=KeepAlivePolicy.LRU))
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.gateway.want(0)
    await asyncio.sleep(0.2)
    assert bench.state() == ["warm"]
    bench.reconciler.set_policy(default_policy())
    await until(lambda: bench.state() == [])


async def test_a_plan_weighs_namespaces_as_the_policy_says(benches: list[Bench]) -> None:
    seen: list[dict[str, int]] = []

    class Listening(Decider):
        def plan(self, observed: Observed, now_us: int, params: PlanParams) -> Plan:
            seen.append(observed.namespace_weights)
            return super().plan(observed, now_us, params)

    bench = await started(benches, make_function(), decider=Listening())
    await until(lambda: seen == [{}])
    bench.reconciler.set_policy(msgspec.structs.replace(default_policy(), others=NamespaceRule(weight=3)))
    await until(lambda: seen[-1] == {"default": 3})


async def test_the_longest_keep_alive_of_a_policy_acts_at_once(benches: list[Bench]) -> None:
    bench = await started(benches, make_function(keep_alive_ttl_us=3_600_000 * MS))
    bench.gateway.want(1)
    await until(lambda: bench.state() == ["warm"])
    bench.gateway.want(0)
    await asyncio.sleep(0.1)
    assert bench.state() == ["warm"]
    bench.reconciler.set_policy(msgspec.structs.replace(default_policy(), keep_alive_max_us=0))
    await until(lambda: bench.state() == [])
