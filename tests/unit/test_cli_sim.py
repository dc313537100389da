"""`stoker sim`: a mistake is one sentence and exit code 2, and what is asked for is shown and written."""

import json
from pathlib import Path

import pytest
from sim_scenarios import SMALL

from stoker_cli.main import run

pytestmark = pytest.mark.unit

TRACE = "arrival_s,function,tenant,exec_ms\n" + "".join(f"{at / 10},f,a,30\n{at / 10},g,b,20\n" for at in range(40))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TRACE)
    Path("bad.csv").write_text(TRACE.replace("0.3,f,a,30", "0.3,f,a,-3"))
    Path("s.yaml").write_text(SMALL.replace("seeds: 3", "seeds: 1").replace("30s", "5s"))
    Path("bad.yaml").write_text(SMALL.replace("fcfs", "lifo"))
    Path("late.yaml").write_text(SMALL.replace("30s", "5s").replace("warmUp: 3s", "warmUp: 1h"))
    Path("lost.yaml").write_text("workload: {kind: csv, file: bad.csv}\ndevices: [{product: X, memory: 1Gi}]\n")


ON_TRACE = ["sim", "compare", "--trace", "t.csv", "--gpus", "1", "--processes", "1"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sim", "compare"], "Name a SCENARIO.yaml, or give --trace FILE.csv and --gpus N."),
        (["sim", "compare", "--trace", "t.csv"], "--trace needs --gpus N"),
        (["sim", "compare", "s.yaml", "--trace", "t.csv"], "not both"),
        (["sim", "compare", "s.yaml", "--gpus", "2"], "--gpus goes with --trace; write it into s.yaml"),
        (["sim", "compare", "s.yaml", "--gpu-memory", "2Gi"], "--gpu-memory goes with --trace"),
        (["sim", "compare", "absent.yaml"], "absent.yaml: there is no such file"),
        (["sim", "compare", "bad.yaml"], "bad.yaml line 17, policies[0]: no queueing policy is named 'lifo'"),
        (["sim", "compare", "lost.yaml", "--processes", "1"], "bad.csv line 8, exec_ms: -3 is below 0.001"),
        ([*ON_TRACE, "--policies", "fcfs,lifo"], "--policies: no queueing policy is named 'lifo'; choose one of"),
        ([*ON_TRACE, "--policies", "fcfs,fcfs"], "--policies: a policy named 'fcfs' is there already"),
        ([*ON_TRACE, "--policies", ","], "--policies names none"),
        ([*ON_TRACE, "--gpu-memory", "40GB"], "--gpu-memory: '40GB' is not an amount of memory"),
        ([*ON_TRACE, "--start", "5"], "--start: '5' is not a duration"),
        ([*ON_TRACE, "--loads", "0.5;1"], "--loads: '0.5;1' are no loads"),
        ([*ON_TRACE, "--loads", "-1"], "--loads: '-1' are no loads"),
        ([*ON_TRACE, "--loads", "0.5,0.5"], "--loads: 0.5 is there already"),
        ([*ON_TRACE, "--gpu-memory", ""], "--gpu-memory: '' is not an amount of memory"),
        ([*ON_TRACE, "--json", "no/such.json"], "no is no folder"),
        ([*ON_TRACE, "--html", "."], "'.' is no file that could be written"),
        (["sim", "compare", "--trace", "bad.csv", "--gpus", "1", "--processes", "1"], "bad.csv line 8, exec_ms: -3"),
        (["sim", "compare", "--trace", "no.csv", "--gpus", "1", "--processes", "1"], "no.csv: there is no such file"),
        (["sim", "compare", "--trace", "t.csv", "--gpus", "0"], "--gpus"),
        (["sim", "run", "bad.yaml"], "bad.yaml line 17"),
        (["sim", "run", "s.yaml", "--policy", "edf"], "--policy: the scenario has no 'edf'; it has fcfs, mqfq-sticky"),
        (["sim", "run"], "SCENARIO"),
        (["sim", "run", "late.yaml"], "a warm-up of 3600 s leaves nothing of a workload of 5 s"),
        (["sim", "bound", "s.yaml", "--json", "no/such.json"], "no is no folder"),
        (["sim", "bound", "--trace", "t.csv"], "--trace needs --gpus N"),
        (["sim", "whatever"], "stoker sim --help"),
    ],
)
def test_a_mistake_is_one_sentence_with_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert told in err


def test_a_trace_is_compared_and_every_default_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json", "o.json", "--csv", "o.csv"]
    assert run([*ON_TRACE, "--policies", "fcfs,edf", "--seeds", "2", "--start", "1s", *files]) == 0
    out = capsys.readouterr().out
    assert "VS fcfs" in out
    for default in (
        "objectives are 5 times the median execution time where none is given",
        "every start-up takes 1 s where none is given",
        "a replica takes the whole device (40960 MiB) where no amount of memory is given",
        "each function's arrivals are turned around in time",
    ):
        assert default in out
    document = json.loads(Path("o.json").read_text())
    assert [(run_["policy"], run_["seed"]) for run_ in document["runs"]] == [
        ("fcfs", 0), ("fcfs", 1), ("edf", 0), ("edf", 1),
    ]  # fmt: skip
    assert len(Path("o.csv").read_text().splitlines()) == 5


def test_one_simulation_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "run", "s.yaml", "--policy", "mqfq-sticky", "--seed", "4", "--json", "o.json"]) == 0
    out = capsys.readouterr().out
    assert "small, mqfq-sticky, load 0.5, seed 4" in out
    assert "tenant-1" in out
    assert "COMPLIANT" in out
    (only,) = json.loads(Path("o.json").read_text())["runs"]
    assert (only["policy"], only["seed"], only["setting"]["load"]) == ("mqfq-sticky", 4, 0.5)


def test_the_bound_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "bound", "s.yaml", "--loads", "1.2", "--processes", "1"]) == 0
    assert "upper bound" in capsys.readouterr().out


def test_the_bound_is_written_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", "bound", "s.yaml", "--loads", "1.2,1.5", "--processes", "1", "--json", "o.json"]) == 0
    document = json.loads(Path("o.json").read_text())
    assert document["scenario"]["name"] == "small"
    assert any("objective" in note for note in document["assumptions"])
    low, high = document["bounds"]
    assert [low["setting"]["load"], high["setting"]["load"]] == [1.2, 1.5]
    for bound in (low, high):
        assert 0 < bound["onTime"] <= bound["offered"]
        assert bound["attainment"] == pytest.approx(bound["onTime"] / bound["offered"], abs=1e-6)
        assert (bound["seed"], bound["optimum"]) == (0, None)
    assert high["offered"] > low["offered"]
    written = Path("o.json").read_bytes()
    assert run(["sim", "bound", "s.yaml", "--loads", "1.2,1.5", "--processes", "1", "--json", "o.json"]) == 0
    assert Path("o.json").read_bytes() == written


def test_closed_loops_have_no_bound(capsys: pytest.CaptureFixture[str]) -> None:
    Path("loops.yaml").write_text("workload: {kind: closed-loops}\ndevices: [{product: X, memory: 1Gi}]\n")
    assert run(["sim", "bound", "loops.yaml", "--processes", "1"]) == 2
    assert "There is no bound" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "compare", "bound"])
def test_help_succeeds(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sim", command, "--help"]) == 0
    assert "SCENARIO" in capsys.readouterr().out
