"""Answers of what-ifs on a small log that a real `stoker serve` wrote (tests/unit/test_whatif.py says more of it)."""

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from event_logs import changed

from stoker_cli.main import run
from stoker_sim.engine.setup import BadSetup
from stoker_sim.whatif import answer as answering
from stoker_sim.whatif.answer import Answer, answer
from stoker_sim.whatif.change import UNKNOWN_RATIOS, Change, ratios
from stoker_sim.whatif.logged import Logged, logged
from stoker_sim.whatif.rebuilt import Rebuilt

pytestmark = pytest.mark.sim

LOG = Path(__file__).parents[1] / "golden" / "files" / "event-log.jsonl.gz"


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    with gzip.open(LOG) as file:
        return file.readlines()


@pytest.fixture(scope="module")
def log(lines: list[bytes]) -> Logged:
    return logged(lines)


@pytest.fixture(scope="module")
def fewer(log: Logged) -> Answer:
    """One GPU instead of two, by another policy."""
    return answer(log, Change(policy="fcfs", gpus=1), 2)


def cut_down(lines: list[bytes], *without: bytes) -> list[bytes]:
    return [line for line in lines if not any(text in line for text in without)]


def row(found: Answer, name: str) -> answering.Row:
    return next(one for one in found.rows if one.name == name)


def test_the_log_as_it_was_comes_out_near_what_was_measured(fewer: Answer) -> None:
    assert [one.name for one in fewer.rows if not one.calibrated] == []
    assert not any("doubt" in note for note in fewer.notes)


def test_with_half_of_the_gpus_more_requests_are_late_and_the_answer_says_how_sure_it_is(fewer: Answer) -> None:
    assert (fewer.policy_before, fewer.policy) == ("least-slack", "fcfs")
    assert (fewer.devices_before, fewer.devices) == (("T4-16GB",) * 2, ("T4-16GB",))
    attainment = row(fewer, "attainment")
    assert attainment.difference.high is not None
    assert attainment.difference.high < 0
    for one in fewer.rows:
        for span in (one.simulated, one.changed, one.difference):
            assert span.value is not None
            assert span.low is not None
            assert span.high is not None
            assert span.low <= span.value <= span.high


def test_what_the_log_has_not_seen_is_told(fewer: Answer) -> None:
    assert fewer.load == pytest.approx(2 * fewer.load_before)
    assert fewer.extrapolates == (
        "the log has seen 2 GPUs, and 1 are asked about",
        f"the load rises to {fewer.load:.2f} of the GPU time, and the highest in the log is {fewer.load_before:.2f}",
    )


def test_equal_logs_and_changes_give_equal_answers(log: Logged, lines: list[bytes]) -> None:
    change = Change(policy="random", products={"T4": "V100-16GB"})
    first, second = (msgspec.json.encode(answer(one, change, 1)) for one in (log, logged(lines)))
    assert first == second


def test_only_another_policy_extrapolates_nothing(log: Logged) -> None:
    found = answer(log, Change(policy="edf"), 0)
    assert found.extrapolates == ()
    assert row(found, "attainment").changed.low is None


def test_a_product_that_nobody_measured_is_assumed_within_a_range_and_told(log: Logged) -> None:
    its = ratios("T4-16GB", "L4-24GB")
    assert (its.known, its.values, its.middle) == (False, UNKNOWN_RATIOS, 1.0)
    found = answer(log, Change(products={"T4": "L4-24GB"}), 2)
    (said,) = found.extrapolates
    assert said.startswith("no profile was measured on both T4-16GB and L4-24GB")
    assert row(found, "attainment").difference.value == 0


@pytest.mark.parametrize(
    ("products", "said"),
    [
        ({"T4": "A100-40GB"}, "published models"),
        ({"T4-16GB": "T4-24GB"}, "of the same family"),
    ],
)
def test_a_product_that_is_known_says_by_what(log: Logged, products: dict[str, str], said: str) -> None:
    found = answer(log, Change(products=products), 0)
    assert said in found.extrapolates[0]


def test_what_the_log_does_not_say_is_assumed_and_told(lines: list[bytes]) -> None:
    found = answer(logged(cut_down(lines, b'"event":"started"', b'"event":"ran"')), Change(policy="edf"), 0)
    assert any(note.startswith("never ran, execution times assumed: default/quick") for note in found.notes)
    assert any(note.startswith("never started in the log, start-up assumed: default/quick") for note in found.notes)


def test_requests_that_never_ran_take_what_others_of_their_function_took(lines: list[bytes]) -> None:
    dones = [index for index, line in enumerate(lines) if b'"event":"done"' in line]
    some = [line for index, line in enumerate(lines) if index not in dones[::2]]
    read = logged([*some, b'{"event":"arrive","id":"cu'])
    work = Rebuilt(read).workload(0, {})
    assert (work.exec_us > 0).all()
    found = answer(read, Change(policy="edf"), 0)
    assert "50 requests never ran; what they would have taken is drawn from others of their function" in found.notes
    assert "the last line of the log was not written whole and is left out" in found.notes


def test_clients_that_left_and_shorter_timeouts_are_told(lines: list[bytes]) -> None:
    index = next(index for index, line in enumerate(lines) if b'"event":"arrive"' in line)
    arrived = msgspec.json.decode(lines[index])
    end = next(at for at, line in enumerate(lines) if b'"event":"end"' in line and arrived["id"].encode() in line)
    left = {"outcome": "failed", "reason": "ClientGone", "on_time": False, "total_us": 1}
    odd = list(lines)
    odd[index], odd[end] = changed(lines[index], timeout_us=5_000_000), changed(lines[end], **left)
    notes = answer(logged(odd), Change(policy="edf"), 0).notes
    assert any(note.startswith("1 requests had a shorter timeout") for note in notes)
    assert any(note.startswith("1 clients left before the objective") for note in notes)


def test_policies_that_were_exchanged_are_told_and_the_busiest_one_stands_for_them(lines: list[bytes]) -> None:
    at = len(lines) - 20
    swap = b'{"event":"exchange","name":"edf","params":{},"queued":0}\n'
    read = logged([*lines[:at], swap, *lines[at:]])
    assert read.policy == "least-slack"
    assert any("was exchanged in the log (least-slack, edf)" in note for note in answer(read, Change(gpus=2), 0).notes)


def test_a_device_on_which_nothing_fits_is_one_sentence(log: Logged) -> None:
    small = Change(products={"T4": "T4-1GB"})
    found = answer(log, small, 0)
    assert row(found, "attainment").changed.value == 0
    with pytest.raises(BadSetup):
        answering._setup(log, "edf", (), 0)


def test_whatif_answers_with_ranges_and_flags(log: Logged, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "answer.json"
    command = ["sim", "whatif", str(LOG), "--gpus", "1", "--replace", "T4=L4-24GB", "--replications", "2"]
    assert run([*command, "--json", str(target)]) == 0
    out = capsys.readouterr().out
    assert f"event-log.jsonl.gz: 100 requests in {log.horizon_us / 1e6:.4g} s, 2xT4-16GB" in out
    assert "What if: 1xL4-24GB" in out
    assert " pt [" in out
    assert "Beyond the log:\n  - the log has seen 2 GPUs, and 1 are asked about\n" in out
    found = json.loads(target.read_bytes())
    assert found["rows"][0]["name"] == "attainment"
    assert len(found["extrapolates"]) == 3
