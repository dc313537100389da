"""Attainment over all gateways in a sliding window, and the run times that the status shows."""

import pytest

from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.testing.builders import make_function
from stoker.wire.cluster import DemandFrame, ProfileReport, ReplicaFrame, SloReport
from stoker_operator.agent_board import AgentBoard
from stoker_operator.cost_board import CostBoard
from stoker_operator.figure_book import FigureBook
from stoker_operator.slo_board import SLOT_US, SLOTS, Attainment, SloBoard, merged_profiles
from stoker_operator.status_form import Figures

pytestmark = pytest.mark.unit

S = 1_000_000


def counts(offered: int, on_time: int) -> DemandFrame:
    return DemandFrame(seq=1, gateway="g", slo={"team/fn": SloReport(offered=offered, on_time=on_time)})


NONE = DemandFrame(seq=1, gateway="g")


def begun(*gateways: str) -> SloBoard:
    """A board that has heard of gateways to which nobody has come yet."""
    board = SloBoard()
    for gateway in gateways:
        board.heard(gateway, NONE, 0)
    return board


def percent(board: SloBoard, now_us: int) -> float:
    attained = board.attainment("team/fn", now_us)
    assert attained is not None
    return attained.percent


def test_counts_of_two_gateways_make_one_attainment() -> None:
    board = begun("a", "b")
    board.heard("a", counts(10, 9), 1 * S)
    board.heard("b", counts(30, 27), 1 * S)
    assert percent(board, 1 * S) == 90.0


def test_only_what_is_new_since_the_last_word_counts() -> None:
    board = begun("a")
    for _ in range(5):
        board.heard("a", counts(10, 10), 1 * S)
    board.heard("a", counts(20, 10), 2 * S)
    assert percent(board, 2 * S) == 50.0


def test_what_came_before_this_leader_heard_of_a_gateway_is_not_of_now() -> None:
    # A gateway counts since it began, perhaps for weeks.
    board = SloBoard()
    board.heard("a", counts(1_000_000, 0), 1 * S)
    assert board.attainment("team/fn", 1 * S) is None
    board.heard("a", counts(1_000_010, 10), 2 * S)
    assert board.attainment("team/fn", 2 * S) == Attainment(10, 10)


def test_a_function_that_is_called_for_the_first_time_counts_from_its_first_call() -> None:
    board = begun("a")
    board.heard("a", counts(1, 1), 1 * S)
    assert board.attainment("team/fn", 1 * S) == Attainment(1, 1)


def test_a_gateway_that_began_anew_counts_from_nothing() -> None:
    board = begun("a")
    board.heard("a", counts(100, 100), 1 * S)
    board.heard("a", counts(100, 0), 2 * S)
    assert percent(board, 2 * S) == 100.0
    board.heard("a", counts(50, 0), 3 * S)
    assert percent(board, 3 * S) == 66.7


def test_what_is_older_than_the_window_is_forgotten() -> None:
    board = begun("a")
    board.heard("a", counts(10, 0), 0)
    later = SLOTS * SLOT_US
    assert percent(board, later - 1) == 0.0
    assert board.attainment("team/fn", later) is None


def test_what_ran_on_cpus_instead_of_gpus_is_told_as_a_part_of_what_came() -> None:
    board = begun("a")
    for diverted in (10, 25):
        slo = {"team/fn": SloReport(offered=4 * diverted, on_time=0, diverted=diverted)}
        board.heard("a", DemandFrame(seq=1, gateway="a", slo=slo), diverted * S)
    attained = board.attainment("team/fn", 25 * S)
    assert attained == Attainment(100, 0, 25)
    assert attained.diverted_percent == 25.0
    assert Attainment(10, 10).diverted_percent is None


def test_functions_and_gateways_that_are_gone_leave_nothing() -> None:
    board = begun("a")
    board.heard("a", counts(10, 5), 0)
    board.gone("a")
    assert percent(board, 0) == 50.0
    board.keep_only(())
    assert board.attainment("team/fn", 0) is None


def test_a_function_that_comes_again_does_not_get_the_counts_of_the_one_before() -> None:
    board = begun("a")
    board.heard("a", counts(100, 0), 0)
    board.keep_only(())
    # Its gateway has not forgotten it yet.
    board.heard("a", counts(100, 0), 1 * S)
    assert board.attainment("team/fn", 1 * S) is None


def test_run_times_are_told_of_functions_that_nobody_has_called_since_the_gateways_began() -> None:
    slo, agents = SloBoard(), AgentBoard()
    profile = ProfileReport(variant=Variant.GPU, product="A100", p50_ms=1.0, p99_ms=2.0, samples=4)
    agents.heard("n", ReplicaFrame(seq=1, node="n", profiles={"default/f": (profile,), "default/gone": (profile,)}), 1)
    book = FigureBook(slo, agents, CostBoard(agents, lambda _: {}))
    functions = {"default/f": make_function(), "default/silent": make_function("silent")}
    assert book.moved(functions, 1 * S) == ["default/f"]
    assert [each["samples"] for each in book.of("default/f").profile] == [4]
    assert book.of("default/silent") == Figures()
    assert book.moved(functions, 2 * S) == []


def test_that_nothing_is_measured_any_more_is_news() -> None:
    slo, agents = SloBoard(), AgentBoard()
    profile = ProfileReport(variant=Variant.GPU, product="A100", p50_ms=1.0, p99_ms=2.0, samples=4)
    agents.heard("n", ReplicaFrame(seq=1, node="n", profiles={"default/f": (profile,)}), 1)
    book = FigureBook(slo, agents, CostBoard(agents, lambda _: {}))
    functions = {"default/f": make_function()}
    book.moved(functions, 1 * S)
    agents.gone("n")
    assert book.moved(functions, 2 * S) == ["default/f"]
    assert book.of("default/f") == Figures()


def test_the_agent_with_most_samples_speaks_for_a_product() -> None:
    reports = [
        ProfileReport(variant=Variant.GPU, product="A100", p50_ms=12.3456, p99_ms=40.0, samples=5),
        ProfileReport(variant=Variant.GPU, product="A100", p50_ms=1.0, p99_ms=2.0, samples=4),
        ProfileReport(variant=Variant.CPU, product="cpu", p50_ms=100.0, p99_ms=300.0, samples=1),
    ]
    assert merged_profiles(reports, {Variant.GPU: 850}) == [
        {"variant": "cpu", "product": "cpu", "execP50Ms": 100.0, "execP99Ms": 300.0, "samples": 1},
        {
            "variant": "gpu",
            "product": "A100",
            "execP50Ms": 12.3,
            "execP99Ms": 40.0,
            "samples": 5,
            "startMs": {"cold": 850},
        },
    ]


def test_a_percentile_is_judged_only_on_enough_requests() -> None:
    assert Attainment(299, 299).condition(99) is None
    enough = Attainment(300, 297).condition(99)
    assert enough is not None
    assert (enough.status, enough.reason) == (True, Reason.SLO_MET)
    missed = Attainment(300, 296).condition(99)
    assert missed is not None
    assert (missed.status, missed.reason) == (False, Reason.SLO_MISSED)
    assert Attainment(6, 3).condition(50) is not None
