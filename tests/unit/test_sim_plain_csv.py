"""The user's own trace: what is read, and what is assumed where it says nothing."""

import gzip
from pathlib import Path

import pytest

from stoker.model.function import Sharing
from stoker_sim.assumptions import Assumptions
from stoker_sim.traces import plain_csv, table
from stoker_sim.workload import ANY

pytestmark = pytest.mark.unit

PLAIN = "arrival_s,function,tenant,exec_ms\n0,f,a,10\n0.25,g,a,7\n0.25,f,b,3.5\n1,f,a,30\n2.5,f,a,20\n"


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_line_is_a_request_and_a_function_is_a_tenant_and_a_name(tmp_path: Path) -> None:
    work = plain_csv.load(written(tmp_path, PLAIN))
    assert work.keys == ("a/f", "a/g", "b/f")
    assert work.time_us.tolist() == [0, 250_000, 250_000, 1_000_000, 2_500_000]
    assert work.function.tolist() == [0, 1, 2, 0, 0]
    assert work.exec_us.tolist() == [10_000, 7_000, 3_500, 30_000, 20_000]
    assert (work.horizon_us, work.slo_us, work.source) == (2_500_001, None, "trace.csv")


def test_defaults_are_five_medians_the_whole_device_and_five_seconds_and_the_notes_say_so(tmp_path: Path) -> None:
    work = plain_csv.load(written(tmp_path, PLAIN))
    function = work.functions[0]
    assert function.definition.spec.slo.latency_us == 100_000
    assert function.definition.spec.gpu[0].memory_mib == 40_960
    assert function.definition.spec.gpu[0].sharing is Sharing.EXCLUSIVE
    assert function.behaviour.exec_us == {ANY: 20_000}
    assert (function.behaviour.cold_us, function.behaviour.swap_mib) == (5_000_000, 40_960)
    assert work.notes == (
        "objectives are 5 times the median execution time where none is given",
        "every start-up takes 5 s where none is given",
        "a replica takes the whole device (40960 MiB) where no amount of memory is given",
    )


def test_other_assumptions_hold_instead(tmp_path: Path) -> None:
    given = Assumptions(slo_factor=2, start_us=700_000, device_memory_mib=16_384)
    work = plain_csv.load(written(tmp_path, PLAIN), given)
    assert work.functions[0].definition.spec.slo.latency_us == 40_000
    assert work.functions[0].behaviour.cold_us == 700_000
    assert "16384 MiB" in work.notes[2]
    assert "0.7 s" in work.notes[1]


def test_objectives_and_memory_may_be_given_line_by_line_and_be_left_blank(tmp_path: Path) -> None:
    rows = "0,f,a,10,25,\n1,f,a,20,,512\n2,f,a,20,90000,512\n3,g,a,8,,\n"
    work = plain_csv.load(written(tmp_path, f"arrival_s,function,tenant,exec_ms,slo_ms,memory_mib\n{rows}"))
    assert work.slo_us is not None
    assert work.slo_us.tolist() == [25_000, 100_000, 90_000_000, 40_000]
    f, g = (function.definition.spec for function in work.functions)
    assert (f.slo.latency_us, f.gpu[0].memory_mib, f.timeout_us) == (100_000, 512, 90_000_000)
    assert (g.slo.latency_us, g.gpu[0].memory_mib, g.timeout_us) == (40_000, 40_960, 60_000_000)
    assert work.functions[0].behaviour.swap_mib == 512


def test_columns_may_stand_in_any_order_in_windows_lines_with_a_mark_and_quotes(tmp_path: Path) -> None:
    text = '\ufefftenant, exec_ms ,"function",arrival_s\r\n"a",1,f,0\r\n\r\na,2, f,1e-3\r\n'
    work = plain_csv.load(written(tmp_path, text))
    assert work.time_us.tolist() == [0, 1_000]
    assert work.exec_us.tolist() == [1_000, 2_000]


def test_gzip_is_known_by_its_first_bytes_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    assert len(plain_csv.load(path)) == 5


def test_names_that_are_no_dns_labels_are_changed_and_the_notes_say_so(tmp_path: Path) -> None:
    rows = "0,ResNet_50,Team A,1\n1,resnet-50,Team A,1\n2,ResNet_50,Team A,1\n"
    work = plain_csv.load(written(tmp_path, f"arrival_s,function,tenant,exec_ms\n{rows}"))
    assert work.function.tolist() == [0, 1, 0]
    assert work.keys[1] == "team-a/resnet-50"
    assert work.keys[0].startswith("team-a/resnet-50-")
    assert work.notes[-1] == "2 names of tenants or functions are no DNS labels and were changed to such"


def test_a_file_is_read_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = plain_csv.load(written(tmp_path, PLAIN))
    monkeypatch.setattr(table, "PORTION", 2)
    portions = plain_csv.load(written(tmp_path, PLAIN))
    assert portions.keys == whole.keys
    assert portions.exec_us.tolist() == whole.exec_us.tolist()
    assert portions.function.tolist() == whole.function.tolist()
