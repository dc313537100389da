"""The money of one stoker serve: account lines over a restart, what plan() is shown, and the report."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from gateway_fake_agent import CountingSink
from msgspec.structs import replace

from stoker.errors import StokerError
from stoker.metrics import COST, COST_UNALLOCATED
from stoker.model.device import Reservation
from stoker.model.function import CostBounds, Function, Sharing, Variant
from stoker.model.policy import default_policy
from stoker.model.replica import ReplicaSpec
from stoker.prediction import Predictions
from stoker.slots.reservations import Reservations
from stoker.testing.builders import S, make_function, make_gpu
from stoker_cli.costs.cost_book import CostBook
from stoker_cli.costs.cost_lines import CostLine, CostLines, Sums, read_lines
from stoker_cli.costs.cost_report import Report, _csv, _table, report_of
from stoker_node.metering import Metering

pytestmark = pytest.mark.unit

POLICY = replace(default_policy(), prices={"A100": 3.6})
"""One micro-unit each millisecond."""
GPU = make_gpu()


class Instance:
    """A cost book with a clock of its own; the wall clock runs with it from 10,000 s on."""

    def __init__(self, functions: Mapping[str, Function], now_s: float = 0) -> None:
        self.now_us = int(now_s * S)
        self.sink = CountingSink()
        self.reservations = Reservations([GPU])
        self.metering = Metering(self.reservations, self.sink, lambda: self.now_us)
        self.book = CostBook(
            self.metering,
            lambda: (GPU,),
            Predictions(),
            lambda: self.now_us,
            wall_s=lambda: 10_000 + self.now_us / S,
        )
        self.book.set_policy(POLICY)
        self.book.set_functions(functions)

    def hold(self, function: Function) -> str:
        name = f"{function.key}-0123456789-0"
        spec = ReplicaSpec(
            id=name, function=function.key, variant=Variant.GPU, revision="0123456789", ordinal=0, devices=("sim-0",)
        )
        part = Reservation(replica_id=name, device_id="sim-0", memory_mib=4096, sharing=Sharing.EXCLUSIVE)
        assert self.reservations.reserve(spec, (part,)) is None
        self.metering.hold(spec)
        return name


def bounded(per_hour: float) -> Function:
    function = make_function()
    slo = replace(function.spec.slo, cost=CostBounds(per_hour=per_hour))
    return replace(function, spec=replace(function.spec, slo=slo))


def play(folder: Path, *, seconds: int, anew: bool = False, now_s: float = 0) -> Instance:
    """One instance that holds a GPU for so many seconds, and ends."""
    function = bounded(1.0)
    instance = Instance({function.key: function}, now_s)

    async def run() -> None:
        await instance.book.start(folder / "cost-1.jsonl", anew=anew)
        instance.hold(function)
        instance.now_us += seconds * S
        await instance.book.stop()

    asyncio.run(run())
    return instance


def test_what_was_spent_is_known_after_a_restart_and_binds(tmp_path: Path) -> None:
    play(tmp_path, seconds=600)
    later = play(tmp_path, seconds=0, now_s=1000)
    spent = later.book.costs().spent["default/f"]
    assert spent.micro == 600_000
    assert later.book.states()["default/f"].last_hour_micro == 600_000
    forgotten = play(tmp_path, seconds=0, now_s=600 + 3700)
    assert not forgotten.book.costs().spent


def test_a_chance_port_knows_nothing_of_who_had_it_before_and_leaves_nothing(tmp_path: Path) -> None:
    play(tmp_path, seconds=600)
    later = play(tmp_path, seconds=1, anew=True, now_s=1000)
    assert later.book.costs().spent["default/f"].micro == 1000
    assert not list(tmp_path.iterdir())


def test_metrics_say_what_the_accounts_say() -> None:
    function = bounded(1.0)
    instance = Instance({function.key: function})
    instance.now_us += 10 * S
    instance.hold(function)
    instance.now_us += 5 * S
    instance.metering.export()
    instance.metering.export()
    assert instance.sink.values[COST.name, "default", "f", "starting"] == 5000
    assert instance.sink.values[COST_UNALLOCATED.name,] == 10_000


def test_a_function_that_was_deleted_leaves_the_ledger_once_it_is_written_down(tmp_path: Path) -> None:
    function = bounded(1.0)
    instance = Instance({function.key: function})
    name = instance.hold(function)
    instance.now_us += S
    instance.metering.release(name)
    instance.book.set_functions({})
    instance.book.flush()
    instance.now_us += S
    instance.book.flush()
    assert not instance.metering.accounts()
    assert instance.metering.unallocated() == 2000


def test_a_bound_without_a_price_and_a_device_without_one_are_said() -> None:
    function = bounded(1.0)
    instance = Instance({function.key: function})
    assert instance.book.warnings_of(function) == ()
    instance.book.set_policy(default_policy())
    assert "do not act: no device here has a price" in instance.book.warnings_of(function)[0]
    instance.book.set_policy(replace(default_policy(), prices={"cpu": 1.0}))
    assert instance.book.warnings_of(make_function()) == ()


def test_a_line_that_was_cut_short_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    lines = CostLines(tmp_path / "lines")
    lines.append(CostLine(at=1, accounts={"a/f": (1, 2, 3, 4)}, unallocated=5))
    with lines.path.open("ab") as file:
        file.write(b'{"at":2,"acc')
    lines.append(CostLine(at=3, accounts={"a/f": (10, 20, 30, 40)}, unallocated=50))
    sums = Sums()
    for line in read_lines(lines.path, 0):
        sums.add(line)
    assert sums == Sums(accounts={"a/f": (11, 22, 33, 44)}, unallocated=55)
    assert [line.at for line in read_lines(lines.path, 1)] == [3]


def test_the_lines_are_bounded_and_the_newest_are_kept(tmp_path: Path) -> None:
    lines = CostLines(tmp_path / "lines", file_bytes=500)
    for at in range(100):
        lines.append(CostLine(at=at, unallocated=1))
    kept = [line.at for line in read_lines(lines.path, -1)]
    assert kept == list(range(int(kept[0]), 100))
    assert 10 < len(kept) < 60
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1100


def test_rows_and_what_is_unallocated_add_up_and_are_the_same_in_every_form(tmp_path: Path) -> None:
    instance = play(tmp_path, seconds=600)
    CostLines(tmp_path / "cost-1.jsonl").append(CostLine(at=10_600, accounts={"b/g": (1, 2, 4, 2)}, unallocated=-7))
    view = replace(instance.book.view(), now=10_601.0)
    report = report_of(view, 3600, "function")
    assert report.total_micro == 600_000
    assert [(row.namespace, row.function, row.total_micro) for row in report.rows] == [
        ("default", "f", 600_000),
        ("b", "g", 7),
    ]
    assert report.rows[1].per_thousand_requests_micro == 3500
    assert _csv(report, "function").splitlines() == [
        "namespace,function,startingMicro,idleMicro,busyMicro,totalMicro,requests",
        "default,f,600000,0,0,600000,0",
        "b,g,1,2,4,7,2",
        "unallocated,,0,0,0,-7,0",
    ]
    table = _table(report, "function")
    assert "default/f" in table
    assert "0.6" in table
    by_namespace = report_of(view, 3600, "namespace")
    assert _csv(by_namespace, "namespace").splitlines()[1] == "default,600000,0,0,600000,0"
    assert isinstance(by_namespace, Report)


def test_a_duration_that_is_none_is_one_sentence() -> None:
    from stoker_cli.costs.cost_report import cost

    with pytest.raises(StokerError, match="--since"):
        cost({}, port=None, since="1 day", by="function", output="csv")


def test_lines_are_json_that_others_can_read(tmp_path: Path) -> None:
    play(tmp_path, seconds=2)
    line = json.loads((tmp_path / "cost-1.jsonl").read_text().splitlines()[0])
    assert line["accounts"] == {"default/f": [2000, 0, 0, 0]}
