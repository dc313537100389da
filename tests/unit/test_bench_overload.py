"""The pure parts of bench.overload: who comes when, what became of them, how capacity is found, what the page says."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from bench.overload import bounding, capacity, functions, isolation, metastability, tickets, timeout
from bench.overload.arrivals import Arrivals, Phase, arrivals
from bench.overload.calls import GAVE_UP, LOST, OK, Attempt
from bench.overload.counters import Counters, grown
from bench.overload.figures import OfRun, of_run, shares
from bench.overload.functions import SLOTS, documents, rates_of
from bench.overload.loading import Played, lag_us
from bench.overload.page import page, write_page
from bench.overload.report import Report, at_least, at_most, read, table, write
from bench.overload.sides import Point, Side, cpu_per_refusal_ms
from bench.overload.watching import Used
from msgspec.structs import replace

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, Variant
from stoker.model.request import QueuedRequest
from stoker.replay.lines import line_of
from stoker.replay.records import Done, Header, Judged, Popped, Record
from stoker_cli.objects.object_file import load_objects
from stoker_cli.objects.validation import Validator
from stoker_sim.results.result import Chart, Series

pytestmark = pytest.mark.unit

THREE = tuple(replace(one, latency_ms=ms) for one, ms in zip(functions.THREE, (100, 250, 1000), strict=True))

TIGHT, MIDDLE, LOOSE = range(3)
GPU, CPU = "a100-40gb/sim-0 (simulated)", "cpu"


def coming(*calls: tuple[int, int, float]) -> Arrivals:
    """Of (at_us, stream, units)."""
    at, stream, units = zip(*calls, strict=True)
    return Arrivals(np.array(at), np.array(stream), np.array(units))


def answered(call: int, *, due_us: int = 0, took_ms: float = 10, status: int = OK, **more: object) -> Attempt:
    ended_us = due_us + round(1000 * took_ms)
    values = {"number": 0, "device": GPU if status == OK else "none", **more}
    return Attempt(call=call, due_us=due_us, sent_us=due_us, ended_us=ended_us, status=status, **values)  # type: ignore[arg-type]


def ran(drawn: Arrivals, attempts: Sequence[Attempt], **more: object) -> OfRun:
    return of_run(THREE, drawn, attempts, to_us=1_000_000, **more)  # type: ignore[arg-type]


def test_all_functions_ask_for_the_same_gpu_time_and_for_the_load_together() -> None:
    rates = rates_of(THREE, 1.5)
    work = [rate * one.units / 1000 for rate, one in zip(rates, THREE, strict=True)]
    assert work == pytest.approx([SLOTS * 0.5] * 3)


def test_arrivals_come_in_the_order_of_time_at_the_rate_of_their_phase() -> None:
    drawn = arrivals(THREE, [Phase(10, [200, 0, 20]), Phase(5, [0, 400, 20])])
    assert (np.diff(drawn.at_us) >= 0).all()
    early = drawn.at_us < 10_000_000
    assert set(drawn.stream[early].tolist()) == {TIGHT, LOOSE}
    assert set(drawn.stream[~early].tolist()) == {MIDDLE, LOOSE}
    assert (early & (drawn.stream == TIGHT)).sum() == pytest.approx(2000, abs=200)
    assert (~early & (drawn.stream == MIDDLE)).sum() == pytest.approx(2000, abs=200)


def test_a_seed_gives_the_same_arrivals_and_another_gives_others() -> None:
    one, again, other = (arrivals(THREE, [Phase(1, [50, 50, 50])], seed) for seed in (1, 1, 2))
    assert one.at_us.tolist() == again.at_us.tolist()
    assert one.units.tolist() == again.units.tolist()
    assert one.at_us.tolist() != other.at_us.tolist()


def test_the_platform_takes_the_functions_as_they_are_meant(tmp_path: Path) -> None:
    found = load_objects(documents(THREE, folder=tmp_path), "functions.yaml", Validator.packaged())
    assert not found.errors
    functions = {f.value.name: f.value for f in found.objects.values() if isinstance(f.value, Function)}
    assert [functions[one.name].spec.slo.latency_us for one in THREE] == [1000 * one.latency_ms for one in THREE]
    assert [Variant.CPU in functions[one.name].variants for one in THREE] == [False, False, True]
    assert functions["tight"].spec.fair_share == 2 * functions["middle"].spec.fair_share


def test_a_generator_that_sends_late_is_told_by_what_it_sent_last() -> None:
    attempts = [Attempt(n, 0, 0, 100 if n < 98 else 9_000, 10_000, OK) for n in range(100)]
    assert lag_us(attempts) == (100, 9_000)
    assert lag_us([]) == (0, 0)


def test_on_time_counts_from_when_a_request_was_due_not_from_when_it_was_sent() -> None:
    late = Attempt(0, 0, due_us=0, sent_us=50_000, ended_us=110_000, status=OK, device=GPU)
    found = ran(coming((0, TIGHT, 8)), [late])
    assert (found.on_time, found.functions[TIGHT].late) == (0, 1)


def test_what_is_on_time_on_a_gpu_is_useful_by_what_it_asked_for() -> None:
    drawn = coming((0, TIGHT, 8), (1, LOOSE, 20), (2, LOOSE, 30), (3, MIDDLE, 12))
    found = ran(
        drawn,
        [
            answered(0, exec_us=9_000),
            answered(1, device=CPU, took_ms=70, exec_us=60_000),
            answered(2, took_ms=1500, exec_us=30_000),
            answered(3, status=429, took_ms=1, reason="PredictedMiss"),
        ],
    )
    assert found.goodput == pytest.approx(0.008)
    assert found.everywhere == pytest.approx(0.028)
    assert (found.used_gpu_s, found.wasted_gpu_s) == pytest.approx((0.039, 0.030))
    assert found.wasted_share == pytest.approx(30 / 39)
    assert found.reasons == {"PredictedMiss": 1}
    assert [one.conditional for one in found.functions] == [1.0, None, 0.5]


def test_what_is_dropped_after_it_was_admitted_is_a_broken_promise() -> None:
    drawn = coming(*((n, TIGHT, 8) for n in range(10)))
    attempts = [answered(n) for n in range(6)] + [answered(n, status=429, took_ms=1) for n in range(6, 9)]
    found = ran(drawn, [*attempts, answered(9, status=504)], dropped=[2, 0, 0]).functions[TIGHT]
    assert (found.admitted, found.refused, found.dropped, found.lost) == (9, 3, 2, 1)
    assert found.conditional == pytest.approx(6 / 9)


def test_only_calls_of_the_window_and_first_attempts_count() -> None:
    drawn = coming((0, TIGHT, 8), (500_000, TIGHT, 8), (2_000_000, TIGHT, 8))
    attempts = [
        answered(0),
        answered(1, due_us=500_000),
        answered(1, due_us=600_000, number=1),
        answered(2, due_us=2_000_000),
    ]
    assert of_run(THREE, drawn, attempts, from_us=400_000, to_us=1_000_000).offered == 1


def test_a_share_is_weighted_and_what_somebody_does_not_want_goes_to_the_others() -> None:
    drawn = coming((0, TIGHT, 100), (1, MIDDLE, 900), (2, LOOSE, 900))
    found = ran(drawn, [answered(0), answered(1), answered(2, status=429)])
    # Of 0.9: tight wants 0.1 and gets it, the others have 0.4 each.
    assert shares(found, 0.9) == pytest.approx([1.0, 0.9 / 0.4, 0.0])


def test_bisection_finds_the_edge_of_what_holds() -> None:
    tried: list[float] = []

    def attainment(load: float) -> float:
        tried.append(load)
        return 1.0 if load <= 0.7 else 0.5

    found = capacity.bisected(attainment, 0.2, 1.2, steps=12)
    assert 0.699 < found <= 0.7
    assert len(tried) == 12


def test_a_load_that_a_longer_run_does_not_confirm_is_lowered_but_not_for_ever() -> None:
    load, found = capacity.confirmed(lambda load: 1.0 if load <= 0.9 else 0.98, 1.0)
    assert 0.87 < load <= 0.9
    assert found == 1.0
    load, found = capacity.confirmed(lambda _: 0.5, 1.0)
    assert found == 0.5
    assert load == pytest.approx(capacity.GIVE**capacity.CONFIRMATIONS)


def test_no_schedule_has_more_useful_time_than_the_slots_and_the_cpu_variant_give() -> None:
    # Three requests of 100 ms with 100 ms to go, and two slots; the CPU variant would be too slow.
    drawn = coming(*((0, TIGHT, 100) for _ in range(3)))
    assert bounding.most_useful_s(THREE, drawn, from_us=0, to_us=1_000) == pytest.approx(0.2, abs=1e-3)
    # loose has 1 s: its CPU variant takes what the GPUs cannot.
    drawn = coming(*((0, LOOSE, 300) for _ in range(9)))
    assert bounding.most_useful_s(THREE, drawn, from_us=0, to_us=1_000) == pytest.approx(0.3 * 9, abs=0.3)
    assert bounding.most_useful_s(THREE, drawn, from_us=500, to_us=1_000) == 0.0


def test_counters_are_summed_over_the_labels_that_are_not_asked_for() -> None:
    before = Counters('a_total{function="x",how="dropped"} 1.0\n# HELP a_total\na_total{function="y",how="shed"} 4\n')
    after = Counters('a_total{function="x",how="dropped"} 3.0\na_total{function="x",how="shed"} 2.0\nb 1e3\n')
    assert before.total("a_total") == 5
    assert grown(before, after, "a_total", function="x") == 4
    assert after.total("b") == 1000
    assert after.knows("b")
    assert not after.knows("c")


def point(factor: float, *, served: int, refused: int, cpu_s: float) -> Point:
    run = ran(coming((0, TIGHT, 8)), [answered(0)])
    return Point(
        factor=factor,
        load=factor,
        per_second=1,
        run=run,
        promises=[(1, 0)],
        bound=1,
        served=served,
        refused=refused,
        cpu_s=cpu_s,
        seconds=1,
        waited_s=0,
        peak_mib=1,
        lag_p99_ms=0,
        valid=True,
    )


def test_a_refusal_costs_what_is_used_more_where_more_are_refused() -> None:
    side = Side(
        points=[
            point(0.5, served=100, refused=0, cpu_s=0.1),
            point(2, served=300, refused=100, cpu_s=0.31),
            point(10, served=310, refused=1100, cpu_s=0.42),
        ]
    )
    assert cpu_per_refusal_ms(side) == pytest.approx(0.1)


def test_a_call_succeeds_if_any_of_its_attempts_does() -> None:
    drawn = coming((0, TIGHT, 8), (6_000_000, TIGHT, 8), (25_000_000, TIGHT, 8), (26_000_000, TIGHT, 8))
    attempts = [
        answered(0),
        answered(1, status=429),
        answered(1, number=1),
        answered(2),
        answered(3, status=GAVE_UP),
        answered(3, status=LOST, number=1),
    ]
    none, some = Counters(""), Counters("stoker_admissions_total 11\nstoker_requests_total 10\n")
    found = metastability.outcome(drawn, attempts, none, some, 0.1)
    assert found.success == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]
    assert found.attempts_per_call[1] == 2
    assert found.recovered == 0.5
    assert found.amplification == pytest.approx(1.1)
    assert metastability.outcome(drawn, attempts, none, none, 0.1).amplification is None


def test_a_ticket_is_judged_by_the_attempt_that_brought_it() -> None:
    seconds = [answered(0, number=1, took_ms=50), answered(1, number=1, took_ms=150), answered(2, number=1, status=429)]
    found = tickets.returned(THREE, [TIGHT, TIGHT, TIGHT], seconds)
    assert (found.count, found.served, found.on_time) == (3, 2, 1)


def test_tenants_are_seen_together_and_without_the_warm_up() -> None:
    drawn = coming((0, 1, 12), (3_000_000, 1, 12), (3_000_000, 2, 12), (3_000_000, 0, 12))
    attempts = [
        answered(0),
        answered(1, due_us=3_000_000),
        answered(2, due_us=3_000_000, status=429),
        answered(3, due_us=3_000_000),
    ]
    used = Used(cpu_s=0, waited_s=0, seconds=1, rss_mib=[1.0])
    played = Played(arrivals=drawn, attempts=attempts, connections=1, lag_us=(0, 0), used=used)
    found = isolation.seen(played, range(1, 10))
    assert (found.offered, found.success, found.p99_ms) == (2, 0.5, 10.0)


def judged(request_id: str, timeout_us: int) -> Judged:
    request = QueuedRequest(
        id=request_id,
        flow="default/tight",
        variant=Variant.GPU,
        arrival_us=0,
        objective_us=50,
        timeout_us=timeout_us,
        predicted_exec_us=10,
    )
    return Judged(0, request)


def test_a_log_tells_what_was_dispatched_after_its_timeout() -> None:
    device = Device(id="sim-0", kind=DeviceKind.GPU, product="A", memory_mib=1)
    records: list[Record] = [
        Header(stoker="1", part=0, now_us=0, wall_us=0, devices=(device,)),
        *(judged(name, 100) for name in "abc"),
        Popped(99, "sim-0", "a"),
        Done(1, 10),
        Popped(100, "sim-0", None),
        Popped(100, "sim-0", "b"),
        Done(2, 0),
        Popped(100, "sim-0", "c"),
        Done(3, 10),
    ]
    found = timeout.dispatches([line_of(record) for record in records])
    assert (found.judged, found.dispatched, found.passed, found.after) == (3, 2, 1, 1)


LINE = Chart(
    name="line",
    title="A line",
    caption="Caption.",
    x_label="x",
    y_label="y",
    series=(Series(label="s", x=(1.0, 2.0), y=(1.0, 3.0)),),
)


def reported(name: str, measured: float | None, *, drawn: bool = False) -> Report:
    return Report(
        name=name,
        title=name.capitalize(),
        command=f"python -m bench.overload {name}",
        machine="2 cores",
        text=("What was done.",),
        criteria=(at_least("a figure", measured, 0.9), at_most("another", 1.0, 2.0)),
        tables=(table("Rows", ("a", "b"), [["1", "2"]], "Foot."),),
        charts=(LINE,) if drawn else (),
    )


def test_what_was_not_measured_is_not_met() -> None:
    assert not at_least("a", None, 0).met
    assert not at_most("a", None, 1).met
    assert at_most("a", 1.0, 1.0).met


def test_the_page_says_of_every_criterion_whether_it_is_met() -> None:
    text = page([reported("curve", 0.95), reported("tickets", None)])
    assert "3 of 4 criteria are met." in text
    assert "| Tickets | a figure | at least 0.900 | nothing | **no** |" in text
    assert text.index("## Curve") < text.index("## Tickets")


def test_the_page_and_its_charts_are_made_of_the_files_alone_and_come_out_the_same(tmp_path: Path) -> None:
    for name in ("timeout", "curve"):
        write(reported(name, 1.0, drawn=name == "curve"), tmp_path)
    assert [report.name for report in read(tmp_path)] == ["curve", "timeout"]
    write_page(tmp_path)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write_page(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert {"overload.md", "overload-curve-line.svg"} <= first.keys()
