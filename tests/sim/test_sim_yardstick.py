"""The optimum of small instances above every policy, and comparisons spread over processes."""

import json
from pathlib import Path

import pytest
from sim_scenarios import SMALL, scenario_of

from stoker_cli.main import run
from stoker_sim import compare
from stoker_sim.compare import Job, Player, Setting
from stoker_sim.scenario import Scenario

pytestmark = pytest.mark.sim

SETTING = Setting(load=0.8)


def tiny(**changes: object) -> Scenario:
    return scenario_of(**{"loads": [0.8], "duration": "1s", "warmUp": "0s", "seeds": 1, **changes})


@pytest.mark.parametrize("form", ["static", "late-binding", "replicas"])
def test_the_optimum_is_between_what_policies_reach_and_the_bound(form: str) -> None:
    scenario = tiny(form=form, policies=["fcfs", "edf", "least-slack"])
    player = Player(scenario, Path())
    best = player.play(Job(setting=SETTING, seed=0, policy=None, exact=True)).bound
    assert best is not None
    assert best.optimum is not None
    assert best.optimum <= best.on_time <= best.offered
    for policy in range(3):
        result = player.play(Job(setting=SETTING, seed=0, policy=policy))
        assert result.measured is not None
        assert (result.measured.values["served"] or 0) - (result.measured.values["late"] or 0) <= best.optimum


def test_the_search_for_the_optimum_ends_where_a_schedule_reaches_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    player, job = Player(tiny(form="static"), Path()), Job(setting=SETTING, seed=0, policy=None, exact=True)
    best = player.play(job).bound
    assert best is not None
    # A bound that is too low tells what the search was given.
    monkeypatch.setattr(compare, "most_on_time", lambda *_: (3, best.offered))
    cut = player.play(job).bound
    assert cut is not None
    assert (cut.on_time, cut.optimum) == (3, 3)
    assert best.optimum is not None
    assert best.optimum > 3


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SMALL.replace("30s", "8s"))
    return tmp_path


def test_results_do_not_hang_on_how_many_processes_there_are(folder: Path) -> None:
    for processes in ("1", "3"):
        files = ["--json", f"{processes}.json", "--csv", f"{processes}.csv"]
        assert run(["sim", "compare", "s.yaml", "--processes", processes, *files]) == 0
    for kind in ("json", "csv"):
        assert (folder / f"1.{kind}").read_bytes() == (folder / f"3.{kind}").read_bytes()


def test_a_mistake_that_a_process_finds_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bad.csv").write_text("arrival_s,function,tenant,exec_ms\n0,f,a,1\n1,f,a,x\n")
    assert run(["sim", "compare", "--trace", "bad.csv", "--gpus", "1", "--processes", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "stoker: bad.csv line 3, exec_ms: 'x' is not a number; write milliseconds from 0.001 to 1e+09"
    ]


def test_the_bound_of_a_small_trace_is_its_optimum(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{at / 10},f,a,30\n{at / 10},g,b,20\n" for at in range(4))
    (folder / "few.csv").write_text(f"arrival_s,function,tenant,exec_ms\n{rows}")
    options = ["--gpus", "1", "--start", "0s", "--processes", "1", "--json", "few.json"]
    assert run(["sim", "bound", "--trace", "few.csv", *options]) == 0
    assert "optimum" in capsys.readouterr().out
    bounds = json.loads((folder / "few.json").read_text())["bounds"]
    assert [(bound["seed"], bound["optimum"]) for bound in bounds] == [(0, 8)]
