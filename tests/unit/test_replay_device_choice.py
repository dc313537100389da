"""What a gateway asks its device choice, recorded and asked again: bit for bit, also from the middle of a log."""

import random

import pytest
from event_logs import Files, changed, recording, replayed

from stoker.admission import Course, Forecast, Hold, Send
from stoker.agents_choice import GpuCrowd
from stoker.decider import Decider
from stoker.model.function import Variant
from stoker.policies.device_choice.interface import ChoiceParams, Queued
from stoker.policies.device_choice.registry import DEVICE_CHOICE
from stoker.replay.recorder import Recorder
from stoker.replay.replayer import replay
from stoker.testing.builders import MS, S, make_function

pytestmark = pytest.mark.unit

GPU, CPU = Variant.GPU, Variant.CPU
FUNCTIONS = [make_function(f"f{number}", cpu_variant=True) for number in range(4)]


def asked(decider: Decider, name: str, count: int = 60) -> list[Course]:
    """The answers of a gateway whose load changes now and then."""
    chance, found = random.Random(3), []
    chooser = decider.make_device_chooser(name, ChoiceParams(seed=9))
    crowd = GpuCrowd()
    for turn in range(count):
        if turn % 4 == 0:
            flows = {
                f.key: Queued(chance.randrange(9), chance.randrange(1, 9) * S) for f in chance.sample(FUNCTIONS, 2)
            }
            crowd = GpuCrowd(sum(flow.count * flow.exec_us for flow in flows.values()) + 90 * S, flows)
        known = {
            GPU: Forecast(warm=1, exec_us=chance.randrange(1, 9) * S, wait_us=chance.randrange(90) * S),
            CPU: Forecast(warm=turn % 2, exec_us=chance.randrange(1, 40) * S, start_us=S),
        }
        found.append(
            chooser.course(chance.choice(FUNCTIONS), known, chance.randrange(9) * S, wakes=turn % 5 > 0, crowd=crowd)
        )
    return found


@pytest.mark.parametrize("name", sorted(DEVICE_CHOICE))
def test_each_policy_answers_the_same_whether_recorded_or_not_and_replays(name: str) -> None:
    files = Files()
    answers = asked(recording(files), name)
    assert answers == asked(Decider(), name)
    assert replayed(files.lines).compared == {"course": 60}


def test_a_landlord_replays_from_the_begin_of_each_file() -> None:
    files = Files()
    answers = asked(recording(files, part_bytes=3_000), "landlord")
    assert {course.variant for course in answers} == {None, CPU}
    assert len(files.files) > 5
    assert sum(replayed(lines).compared.get("course", 0) for lines in files.files) == 60


def test_what_is_on_the_gpus_is_written_down_once_for_each_change() -> None:
    files = Files()
    asked(recording(files), "landlord")
    assert sum(b'"event":"crowd"' in line for line in files.lines) == 15


def test_another_answer_than_the_recorded_one_is_found() -> None:
    files = Files()
    asked(recording(files), "speed-up")
    number = next(at for at, line in enumerate(files.lines) if b'"course":{"variant":"cpu"}' in line)
    lines = [changed(line, course={}) if at == number else line for at, line in enumerate(files.lines)]
    found = replay(lines)
    assert found.difference is not None
    assert (found.difference.kind, found.difference.line) == ("course", number + 1)


def test_a_policy_that_was_exchanged_goes_on_in_the_log() -> None:
    files = Files()
    chooser = recording(files).make_device_chooser("slack")
    known = {GPU: Forecast(warm=1, exec_us=S), CPU: Forecast(warm=1, exec_us=S)}
    assert chooser.course(FUNCTIONS[0], known, S, wakes=True) == Course(CPU)
    chooser.exchange("cpu-only")
    assert chooser.course(FUNCTIONS[0], known, S, wakes=True) == Course(CPU, crosses=False)
    assert replayed(files.lines).compared == {"course": 2}


def test_the_walk_of_a_request_that_began_on_the_cpu_replays() -> None:
    files = Files()
    recorder: Recorder = recording(files)
    function, on_cpu = FUNCTIONS[0], Course(CPU)
    known = {GPU: Forecast(warm=1, exec_us=5 * MS), CPU: Forecast(exec_us=MS, start_us=S)}
    assert recorder.choose(function, known, 10 * MS, wakes=True, course=on_cpu) == (Send(GPU), 1)
    assert recorder.after_miss(function, known, MS, 1, wakes=True, course=on_cpu) == (Hold(CPU, late_ok=True), 2)
    assert replayed(files.lines).compared == {"choose": 2}
