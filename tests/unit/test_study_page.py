import pytest
from study_outcomes import a_frozen, a_outcome

from stoker_sim.results.own_policy import page
from stoker_sim.results.pages import as_csv, as_json, as_markdown
from stoker_sim.results.result import Verdict
from stoker_sim.study.settings import ABLATIONS

pytestmark = pytest.mark.unit

TWO = ("kernels", "zipf")


def test_a_policy_that_is_superior_in_two_families_reached_what_was_asked_for() -> None:
    claims = page(a_outcome(families=TWO), a_frozen(TWO)).claims
    assert [claim.verdict for claim in claims] == [Verdict.REACHED] * 3
    assert claims[0].ours.endswith("superior")
    assert claims[-1].ours == "non-inferior in 2 of 2, superior in 2"


def test_a_family_that_is_lost_is_told_with_its_mechanism_or_that_none_is_known() -> None:
    lost = a_outcome(0.6, families=TWO)
    told = page(lost, a_frozen(TWO), {"zipf": "it evicts what comes back"})
    assert [claim.verdict for claim in told.claims] == [Verdict.NOT_REACHED] * 3
    assert told.findings == (
        "kernel graphs: why it is lost is not known yet",
        "memory-tight Zipf 1.8: it evicts what comes back",
    )


def test_the_page_says_when_the_half_was_opened_and_has_every_ablation_that_was_run() -> None:
    text = as_markdown(page(a_outcome(), a_frozen()))
    assert "opened, on 2026-12-01" in " ".join(text.split())
    assert f"| family | {ABLATIONS[0].what} |" in text
    assert "| zipf | sjf | +5.05 [" in text
    assert "| 0.835 | " in text


def test_equal_outcomes_make_equal_files_with_a_row_for_each_policy() -> None:
    pages = [page(a_outcome(), a_frozen()) for _ in range(2)]
    assert as_json(pages[0]) == as_json(pages[1])
    assert as_csv(pages[0].rows) == as_csv(pages[1].rows)
    _, verdict, *policies = as_csv(pages[0].rows).splitlines()
    assert verdict.startswith("zipf,sjf,superior,")
    assert len(policies) == 3
