"""What a gateway and a reconciler ask the core, recorded and asked again."""

import msgspec
import planning_world
import pytest
from event_logs import Files, changed, recording, replayed
from msgspec.structs import replace
from planning_world import World, cores, gpus, make_function

from stoker.admission import Crowd, Forecast, Hold, Refuse, Send
from stoker.control import measured
from stoker.control.planning import Observed, Plan, PlanMemory, PlanParams
from stoker.decider import Arrival, Decider
from stoker.decisions import RequestRecord
from stoker.model.function import Variant
from stoker.reasons import Outcome, Reason
from stoker.replay.records import Ended
from stoker.replay.replayer import replay
from stoker.testing import builders
from stoker.testing.builders import MS, make_record

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU


def busy_world(monkeypatch: pytest.MonkeyPatch, decider: Decider) -> World:
    """Two functions on one GPU: starts, turns, idleness, a crash and an update."""
    monkeypatch.setattr(planning_world, "plan", decider.plan)
    world = World([make_function("a"), make_function("b", keep_alive_ttl_us=5_000_000)], [*gpus(1), cores()])
    world.known_start = False
    world.plan()
    world.want("a", 2)
    world.run(5_000_000)
    world.want("b", 1)
    world.run(20_000_000, by_us=1_000_000)
    world.functions = {**world.functions, "default/b": make_function("b", revision=2)}
    world.run(5_000_000, by_us=1_000_000)
    for identity in list(world.replicas):
        world.crash(identity)
    world.want("a", 0)
    world.run(20_000_000, by_us=1_000_000)
    return world


def test_every_plan_replays_with_its_memory_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    world = busy_world(monkeypatch, recording(files))
    assert {type(action).__name__ for _, action in world.actions} >= {"Start", "Drain"}
    assert replayed(files.lines).compared["plan"] > 60
    assert sum(b'"memory":{' in line for line in files.lines) == 1
    assert sum(b'"event":"function"' in line for line in files.lines) == 3


def test_plans_replay_from_the_begin_of_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    busy_world(monkeypatch, recording(files, part_bytes=15_000))
    assert len(files.files) > 2
    assert sum(replayed(lines).compared.get("plan", 0) for lines in files.files) > 60


def test_a_memory_that_was_lost_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    world = busy_world(monkeypatch, recording(files))
    world.memory = PlanMemory()
    world.run(1_000_000)
    assert sum(b'"memory":{' in line for line in files.lines) == 2
    replayed(files.lines)


def test_a_start_up_time_that_a_plan_was_told_is_the_predictions_own() -> None:
    files = Files()
    recorder = recording(files)
    predictions = recorder.make_predictions()
    function = make_function("a")
    world = World([function], gpus(1))
    for us in (1_000_000, 3_000_000):
        predictions.observe_start(function.key, GPU, us)
    told = {function.key: {GPU: predictions.start_us(function, GPU).us}}
    recorder.plan(replace(world.observed(), start_us=told), world.now_us, world.params)
    assert replayed(files.lines).compared == {"estimate": 3, "plan": 1}
    found = replay([changed(line, us=5) if b"started" in line else line for line in files.lines])
    assert found.difference is not None
    assert found.difference.kind == "estimate"


def test_plans_that_scale_by_rates_replay_from_the_begin_of_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files()
    recorder = recording(files, part_bytes=15_000)
    predictions = recorder.make_predictions()

    def planned(observed: Observed, now_us: int, params: PlanParams) -> Plan:
        execs_us = measured.exec_us(predictions, observed.functions, observed.replicas)
        service = measured.service(predictions, observed.functions, observed.replicas, observed.demand)
        return recorder.plan(replace(observed, exec_us=execs_us, service=service), now_us, params)

    monkeypatch.setattr(planning_world, "plan", planned)
    function = make_function("a", max_replicas=4)
    world = World([function], gpus(4))
    world.known_start = False
    for number in range(60):
        predictions.observe_exec(function.key, GPU, "A100-40GB", 400_000 + 5_000 * (number % 7))
        world.arrivals[function.key, GPU] = 5 * number
        world.want("a", 1 + number % 4)
        world.step(500_000)
    sizing = world.memory.functions[function.key].sizing[GPU]
    assert sizing.steady is not None
    assert (sizing.steady.count, len(world.replicas)) == (4, 4)
    assert len(files.files) > 2
    assert sum(replayed(lines).compared.get("plan", 0) for lines in files.files) == 60


def test_a_plan_that_cannot_be_written_down_ends_the_log_and_is_made_all_the_same() -> None:
    files = Files()
    recorder = recording(files)
    world = World([make_function("a")], gpus(1))
    odd = replace(world.observed(), max_gpus={"nobody": object()})
    assert recorder.plan(odd, world.now_us, world.params).next_due_us > world.now_us
    assert files.stopped.startswith("a plan cannot be written down")


def test_what_only_kubernetes_observes_is_written_down_too() -> None:
    files = Files()
    recorder = recording(files)
    world = World([make_function("a")], gpus(2))
    world.want("a", 1)
    world.known_start = False
    observed = replace(
        world.observed(),
        nodes={("default/a", GPU): frozenset({"n1", "n2"})},
        cross_tenant=frozenset({"y", "x"}),
        max_gpus={"default": 1},
    )
    recorder.plan(observed, world.now_us, world.params)
    recorder.plan(observed, world.now_us + 1, world.params)
    assert replayed(files.lines).compared["plan"] == 2
    assert b'"observed":{}' in files.lines[-1]


def arrival(identity: str = "r", body_bytes: int = 0) -> Arrival:
    return Arrival(
        id=identity, now_us=5, latency_us=250 * MS, timeout_us=60_000 * MS, body_bytes=body_bytes, wakes=True
    )


def test_a_gateway_s_bounds_and_choices_replay() -> None:
    files = Files()
    recorder = recording(files)
    function = builders.make_function(cpu_variant=True, max_requests=2)
    assert not recorder.queue_full(function, arrival(), Crowd(requests=1, body_bytes=10))
    assert recorder.queue_full(function, arrival(), Crowd(requests=1, body_bytes=0, gateways=2))
    assert recorder.choose(function, {}, 100, wakes=True) == (Hold(GPU), 0)
    cold = {GPU: Forecast(start_us=9_000), CPU: Forecast(warm=1, exec_us=50)}
    assert recorder.choose(function, cold, 100, wakes=True) == (Send(CPU), 1)
    assert recorder.after_miss(function, cold, 100, 1, wakes=True) == (Hold(GPU, late_ok=True), 2)
    assert recorder.choose(function, {}, 100, wakes=False) == (Refuse(Reason.SCALED_TO_ZERO), 2)
    assert replayed(files.lines).compared == {"arrive": 2, "choose": 4}


def test_a_gateway_s_hold_replays_from_the_begin_of_each_file() -> None:
    files = Files()
    recorder = recording(files, part_bytes=600)
    shares = recorder.make_shares(5, 10_000)
    for _ in range(8):
        for namespace in ("a", "b"):
            if not shares.full(namespace, 100):
                shares.add(namespace, 1, 100)
    shares.add("a", -1, -100)
    assert not shares.full("c", 100)
    found = [replayed(lines) for lines in files.files]
    assert len(found) > 2
    assert sum(one.compared.get("room", 0) for one in found) == 17


def test_what_became_of_a_request_is_in_the_log_and_nothing_of_what_it_said() -> None:
    files = Files()
    recorder = recording(files, clock_us=lambda: 99)
    record: RequestRecord = make_record(Outcome.SERVED, id="r1", path="/secret?token=1", exec_us=5, on_time=True)
    recorder.ended(record)
    recorder.ended(make_record(Outcome.REFUSED, Reason.FUNCTION_NOT_FOUND, function=""))
    found = [msgspec.json.decode(line, type=Ended) for line in files.lines[1:]]
    assert [(one.id, one.now_us, one.exec_us, one.on_time) for one in found] == [("r1", 99, 5, True)]
    assert b"secret" not in b"".join(files.lines)
    assert replayed(files.lines).ended == 1
