"""Pages of results: how claims are judged, equal results as equal bytes, and the index."""

import csv
import io
import json
from pathlib import Path

import pytest

from stoker.errors import UnknownName
from stoker_sim.results.pages import as_csv, as_json, as_markdown, write, write_index
from stoker_sim.results.registry import RESULTS, make_result
from stoker_sim.results.result import (
    Chart,
    Claim,
    Part,
    Result,
    Series,
    Table,
    Verdict,
    banded,
    composed,
    figure,
    hanging,
    judged,
    signed,
    spread,
)

pytestmark = pytest.mark.unit

PAGES = Path(__file__).parents[2] / "docs" / "results"


def example(value: float = 2.0 / 3) -> Result:
    part = Part(
        claims=(Claim(what="a | b", published="2x", ours="1.5x\n    of it", verdict=Verdict.REPRODUCED),),
        tables=(Table(title="Runs", head=("n",), rows=(("1",),), foot="What they\n    are."),),
        charts=(
            Chart(
                name="line",
                title="A line",
                caption="Of two points.",
                x_label="x",
                y_label="y",
                series=(
                    Series(label="ours", x=(1.0, 2.0), y=(1.0, value)),
                    Series(label="theirs", x=(1.0,), y=(2.0,), published=True, points=True),
                ),
            ),
        ),
        findings=("It holds.",),
        rows=({"n": 1, "value": value}, {"n": 2, "other": None, "value": 3.0}),
    )
    return composed(
        [part, Part(claims=part.claims)],
        name="example",
        title="Example",
        source="me",
        text=("Text.",),
        assumptions=("None.",),
    )


# -- verdicts


def test_a_ratio_counts_as_the_same_from_half_to_twice_of_it() -> None:
    assert judged([0.5, 1.0, 2.0]) is Verdict.REPRODUCED
    assert judged([1.0, 2.01]) is Verdict.DIFFERENT
    assert judged([0.49]) is Verdict.DIFFERENT


def test_nothing_measured_reproduces_nothing() -> None:
    assert judged([]) is Verdict.DIFFERENT
    assert signed("", published="", ours="", holds=[]).verdict is Verdict.DIFFERENT
    assert hanging("", published="", ours="", holds=[], missing="x").verdict is Verdict.DIFFERENT


def test_an_order_holds_only_where_it_holds_in_every_setting() -> None:
    assert signed("", published="", ours="", holds=[True, True]).verdict is Verdict.REPRODUCED
    assert signed("", published="", ours="", holds=[True, False]).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("factors", "verdict", "words"),
    [
        ([0.6, 1.9], Verdict.REPRODUCED, "reproduced"),
        ([0.6, 2.1], Verdict.MISSING, "not reproducible: missing their start-up"),
        ([2.1, 3.0], Verdict.DIFFERENT, "comes out differently"),
    ],
)
def test_a_claim_hangs_on_an_unknown_input_only_where_its_values_disagree(
    factors: list[float], verdict: Verdict, words: str
) -> None:
    claim = banded("", published="", ours="", factors=factors, missing="their start-up")
    assert (claim.verdict, claim.in_words) == (verdict, words)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.12345, "0.123"), (1234.5, "1,230"), (30.0, "30"), (2.0 / 3, "0.667")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert figure(value) == text


def test_a_spread_is_its_ends_or_one_figure() -> None:
    assert spread([2.0, 1.0, 3.0]) == "1-3"
    assert spread([1.0001, 1.0]) == "1"


# -- pages


def test_the_same_result_twice_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(example(), tmp_path / folder) for folder in "ab")
    assert [path.name for path in first] == ["example.md", "example.json", "example.csv", "example-line.svg"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_chart_says_nothing_of_when_it_was_drawn(tmp_path: Path) -> None:
    svg = write(example(), tmp_path)[-1].read_text()
    assert "dc:date" not in svg
    assert "Matplotlib" not in svg


def test_a_page_states_its_command_claims_verdicts_and_inputs() -> None:
    page = as_markdown(example())
    assert "`python -m stoker_sim.results example`" in page
    assert "| a \\| b | 2x | 1.5x of it | reproduced |" in page
    assert "What they are." in page
    for heading in ("## What was claimed, and what came out", "## Findings", "## Inputs"):
        assert heading in page


def test_json_and_csv_hold_the_same_figures() -> None:
    told = json.loads(as_json(example()))
    rows = list(csv.DictReader(io.StringIO(as_csv(example().rows))))
    assert told["claims"][0]["verdict"] == "reproduced"
    assert told["rows"][0] == {"n": 1, "value": 0.666667}
    assert rows[0] == {"n": "1", "value": "0.666667", "other": ""}
    assert rows[1] == {"n": "2", "value": "3", "other": ""}


def test_the_index_has_every_claim_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text(as_json(example()))
    index = write_index(tmp_path, ("example", "not-made-yet")).read_text()
    assert index.count("[Example](example.md)") == 2
    assert "not-made-yet" not in index
    assert "Other pages" not in index


def test_the_index_names_pages_that_are_no_result(tmp_path: Path) -> None:
    (tmp_path / "reality.md").write_text("# Simulation against reality\n\nText.\n")
    assert "- [Simulation against reality](reality.md)" in write_index(tmp_path, ()).read_text()


# -- what the project holds


def test_a_result_is_made_by_its_name() -> None:
    with pytest.raises(UnknownName, match="use one of: kaas-pools"):
        make_result("nothing")
    assert make_result("kaas-pools") is RESULTS["kaas-pools"]


@pytest.mark.parametrize("name", RESULTS)
def test_every_result_was_made_and_its_page_shows_all_of_its_files(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    told = json.loads((PAGES / f"{name}.json").read_text())
    assert page.startswith(f"# {told['title']}\n")
    assert all(claim["verdict"] for claim in told["claims"])
    others = [other for other in RESULTS if other.startswith(f"{name}-")]
    for chart in PAGES.glob(f"{name}-*.svg"):
        if not any(chart.name.startswith(f"{other}-") for other in others):
            assert f"({chart.name})" in page


def test_the_index_is_that_of_the_pages(tmp_path: Path) -> None:
    for page in (*PAGES.glob("*.json"), *PAGES.glob("*.md")):
        (tmp_path / page.name).write_bytes(page.read_bytes())
    assert write_index(tmp_path, tuple(RESULTS)).read_bytes() == (PAGES / "README.md").read_bytes()
