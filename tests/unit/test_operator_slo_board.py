"""Attainment over all gateways in a sliding window, and the run times that the status shows."""

import pytest

from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker.wire.cluster import DemandFrame, ProfileReport, SloReport
from stoker_operator.slo_board import SLOT_US, SLOTS, Attainment, SloBoard, merged_profiles

pytestmark = pytest.mark.unit

S = 1_000_000


def counts(offered: int, on_time: int) -> DemandFrame:
    return DemandFrame(seq=1, gateway="g", slo={"team/fn": SloReport(offered=offered, on_time=on_time)})


def percent(board: SloBoard, now_us: int) -> float:
    attained = board.attainment("team/fn", now_us)
    assert attained is not None
    return attained.percent


def test_counts_of_two_gateways_make_one_attainment() -> None:
    board = SloBoard()
    board.heard("a", counts(10, 9), 1 * S)
    board.heard("b", counts(30, 27), 1 * S)
    assert percent(board, 1 * S) == 90.0


def test_only_what_is_new_since_the_last_word_counts() -> None:
    board = SloBoard()
    for _ in range(5):
        board.heard("a", counts(10, 10), 1 * S)
    board.heard("a", counts(20, 10), 2 * S)
    assert percent(board, 2 * S) == 50.0


def test_a_gateway_that_began_anew_counts_from_nothing() -> None:
    board = SloBoard()
    board.heard("a", counts(100, 100), 1 * S)
    board.heard("a", counts(100, 0), 2 * S)
    assert percent(board, 2 * S) == 100.0
    board.heard("a", counts(50, 0), 3 * S)
    assert percent(board, 3 * S) == 66.7


def test_what_is_older_than_the_window_is_forgotten() -> None:
    board = SloBoard()
    board.heard("a", counts(10, 0), 0)
    later = SLOTS * SLOT_US
    assert percent(board, later - 1) == 0.0
    assert board.attainment("team/fn", later) is None


def test_functions_and_gateways_that_are_gone_leave_nothing() -> None:
    board = SloBoard()
    board.heard("a", counts(10, 5), 0)
    board.gone("a")
    assert percent(board, 0) == 50.0
    board.keep_only(())
    assert board.attainment("team/fn", 0) is None


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
