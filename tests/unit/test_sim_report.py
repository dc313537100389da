"""Reports: figures in words, and tables as plain rows."""

import re

import pytest
from sim_scenarios import comparison_of, scenario_of

from stoker_sim.compare import Comparison
from stoker_sim.evaluate.figures import SPECS
from stoker_sim.evaluate.intervals import Interval
from stoker_sim.report.tables import comparison_table, figures_table, run_tables
from stoker_sim.report.wording import difference_in_words, in_words, mean_in_words, rounded
from stoker_sim.summary import lines_of

pytestmark = pytest.mark.unit

SHARE, MS, PLAIN = SPECS["attainment"], SPECS["wait_p99_ms"], SPECS["slowdown_p99"]


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return comparison_of(scenario_of(duration="12s", warmUp="1s", seeds=2))


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.5, "50.0 %"), (1.0, "100.0 %"), (0.99999, ">99.9 %"), (0.0, "0.0 %"), (None, "-")],
)
def test_a_share_is_percent_and_never_rounds_a_miss_away(value: float | None, words: str) -> None:
    assert in_words(SHARE, value) == words


def test_times_and_numbers_have_few_digits() -> None:
    assert (in_words(MS, 8200.4), in_words(MS, 0.25), in_words(MS, -3.0)) == ("8.2 s", "250 us", "-3 ms")
    assert (in_words(PLAIN, 3.14159), in_words(SPECS["held_gpu_s"], 123_456.7)) == ("3.142", "123457 GPU-s")


def test_means_have_half_their_interval_and_differences_a_sign() -> None:
    value = Interval(mean=0.5, count=3, low=0.4, high=0.6)
    assert mean_in_words(SHARE, value) == "50.0 % ±10.0"
    assert difference_in_words(SHARE, value) == "+50.0 ±10.0"
    assert difference_in_words(SHARE, Interval(mean=-0.031, count=1)) == "-3.1"
    assert difference_in_words(MS, Interval(mean=-12.0, count=2, low=-13.0, high=-11.0)) == "-12 ms ±1 ms"
    assert difference_in_words(PLAIN, Interval(mean=2.0, count=1)) == "+2"
    assert mean_in_words(SHARE, None) == "-"


def test_numbers_in_files_have_nine_digits() -> None:
    assert rounded(1 / 3) == 0.333333333
    assert rounded(123_456_789_012.0) == 123_456_789_000.0
    assert rounded(None) is None


def test_the_table_has_a_row_for_each_setting_and_policy(comparison: Comparison) -> None:
    table = comparison_table(comparison, lines_of(comparison))
    assert table.head[:4] == ("SETTING", "POLICY", "ON TIME", "VS fcfs")
    assert [row[:2] for row in table.rows] == [
        ("load 0.5", "fcfs"), ("load 0.5", "mqfq-sticky"), ("load 1.1", "fcfs"), ("load 1.1", "mqfq-sticky"),
    ]  # fmt: skip
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert table.rows[0][3] == "-"
    assert re.fullmatch(r"[+-]\d+\.\d ±\d+\.\d", table.rows[1][3])


def test_of_one_policy_and_setting_nothing_is_compared() -> None:
    alone = comparison_of(scenario_of(duration="4s", warmUp="0s", seeds=1, policies=["edf"], loads=[], bound=False))
    table = comparison_table(alone, lines_of(alone))
    assert table.head[:3] == ("POLICY", "ON TIME", "/ BOUND")
    assert table.foot[0] == "one seed: no interval"


def test_all_figures_of_a_setting_stand_beside_their_differences(comparison: Comparison) -> None:
    table = figures_table(comparison, comparison.settings[0], lines_of(comparison))
    assert table.head == ("FIGURE", "fcfs", "mqfq-sticky", "VS fcfs")
    named = [row[0] for row in table.rows]
    assert {"attainment_by_function", "jain_tenants_10s_p5", "attainment_over_bound", "cost"} <= set(named)
    assert "conditional_attainment" not in named


def test_one_simulation_is_shown_with_its_views_tenants_and_functions(comparison: Comparison) -> None:
    views, whole, tenants, functions = run_tables(comparison.runs[0])
    assert views.head == ("FIGURE", "BY REQUEST", "BY FUNCTION", "WITHOUT TOP 3")
    assert "attainment_over_bound" in [row[0] for row in whole.rows]
    assert [row[0] for row in tenants.rows] == ["tenant-0", "tenant-1"]
    assert len(functions.rows) == 6
