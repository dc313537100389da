"""The exposition and the reference page of the catalogue, as whole texts. STOKER_GOLDEN=1 rewrites them."""

from pathlib import Path

import pytest
from settings_of_tests import GOLDEN

from stoker.metrics import CATALOGUE, Kind
from stoker_cli.reference import metrics_reference
from stoker_runtime.metrics import PrometheusSink

pytestmark = pytest.mark.golden

ROOT = Path(__file__).parents[2]
EXPOSITION = Path(__file__).with_name("metrics.txt")
REFERENCE = ROOT / "docs" / "reference" / "metrics.md"


def check(path: Path, text: str) -> None:
    if GOLDEN:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} is out of date: look at the difference, then make golden"


def test_the_exposition_of_one_sample_each_is_as_recorded() -> None:
    sink = PrometheusSink(process=False)
    for spec in CATALOGUE:
        labels = tuple(f"some-{label}" for label in spec.labels)
        if spec.kind is Kind.COUNTER:
            sink.inc(spec, *labels, amount=2)
        elif spec.kind is Kind.GAUGE:
            sink.set(spec, 3, *labels)
        else:
            sink.observe(spec, 0.3, *labels)
    check(EXPOSITION, sink.text().decode())


def test_the_reference_page_is_what_the_catalogue_says() -> None:
    check(REFERENCE, metrics_reference())


def test_names_labels_and_buckets_keep_the_rules() -> None:
    names = [spec.name for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    for spec in CATALOGUE:
        assert spec.name.startswith("stoker_")
        assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER)
        assert bool(spec.buckets) == (spec.kind is Kind.HISTOGRAM)
        assert list(spec.buckets) == sorted(spec.buckets)
        assert not {"request", "request_id", "replica", "pod"} & set(spec.labels)
