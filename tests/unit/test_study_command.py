"""The command from settling to the test, with a play that simulates nothing: no half is opened here."""

import json
import sys
from pathlib import Path

import pytest

from stoker.policies.queueing.registry import POLICIES
from stoker_sim.study import __main__ as command
from stoker_sim.study import frozen, settings
from stoker_sim.study.runs import BOUND, Job, Row
from stoker_sim.study.settings import OURS

pytestmark = pytest.mark.unit

FEW = dict.fromkeys(("edf", OURS, "sjf"), POLICIES["sjf"])
WORTH = {OURS: 0.8, "sjf": 0.7, "edf": 0.6}
FAMILIES = "zipf,kernels"


def play_nothing(job: Job) -> tuple[Row, ...]:
    """Attainment by policy, a little better with the second eviction."""
    rows = [
        (choice.label, WORTH[choice.queueing] + 0.01 * (choice.eviction == "slack-value")) for choice in job.choices
    ]
    if job.bound:
        rows.append((BOUND, 0.95))
    figures = ("attainment", "attainment_by_function", "attainment_rest")
    return tuple(
        Row(
            family=job.family,
            replication=job.replication,
            point=job.point,
            policy=policy,
            values=dict.fromkeys(figures, value + 0.001 * job.replication),
        )
        for policy, value in rows
    )


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    played: list[Job] = []

    def play(job: Job) -> tuple[Row, ...]:
        played.append(job)
        return play_nothing(job)

    for module in (frozen, settings):
        monkeypatch.setattr(module, "POLICIES", FEW)
    monkeypatch.setattr(command, "play", play)
    monkeypatch.setattr(frozen, "described", lambda family, _: family.name.encode())
    monkeypatch.setattr(frozen, "behaviour", lambda made: made.ours.label)
    return played


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["study", "--processes", "1", *map(str, words)])
    return command.main()


def test_settled_then_frozen_then_opened_once(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, file, out = tmp_path / "rows", tmp_path / "frozen.json", tmp_path / "outcome.json"
    assert run(monkeypatch, "settle", rows, "--policies", f"sjf,edf,{OURS}", "--families", FAMILIES) == 0
    assert run(monkeypatch, "freeze", rows, "--frozen", file) == 0
    told = json.loads(file.read_text())
    assert told["rivals"] == {"zipf": "sjf", "kernels": "sjf"}
    assert told["published"]["zipf"]["sjf"]["eviction"] == told["ours"]["eviction"] == "slack-value"
    assert {job.half.value for job in jobs} == {"tuning"}
    assert told["tuned"]["kernels"] == pytest.approx({OURS: 0.8115, "sjf": 0.7115, "edf": 0.6115})

    assert run(monkeypatch, "test", "--on", "2026-12-01", "--frozen", file, "--out", out) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("superior")
    assert json.loads(file.read_text())["opened"] == [{"on": "2026-12-01", "why": "the one test"}]
    first = out.read_bytes()

    assert run(monkeypatch, "test", "--on", "2026-12-02", "--frozen", file, "--out", out) == 2
    assert "the test half was opened before (2026-12-01)" in capsys.readouterr().err
    assert run(monkeypatch, "freeze", rows, "--frozen", file) == 0
    assert run(monkeypatch, "test", "--on", "2026-12-02", "--frozen", file, "--out", out) == 2
    words = ("--again", "a defect of the simulator", "--frozen", file, "--out", out)
    assert run(monkeypatch, "test", "--on", "2026-12-01", *words) == 0
    assert out.read_bytes() == first
    assert [opening["why"] for opening in json.loads(file.read_text())["opened"]][-1] == "a defect of the simulator"


def test_settling_goes_on_where_it_was_interrupted(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "settle", tmp_path, "--policies", "sjf", "--families", "zipf")
    before = len(jobs)
    run(monkeypatch, "settle", tmp_path, "--policies", "sjf,edf", "--families", "zipf")
    assert {choice.queueing for job in jobs[before:] for choice in job.choices} == {"edf"}


def test_trying_policies_prints_a_table_and_never_plays_the_test_half(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = f"{{name: mine, queueing: {OURS}, eviction: slack-value}}"
    assert run(monkeypatch, "tune", "--policies", "sjf", "--choice", choice, "--families", FAMILIES) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["attainment,", "%", "zipf", "kernels"]
    assert first.split()[-2:] == ["70.15", "70.15"]
    assert second.split() == ["mine", "81.15", "81.15"]
    assert {job.half.value for job in jobs} == {"tuning"}


def test_what_is_not_there_is_said_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "tune", "--policies", "sjf", "--families", "philly") == 2
    assert "there is no family 'philly'; use one of: azure," in capsys.readouterr().err
    assert run(monkeypatch, "test", "--on", "today", "--frozen", tmp_path / "none.json") == 2
    assert "nothing is frozen" in capsys.readouterr().err
