"""What is wrong with a trace is said in one sentence: file, line, column, reason, what to do."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stoker_sim.traces import azure_functions, azure_llm, azure_public, disb, mooncake, plain_csv, servegen
from stoker_sim.traces.bad_trace import BadTrace

pytestmark = pytest.mark.unit

HEAD = "arrival_s,function,tenant,exec_ms"
ROWS = "0.5,f,t,10\n1.5,g,t,20\n"
GOOD = f"{HEAD}\n{ROWS}"
FULL = f"{HEAD},slo_ms,memory_mib\n"

# What the file holds; then the line, the column, and parts of the reason and the fix.
BROKEN: dict[str, tuple[str | bytes, int | None, str | None, str, str]] = {
    "empty": ("", 1, None, "is empty", HEAD),
    "header only": (f"{HEAD}\n", 1, None, "has a header and no rows", "at least one row"),
    "no header": (ROWS, 1, None, "its first line names no column", HEAD),
    "blank lines only": ("\n\n\n", 1, None, "is empty", HEAD),
    "missing column": ("arrival_s,function,tenant\n1,f,t\n", 1, "exec_ms", "the column is missing", "add it"),
    "misspelt column": (GOOD.replace("exec_ms", "exec_s"), 1, "exec_ms", "the column is missing", "rename exec_s"),
    "unknown column": (GOOD.replace("\n", ",x\n"), 1, "x", "is no column of this format", "remove it"),
    "misspelt optional column": (GOOD.replace("ms\n", "ms,slo\n"), 1, "slo", "no column", "did you mean slo_ms?"),
    "column over two lines": (GOOD.replace("ms\n", 'ms,"a\nb"\n', 1), 1, "a\nb", "no column", "remove it"),
    "unnamed column": (GOOD.replace("ms\n", "ms,\n"), 1, "(no name)", "no column", "remove it"),
    "duplicated header": (f"{HEAD},function\n1,f,t,1,f\n", 1, "function", "is there twice", "remove one"),
    "semicolons": (GOOD.replace(",", ";"), 1, None, "parted by semicolons", "commas"),
    "old Macs' lines": (GOOD.replace("\n", "\r").encode(), 1, None, "end in a carriage return alone", "line feed"),
    "tabs": (GOOD.replace(",", "\t"), 1, None, "parted by tabs", "commas"),
    "bars": (GOOD.replace(",", "|"), 1, None, "parted by bars", "commas"),
    "short row": (GOOD + "2,f,t\n", 4, None, "has 3 fields and the header has 4", "one field for each column"),
    "long row": (GOOD + "2,f,t,1,1\n", 4, None, "has 5 fields", "one field for each column"),
    "word for a number": (GOOD + "2,f,t,fast\n", 4, "exec_ms", "'fast' is not a number", "milliseconds from 0.001"),
    "hexadecimal": (GOOD + "2,f,t,0x10\n", 4, "exec_ms", "not a number", "milliseconds"),
    "underscore": (GOOD + "2,f,t,1_000\n", 4, "exec_ms", "not a number", "milliseconds"),
    "decimal comma": (GOOD + '2,f,t,"1,5"\n', 4, "exec_ms", "not a number", "decimal point"),
    "empty number": (GOOD + "2,f,t,\n", 4, "exec_ms", "is empty", "milliseconds"),
    "not a number": (GOOD + "nan,f,t,1\n", 4, "arrival_s", "nan is not finite", "seconds from 0"),
    "infinite": (GOOD + "2,f,t,inf\n", 4, "exec_ms", "inf is not finite", "milliseconds"),
    "beyond floating point": (GOOD + "2,f,t,1e999\n", 4, "exec_ms", "not finite", "milliseconds"),
    "huge": (GOOD + "2,f,t,1e300\n", 4, "exec_ms", "1e300 is above 1e+09", "milliseconds"),
    "since 1970": (GOOD + "1700000000,f,t,1\n", 4, "arrival_s", "above 3.2e+08", "seconds from 0"),
    "negative time": (GOOD + "-2,f,t,1\n", 4, "arrival_s", "-2 is below 0", "seconds from 0"),
    "negative execution": (GOOD + "2,f,t,-1\n", 4, "exec_ms", "-1 is below 0.001", "milliseconds"),
    "no execution": (GOOD + "2,f,t,0\n", 4, "exec_ms", "0 is below 0.001", "milliseconds"),
    "unsorted": (GOOD + "1.25,f,t,1\n", 4, "arrival_s", "1.25 comes after 1.5", "sort the lines by arrival_s"),
    "no function": (GOOD + "2,,t,1\n", 4, "function", "is empty", "write a name"),
    "blank tenant": (GOOD + "2,f,  ,1\n", 4, "tenant", "is empty", "write a name"),
    "part of a MiB": (FULL + "1,f,t,1,,2.5\n", 2, "memory_mib", "2.5 is not whole", "whole MiB"),
    "two amounts of memory": (
        FULL + "1,f,t,1,,512\n2,g,t,1,,1\n3,f,t,1,,1024\n",
        4,
        "memory_mib",
        "is 1024, and an earlier line of the same function says 512",
        "one amount",
    ),
    "objective of 0": (FULL + "1,f,t,1,0,\n", 2, "slo_ms", "0 is below", "milliseconds"),
    "Latin-1": (GOOD.encode() + b"2,caf\xe9,t,1\n", 4, None, "byte 6 of the line is not UTF-8 (0xe9)", "as UTF-8"),
    "UTF-16": (GOOD.encode("utf-16"), None, None, "is text in UTF-16", "UTF-8"),
    "NUL": (GOOD + "2,f\0,t,1\n", 4, None, "NUL", "export"),
    "open quote": (GOOD + '2,"f,t,1\n', 4, None, "is not CSV", "quotes"),
    "text after a quote": (GOOD + '2,"f"x,t,1\n', 4, None, "is not CSV", "quotes"),
    "endless line": (GOOD + "2," + "f" * 2**20, 4, None, "longer than", "one request a line"),
    "cut gzip": (gzip.compress(GOOD.encode() * 50)[:-12], None, None, "ends in the middle", "again"),
    "damaged gzip": (b"\x1f\x8b" + b"\x08\x00" * 20, 1, None, "is damaged", "again"),
    "zip": (b"PK\x03\x04....", None, None, "is a zip archive", "unzip"),
    "xz": (b"\xfd7zXZ\x00...", None, None, "is compressed by xz", "unxz"),
    "rar": (b"Rar!\x1a\x07..", None, None, "is a rar archive", "unrar"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_line_column_reason_and_fix(name: str, tmp_path: Path) -> None:
    content, line, column, reason, fix = BROKEN[name]
    path = tmp_path / "trace.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(BadTrace) as caught:
        plain_csv.load(path)
    error = caught.value
    assert reason in error.reason
    assert fix in error.fix
    assert error.column == column
    assert line is None or error.line == line
    text = str(error)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert error.reason in text
    assert error.fix in text
    assert line is None or f"line {line}" in text


def test_a_missing_file_and_a_folder_are_said_to_be_that(tmp_path: Path) -> None:
    with pytest.raises(BadTrace, match=r"there is no such file; check the name"):
        plain_csv.load(tmp_path / "none.csv")
    with pytest.raises(BadTrace, match="is a folder; name the file in it"):
        plain_csv.load(tmp_path)


HASHES = "HashOwner,HashApp,HashFunction"
MINUTES = ",".join(str(minute) for minute in range(1, 1441))
DURATIONS = (
    f"{HASHES},Average,Count,Minimum,Maximum,"
    "percentile_Average_0,percentile_Average_1,percentile_Average_25,percentile_Average_50,"
    "percentile_Average_75,percentile_Average_99,percentile_Average_100\n"
)


def day(folder: Path, rows: str, header: str = f"{HASHES},Trigger,{MINUTES}", durations: str = "") -> Path:
    (folder / "invocations_per_function_md.anon.d01.csv").write_text(f"{header}\n{rows}")
    (folder / "function_durations_percentiles.anon.d01.csv").write_text(DURATIONS + durations)
    return folder


def counts(*first: str) -> str:
    return ",".join([*first, *["0"] * (1440 - len(first))])


PUBLIC: dict[str, tuple[dict[str, str], str]] = {
    "a minute is missing": (
        {"rows": "", "header": f"{HASHES},Trigger,{MINUTES.removesuffix(',1440')}"},
        "line 1, 1440: the column is missing",
    ),
    "other order": (
        {"rows": "", "header": f"HashApp,HashOwner,HashFunction,Trigger,{MINUTES}"},
        "its columns are in another order",
    ),
    "no rows": ({"rows": ""}, "has no function"),
    "short row": ({"rows": f"o,a,f,http,{counts()}\no,a,g,http,1,2\n"}, "line 3: has 6 fields, not 1444"),
    "negative count": ({"rows": f"o,a,f,http,{counts('0', '-4')}\n"}, "line 2, 2: -4 is below 0"),
    "part of an invocation": ({"rows": f"o,a,f,http,{counts('0.5')}\n"}, "line 2, 1: 0.5 is not whole"),
    "count with a sign": ({"rows": f"o,a,f,http,{counts('+5')}\n"}, "line 2: its counts are not plain whole numbers"),
    "no durations at all": (
        {"rows": f"o,a,f,http,{counts('1')}\n"},
        "function_durations_percentiles.anon.d01.csv line 1: has a header and no rows",
    ),
    "durations of others": (
        {"rows": f"o,a,f,http,{counts('1')}\n", "durations": "o,a,g,1,1,1,1,1,1,1,1,1,1,1\n"},
        "no function of day 1 has execution times",
    ),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_broken_day_of_the_public_trace_is_refused(name: str, tmp_path: Path) -> None:
    parts, said = PUBLIC[name]
    with pytest.raises(BadTrace) as caught:
        azure_public.load_2019(day(tmp_path, **parts))
    assert said in str(caught.value)


def of_file(content: str, load: Callable[[Path], Any], folder: Path) -> str:
    path = folder / "trace.csv"
    path.write_text(content)
    with pytest.raises(BadTrace) as caught:
        load(path)
    return str(caught.value)


def test_other_formats_refuse_what_is_not_theirs(tmp_path: Path) -> None:
    llm = "arrival_s,context_tokens,generated_tokens\n"
    assert "line 3, arrival_s: 1 comes after 2" in of_file(f"{llm}2,5,5\n1,5,5\n", azure_llm.load, tmp_path)
    assert "line 2, generated_tokens: 0 is below 1" in of_file(f"{llm}2,5,0\n", azure_llm.load, tmp_path)
    kimi = "arrival_ms,input_tokens,output_tokens\n1,2.5,1\n"
    assert "line 2, input_tokens: 2.5 is not whole" in of_file(kimi, mooncake.load, tmp_path)
    said = of_file("model,arrival_ms\nvgg19,0\ngpt,5\n", disb.load, tmp_path)
    assert "line 3, model: gpt was not measured on trt; give one of densenet201" in said
    two = "app,func,end_timestamp,duration\na,f,5,-1\n"
    assert "line 2, duration: -1 is below 0" in of_file(two, azure_public.load_2021, tmp_path)
    assert "rename end" in of_file(two.replace("end_timestamp", "end_time"), azure_public.load_2021, tmp_path)


def test_servegen_says_what_it_cannot_make() -> None:
    with pytest.raises(BadTrace, match="has no model 'gpt'; give one of m-small"):
        servegen.load("gpt")
    with pytest.raises(BadTrace, match="no client of mm-image asks in this time"):
        servegen.load("mm-image", clients=frozenset({10**6}))
    with pytest.raises(BadTrace, match=r"would be \d+ requests; ask for less time"):
        servegen.load("m-small", end_s=4 * 86_400)


SAMPLE = "func_id,func_hash12,app_hash12,owner_hash12,trigger,dur_avg_ms,dur_min_ms,dur_p1_ms,dur_p25_ms,dur_p50_ms,"
SAMPLE += "dur_p75_ms,dur_p99_ms,dur_max_ms,mem_avg_mb\n"
ROW = "f0,a,b,c,http,5,1,1,2,3,4,5,9,100\n"


@pytest.mark.parametrize(
    ("functions", "minutes", "said"),
    [
        (ROW, "f9,480,1\n", "line 2, func_id: f9 is not in functions.csv"),
        (ROW, "f0,480,1\nf0,481,1\nf0,480,2\n", "line 4: this minute of the function is there twice"),
        (ROW, "f0,1440,1\n", "line 2, minute: 1440 is above 1439"),
        (ROW + ROW, "f0,480,1\n", "line 3, func_id: f0 is there twice"),
        (ROW.replace(",9,100", ",0.5,100"), "f0,480,1\n", "line 2: its maximum 0.5 is below its minimum 1"),
    ],
)
def test_a_broken_copy_of_the_sample_is_refused(
    functions: str, minutes: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "functions.csv").write_text(SAMPLE + functions)
    (tmp_path / "invocations_per_minute.csv.gz").write_bytes(gzip.compress(f"func_id,minute,count\n{minutes}".encode()))
    monkeypatch.setattr(azure_functions, "data_file", lambda name: tmp_path / Path(name).name)
    with pytest.raises(BadTrace) as caught:
        azure_functions.sample()
    assert said in str(caught.value)
