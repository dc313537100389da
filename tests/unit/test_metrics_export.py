"""The sink counts under the catalogue's names, in bounded memory."""

import pytest

from stoker.metrics import (
    CATALOGUE,
    EXEC_SECONDS,
    HELD,
    OBJECTS_REJECTED,
    ON_TIME,
    REQUESTS,
    Kind,
    MetricSpec,
    MetricsSink,
)
from stoker_runtime.metrics import OTHER, PrometheusSink

pytestmark = pytest.mark.unit


def lines_of(sink: PrometheusSink, start: str) -> list[str]:
    return [line for line in sink.text().decode().splitlines() if line.startswith(start)]


def test_a_process_exports_those_metrics_of_the_catalogue_that_it_counts_and_no_others() -> None:
    sink = PrometheusSink(process=False)
    for spec in CATALOGUE:
        assert spec.name not in sink.text().decode()
        count_once(sink, spec)
        assert f"# TYPE {spec.name} {spec.kind}" in sink.text().decode()


def count_once(sink: PrometheusSink, spec: MetricSpec) -> None:
    labels = ("x",) * len(spec.labels)
    if spec.kind is Kind.COUNTER:
        sink.inc(spec, *labels)
    elif spec.kind is Kind.GAUGE:
        sink.set(spec, 1, *labels)
    else:
        sink.observe(spec, 1, *labels)


def test_inc_set_and_observe_arrive_under_their_labels() -> None:
    sink: MetricsSink = PrometheusSink(process=False)
    sink.inc(REQUESTS, "default", "ocr", "gpu", "served", "")
    sink.inc(REQUESTS, "default", "ocr", "gpu", "served", "", amount=2)
    sink.set(HELD, 4, "default", "ocr")
    sink.observe(EXEC_SECONDS, 0.2, "default", "ocr", "gpu")
    sink.inc(OBJECTS_REJECTED)
    assert isinstance(sink, PrometheusSink)
    assert lines_of(sink, "stoker_requests_total") == [
        'stoker_requests_total{function="ocr",namespace="default",outcome="served",reason="",variant="gpu"} 3.0'
    ]
    assert lines_of(sink, "stoker_requests_held{") == ['stoker_requests_held{function="ocr",namespace="default"} 4.0']
    assert lines_of(sink, "stoker_request_exec_seconds_count") == [
        'stoker_request_exec_seconds_count{function="ocr",namespace="default",variant="gpu"} 1.0'
    ]
    assert lines_of(sink, "stoker_objects_rejected_total") == ["stoker_objects_rejected_total 1.0"]


def test_a_forgotten_series_is_gone_and_may_come_back_at_zero() -> None:
    sink = PrometheusSink(process=False)
    sink.inc(ON_TIME, "default", "ocr")
    sink.forget(ON_TIME, "default", "ocr")
    sink.forget(ON_TIME, "default", "ocr")
    sink.forget(OBJECTS_REJECTED)
    assert lines_of(sink, "stoker_requests_on_time_total{") == []
    sink.inc(ON_TIME, "default", "ocr")
    sink.inc(OBJECTS_REJECTED)
    assert lines_of(sink, "stoker_requests_on_time_total{")[0].endswith(" 1.0")


def test_a_deleted_function_leaves_no_series_and_takes_no_other_with_it() -> None:
    sink = PrometheusSink(process=False)
    for name in ("ocr", "ocr-two"):
        sink.inc(ON_TIME, "default", name)
        sink.observe(EXEC_SECONDS, 0.1, "default", name, "gpu")
    sink.forget_function("default", "ocr")
    text = sink.text().decode()
    assert 'function="ocr"' not in text
    assert 'function="ocr-two"' in text


def test_series_beyond_the_bound_are_counted_together() -> None:
    sink = PrometheusSink(max_series=10, process=False)
    for number in range(50):
        sink.inc(ON_TIME, "default", f"f-{number}")
    lines = lines_of(sink, "stoker_requests_on_time_total{")
    assert len(lines) == 11
    assert f'stoker_requests_on_time_total{{function="{OTHER}",namespace="{OTHER}"}} 40.0' in lines
    sink.forget_function("default", "f-0")
    sink.inc(ON_TIME, "default", "f-49")
    assert any('"f-49"' in line for line in lines_of(sink, "stoker_requests_on_time_total{"))


def test_the_process_itself_is_measured() -> None:
    assert b"stoker_process_resident_memory_bytes" in PrometheusSink().text()
