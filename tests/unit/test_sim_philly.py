"""Arrivals of Philly as requests: who sends them, what is assumed, what is left out, what is wrong in a file."""

from pathlib import Path

import numpy as np
import pytest

from stoker_sim.assumptions import Assumptions
from stoker_sim.traces import philly
from stoker_sim.traces.bad_trace import BadTrace

pytestmark = pytest.mark.unit

HEAD = "tenant_vc,arrival_s,num_gpus\n"


def test_the_projects_own_copy_has_eight_tenants_whose_arrivals_are_far_from_poisson() -> None:
    work = philly.load()
    assert len(work) == 5126
    assert len({function.definition.namespace for function in work.functions}) == 8
    assert (np.diff(work.time_us) >= 0).all()
    busiest = np.bincount(work.function).argmax()
    gaps = np.diff(work.time_us[work.function == busiest]).astype(np.float64)
    assert gaps.std() > 2 * gaps.mean()
    said = " ".join(work.notes)
    for sentence in ("2558 of 7684 jobs that want several GPUs are left out", "874 s", "clock of its own"):
        assert sentence in said


def test_every_job_takes_what_it_is_said_to_take(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(f"{HEAD}b,30,1\na,0.5,1\nb,0,8\nb,0,1\n")
    work = philly.load(path, Assumptions(slo_factor=3), exec_us=2_000_000)
    assert [work.keys[index] for index in work.function] == ["b/jobs", "a/jobs", "b/jobs"]
    assert work.time_us.tolist() == [0, 500_000, 30_000_000]
    assert set(work.exec_us.tolist()) == {2_000_000}
    assert work.functions[0].definition.spec.slo.latency_us == 6_000_000


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, None, "is empty"),
        (f"{HEAD}a,0\n", 2, None, "has 2 fields"),
        (f"{HEAD}a,0,0\n", 2, "num_gpus", "0 is below 1"),
        (f"{HEAD}a,0,1.5\n", 2, "num_gpus", "1.5 is not whole"),
        (f"{HEAD}a,-1,1\n", 2, "arrival_s", "-1 is below 0"),
        (f"{HEAD},0,1\n", 2, "tenant_vc", "is empty"),
        (HEAD.replace("num_gpus", "gpus") + "a,0,1\n", 1, "num_gpus", "the column is missing"),
        (f"{HEAD}a,0,2\n", None, None, "has no job of one GPU"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    tmp_path: Path, text: str, line: int | None, column: str | None, reason: str
) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    with pytest.raises(BadTrace) as caught:
        philly.load(path)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert reason in caught.value.reason
