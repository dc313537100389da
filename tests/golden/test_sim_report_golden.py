"""Reports of one small scenario, byte for byte: JSON, CSV, the table on the terminal; and the page of HTML.

The page is compared with itself, not with a file: how a plot is written changes with each version of matplotlib.
"""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from settings_of_tests import GOLDEN
from sim_scenarios import comparison_of, scenario_of

from stoker_cli.sim.showing import show
from stoker_sim.compare import Comparison, Setting
from stoker_sim.report.documents import as_csv, as_json
from stoker_sim.report.page import as_html
from stoker_sim.report.plots import told_setting
from stoker_sim.report.tables import comparison_table, run_tables
from stoker_sim.summary import lines_of

pytestmark = pytest.mark.golden

FILES = Path(__file__).with_name("files")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return comparison_of(scenario_of(name="<b>small & short</b>"))


@pytest.fixture(scope="module")
def short() -> Comparison:
    return comparison_of(scenario_of(loads=[0.9], seeds=2, duration="10s", warmUp="1s"))


@pytest.fixture(scope="module")
def page(comparison: Comparison) -> str:
    return as_html(comparison, lines_of(comparison))


def check(name: str, content: bytes) -> None:
    path = FILES / name
    if GOLDEN:
        path.write_bytes(content)
    assert content == path.read_bytes(), f"{name} is out of date: look at the difference, then make golden"


def test_json_is_the_same_to_the_last_byte(short: Comparison) -> None:
    check("sim-report.json", as_json(short, lines_of(short)))


def test_csv_is_the_same_to_the_last_byte(short: Comparison) -> None:
    check("sim-report.csv", as_csv(short).encode())


def test_the_terminal_shows_the_same(
    short: Comparison, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show([comparison_table(short, lines_of(short)), *run_tables(short.runs[0])], short.notes)
    shown = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    check("sim-report.txt", shown.encode() + b"\n")


def test_plots_are_those_of_the_setting_with_the_load_nearest_to_full(comparison: Comparison, page: str) -> None:
    assert told_setting(comparison) == Setting(load=1.1)
    assert re.findall("<figcaption><b>([^<]*)</b>", page) == [
        "Wait of requests (load 1.1).",
        "On time over load.",
        "Cold starts over memory (load 1.1).",
        "Fairness over time (load 1.1).",
        "On time against GPU time held.",
    ]
    for plot in re.findall("<svg.*?</svg>", page, re.DOTALL):
        words = {element.text for element in ET.fromstring(plot).iter() if element.tag.endswith("text")}
        assert {"fcfs", "mqfq-sticky"} <= words


def test_objectives_that_a_scenario_goes_through_have_a_plot_of_their_own() -> None:
    strict = scenario_of(sloFactors=[5, 2], loads=[0.9], seeds=1, duration="4s", warmUp="0s")
    made = comparison_of(strict)
    page = as_html(made, lines_of(made))
    assert "<b>On time over objectives (load 0.9).</b>" in page
    plot = page[: page.index("<b>On time over objectives")].rpartition("<svg")[2]
    assert "objective, isolated warm medians" in plot
    assert {"fcfs", "mqfq-sticky", "bound"} <= set(re.findall(r">([a-z-]+)</text>", plot))
    # One objective is a point, no plot.
    alone = comparison_of(scenario_of(sloFactors=[5], loads=[0.9], seeds=1, duration="4s", warmUp="0s", bound=False))
    assert "over objectives" not in as_html(alone, lines_of(alone))


def test_the_page_needs_nothing_else_and_is_the_same_every_time(comparison: Comparison, page: str) -> None:
    assert page == as_html(comparison, lines_of(comparison))
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', page) == []
    assert "<b>small & short</b>" not in page
    assert "&lt;b&gt;small &amp; short&lt;/b&gt;" in page
    assert all(note in page for note in comparison.notes)


def test_ids_in_the_page_are_unique_and_all_that_is_referred_to_is_there(page: str) -> None:
    ids = re.findall(r' id="([^"]+)"', page)
    assert sorted(set(ids)) == sorted(ids)
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', page)) <= set(ids)
