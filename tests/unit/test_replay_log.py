"""Event logs that were changed, cut off, stopped, or are none."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from event_logs import Files, ScriptedAgent, changed, recording, replayed

from stoker.replay.journal import Journal
from stoker.replay.lines import BadLog
from stoker.replay.picture import BadPicture, Node, picture, restored
from stoker.replay.records import VERSION
from stoker.replay.replayer import replay
from stoker.testing.builders import make_request, make_slot

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def log() -> list[bytes]:
    """Of one agent, closed in order."""
    files = Files()
    recorder = recording(files)
    ScriptedAgent(recorder, "least-slack").run(80)
    recorder.close()
    return files.lines


def find(lines: list[bytes], text: bytes, then: bytes = b"") -> int:
    return next(index for index, line in enumerate(lines) if text in line and then in line)


def with_line(lines: list[bytes], index: int, line: bytes) -> list[bytes]:
    return [*lines[:index], line, *lines[index + 1 :]]


@pytest.mark.parametrize(
    ("event", "fields", "kind"),
    [
        (b'"event":"pop"', {"got": "somebody"}, "pop"),
        (b'"event":"expire"', {"ids": ["somebody"]}, "expire"),
        (b'"event":"ahead"', {"work_us": 12_345}, "ahead"),
        (b'"event":"cancel"', {"found": True}, "cancel"),
        (b'"event":"judge"', {"verdict": {"promise_us": 7}}, "judge"),
    ],
)
def test_a_decision_that_was_changed_is_found_where_it_stands(
    log: list[bytes], event: bytes, fields: dict[str, object], kind: str
) -> None:
    index = find(log, event, b'"nobody"' if kind == "cancel" else b"")
    found = replay(with_line(log, index, changed(log[index], **fields)))
    assert found.difference is not None
    assert (found.difference.line, found.difference.kind) == (index + 1, kind)
    assert found.difference.recorded != found.difference.replayed
    assert event.decode() in found.difference.record


def test_an_input_that_was_changed_is_found_by_what_follows_from_it(log: list[bytes]) -> None:
    index = find(log, b'"event":"ran"')
    found = replay(with_line(log, index, changed(log[index], us=10**6)))
    assert found.difference is not None
    assert (found.difference.kind, found.difference.line > index) == ("estimate", True)


def test_a_request_that_was_left_out_is_found(log: list[bytes]) -> None:
    index = find(log, b'"event":"push"')
    found = replay(log[:index] + log[index + 1 :])
    assert found.difference is not None


def test_what_the_core_raises_now_is_a_difference(log: list[bytes]) -> None:
    pushed = make_request("twice")
    files = Files()
    recording(files).make_queueing("fcfs").push(pushed)
    found = replay([*files.lines, files.lines[-1]])
    assert found.difference is not None
    assert "request twice is queued already" in found.difference.replayed


def test_a_last_line_that_was_cut_off_is_left_out_and_told(log: list[bytes]) -> None:
    for keep in (1, 40, -1):
        cut = [*log[:-2], log[-2][:keep]]
        found = replayed(cut)
        assert (found.cut, found.closed, found.records) == (len(cut), None, len(cut) - 1)
    assert replayed(log).cut is None


def test_a_log_says_how_it_ended(log: list[bytes]) -> None:
    assert (replayed(log).closed, replayed(log[:-1]).closed) == ("", None)


def plan_line(observed: dict[str, Any]) -> bytes:
    plan = {"event": "plan", "now_us": 1, "observed": observed, "next_due_us": 2, "statuses": "", "memory": ""}
    return msgspec.json.encode(plan) + b"\n"


BAD: list[tuple[Callable[[list[bytes]], list[bytes]], int, str]] = [
    (lambda _: [], 1, "no whole line"),
    (lambda log: [log[0][:30]], 1, "no whole line"),
    (lambda log: [b"hello\n", *log[1:]], 1, "no header of an event log"),
    (lambda log: log[1:], 1, "no header of an event log"),
    (
        lambda log: [changed(log[0], version=VERSION + 1), *log[1:]],
        1,
        f"has version {VERSION + 1} and this Stoker replays {VERSION}",
    ),
    (lambda log: [changed(log[0], devices=5), *log[1:]], 1, "no record of an event log"),
    (lambda log: [*log[:5], b"{}\n", *log[5:]], 6, "no record of an event log"),
    (lambda log: [*log[:5], b"\xff\n", *log[5:]], 6, "no record of an event log"),
    (lambda log: [*log, log[0]], 0, "one header, on its first line"),
    (lambda log: [line for line in log if b'"event":"function"' not in line], 0, "no function has the number 1"),
    (lambda log: [line for line in log if b'"event":"queueing"' not in line], 0, "no policy was named"),
    (lambda log: [*log[:4], b'{"event":"done","pop":99,"actual_us":1}\n'], 5, "no request was popped as number 99"),
    (lambda log: [*log[:4], b'{"event":"push","id":"x"}\n'], 5, "request x was not judged before"),
    (lambda log: [*log[:1], b'{"event":"room","namespace":"a","body_bytes":1,"full":true}\n'], 2, "bounds of the hold"),
    (lambda log: [*log[:1], b'{"event":"predictions","state":[["list",[]]]}\n'], 2, "its predictions are none"),
    (lambda log: [*log[:1], b'{"event":"predictions","state":[["os:system",[]]]}\n'], 2, "no class of this package"),
    (lambda log: [*log[:1], b'{"event":"shares","state":[["list",[]]]}\n'], 2, "its shares of the hold are none"),
    (lambda log: [*log[:1], plan_line({"devices": 5})], 2, "what the plan observed cannot be read"),
    (lambda log: [*log[:1], plan_line({"functions": [7]})], 2, "no function has the number 7"),
    (lambda log: [*log[:1], plan_line({"functions": [], "devices": []})], 2, "needs its params and its memory"),
]


@pytest.mark.parametrize(("spoil", "line", "reason"), BAD, ids=[reason for _, _, reason in BAD])
def test_what_is_no_log_is_refused_with_line_and_reason(
    log: list[bytes], spoil: Callable[[list[bytes]], list[bytes]], line: int, reason: str
) -> None:
    with pytest.raises(BadLog, match=reason) as refused:
        replay(spoil(log))
    assert line in (0, refused.value.line)


def test_a_log_that_can_take_no_more_stops_and_its_agent_goes_on() -> None:
    files = Files(full_after=50)
    recorder = recording(files)
    agent = ScriptedAgent(recorder, "mqfq")
    agent.run(60)
    agent.exchange("edf")
    agent.run(10)
    recorder.close()
    assert len(files.lines) == 50
    assert replayed(files.lines).compared["pop"] > 0


def test_a_state_that_cannot_be_written_down_ends_the_log_and_nothing_else() -> None:
    files = Files()
    policy = recording(files, part_bytes=1_500).make_queueing("fcfs")
    policy.inner.odd = lambda: None  # type: ignore[attr-defined]
    for number in range(10):
        policy.push(make_request(arrival_us=number))
    assert files.stopped.startswith("the state of RecordedQueue cannot be written down (a function is not part of")
    assert policy.pop(make_slot("default/f"), 1) is not None


def test_a_record_that_cannot_be_written_down_ends_the_log_and_nothing_else() -> None:
    files = Files()
    policy = recording(files).make_queueing("fcfs")
    policy.push(make_request("\ud800"))
    assert files.stopped.startswith("a Pushed cannot be written down")
    assert policy.queued() == 1


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [Node("list", [[1]])],
        [Node("tuple", [[0]])],
        [Node("dict", [1])],
        [Node("stoker.model.request:Nobody", [])],
        [Node("stoker.nowhere:Nobody", [])],
        [Node("stoker.model.request:QueuedRequest", ["id", "x"])],
        [Node("stoker.model.function:Variant", ["tpu"])],
        [Node("subprocess:Popen", [])],
    ],
)
def test_a_picture_of_nothing_is_refused(nodes: list[Node]) -> None:
    with pytest.raises(BadPicture):
        restored(nodes)


def test_a_picture_keeps_what_is_shared_shared() -> None:
    inner = [1, (2, None)]
    again = restored(picture([inner, inner, {"a": {1.5}, "b": frozenset("x")}]))
    assert again == [inner, inner, {"a": {1.5}, "b": frozenset("x")}]
    assert again[0] is again[1]


def test_only_what_is_data_can_be_pictured() -> None:
    for odd in (len, object(), Journal, open):
        with pytest.raises(BadPicture):
            picture([odd])
