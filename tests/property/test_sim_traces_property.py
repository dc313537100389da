"""Whatever a file holds, it is read or refused; and a trace that is written is read back as it was."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker_sim.draws import key_of
from stoker_sim.traces import plain_csv
from stoker_sim.traces.bad_trace import BadTrace
from stoker_sim.traces.spread import MINUTE_US, Spread, spread
from stoker_sim.workload import Workload

pytestmark = pytest.mark.property

HEAD = "arrival_s,function,tenant,exec_ms,slo_ms,memory_mib"
GOOD = (f"{HEAD}\n" + "".join(f"{at},f{at % 3},t,{1 + at},,\n" for at in range(12))).encode()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


@settings(max_examples=50)
@given(data=st.data())
def test_a_damaged_file_gives_a_workload_or_one_sentence(data: st.DataObject, folder: Path) -> None:
    content = bytearray(GOOD if data.draw(st.booleans()) else gzip.compress(GOOD, mtime=0))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        length = data.draw(st.integers(0, 5))
        put = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b",", b"\n", b'"', b"nan", b"-", b"e9", b"\xff"]))
        )
        content[at : at + length] = put
    path = folder / "damaged.csv"
    path.write_bytes(bytes(content))
    work, said = loaded(path)
    if work is None:
        assert said.startswith(str(path))
        assert "\n" not in said
    else:
        assert len(work) > 0


def loaded(path: Path) -> tuple[Workload | None, str]:
    """The workload, which checks itself, or the sentence. No other exception may come."""
    try:
        return plain_csv.load(path), ""
    except BadTrace as error:
        return None, str(error)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
REQUESTS = st.lists(
    st.tuples(st.integers(0, 10**9), NAMES, NAMES, st.integers(1, 10**9)),
    min_size=1,
    max_size=20,
)


@settings(max_examples=20)
@given(requests=REQUESTS)
def test_what_is_written_is_read_back(requests: list[tuple[int, str, str, int]], folder: Path) -> None:
    requests.sort(key=lambda request: request[0])
    path = folder / "written.csv"
    rows = (
        f'{time / 1e6:.6f},"{name.replace(chr(34), chr(34) * 2)}","{tenant.replace(chr(34), chr(34) * 2)}",{us / 1e3}'
        for time, name, tenant, us in requests
    )
    path.write_text("\n".join(["arrival_s,function,tenant,exec_ms", *rows]), encoding="utf-8")
    work = plain_csv.load(path)
    assert work.time_us.tolist() == [request[0] for request in requests]
    assert work.exec_us.tolist() == [request[3] for request in requests]
    # Equal functions stay equal and different ones different, whatever their names became.
    pairs = {(work.function[at], request[1], request[2]) for at, request in enumerate(requests)}
    assert len(pairs) == len(work.functions) == len({pair[1:] for pair in pairs})


@settings(max_examples=20)
@given(
    counts=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1439), st.integers(1, 40)), min_size=1, max_size=20),
    how=st.sampled_from(Spread),
    seed=st.integers(0, 5),
)
def test_spreading_keeps_every_count(counts: list[tuple[int, int, int]], how: Spread, seed: int) -> None:
    function, minute, count = (np.array(column) for column in zip(*counts, strict=True))
    key = np.array([key_of(seed, "arrival", f"f{at}") for at in function], np.uint64)
    times = spread(key, minute, count, how)
    assert (times // MINUTE_US).tolist() == np.repeat(minute, count).tolist()
