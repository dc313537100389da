"""What helm renders, as whole texts; STOKER_GOLDEN=1 rewrites them. What is a copy of a file is left out."""

from pathlib import Path
from typing import Any

import pytest
from chart_renders import EVERYTHING, rendered
from settings_of_tests import GOLDEN

pytestmark = [pytest.mark.golden, pytest.mark.timeout(60)]

FILES = Path(__file__).parent / "files"
COPIES = ("crds.yaml", "admission.yaml", "monitoring/dashboards.yaml")
RENDERS: dict[str, dict[str, Any]] = {
    "chart-default": {},
    "chart-simulated": {"simulatedGpus": {"enabled": True}},
    "chart-everything": EVERYTHING,
}


@pytest.mark.parametrize("name", RENDERS)
def test_the_chart_renders_as_recorded(name: str) -> None:
    path = FILES / f"{name}.yaml"
    parts = rendered(RENDERS[name]).split("---\n# Source: stoker/templates/")
    text = "---\n# ".join(part for part in parts if part and not part.startswith(COPIES))
    if GOLDEN:
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} is out of date: look at the difference, then make golden"
