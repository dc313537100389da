"""The dashboards in the chart are what the program makes. STOKER_GOLDEN=1 rewrites them."""

import pytest
from dashboard_queries import FOLDER
from settings_of_tests import GOLDEN

from dashboards.__main__ import files

pytestmark = pytest.mark.golden


def test_the_dashboards_in_the_chart_are_those_of_the_program() -> None:
    made = files()
    if GOLDEN:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (FOLDER / name).write_text(text)
    assert {path.name for path in FOLDER.glob("*.json")} == made.keys()
    for name, text in made.items():
        assert (FOLDER / name).read_text() == text, f"{name} is out of date: look at the difference, then make golden"
