"""Every file of the chart, and page of its reference, that follows from others, with the text that it should have."""

import json
from pathlib import Path

from chart.reference import page
from chart.schema import schema

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "stoker"
REFERENCE = ROOT / "docs" / "reference" / "chart.md"
COPIES = {ROOT / "crds": CHART / "files" / "crds", ROOT / "crds" / "admission": CHART / "files" / "admission"}


def expected() -> dict[Path, str]:
    """Path to text."""
    files = {
        target / file.name: file.read_text("utf-8")
        for source, target in COPIES.items()
        for file in sorted(source.glob("*.yaml"))
    }
    values = schema()
    files[CHART / "values.schema.json"] = json.dumps(values, indent=2) + "\n"
    files[REFERENCE] = page(REFERENCE.read_text("utf-8"), values, (CHART / "values.yaml").read_text("utf-8"))
    return files


def leftovers() -> list[Path]:
    """Copies of files that are gone."""
    wanted = expected()
    return [file for target in COPIES.values() for file in sorted(target.glob("*")) if file not in wanted]


def differing() -> list[Path]:
    """What write() would change."""
    changed = [path for path, text in expected().items() if not path.is_file() or path.read_text("utf-8") != text]
    return changed + leftovers()


def write() -> None:
    for path, text in expected().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for path in leftovers():
        path.unlink()
