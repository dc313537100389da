"""Writes docs/reference/metrics.md from the catalogue: `python -m stoker_cli.reference > docs/reference/metrics.md`."""

import sys

from stoker.metrics import CATALOGUE, Kind, MetricSpec

_HEAD = """# Metrics

Generated from `core/stoker/metrics.py` by `python -m stoker_cli.reference`; a test holds the two together.

`stoker serve` shows these on its internal listener (public port + 1) at `/metrics`, in Prometheus' text format.
Durations are seconds, memory is bytes. Labels are bounded: no request and no replica is a label; beyond 5,000 series
per metric (`STOKER_MAX_SERIES`) further ones are counted together under `_other`. The series of a function go when it
is deleted. CPU time, memory and open files of the process itself are there as `stoker_process_*`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_reference() -> str:
    """The whole page."""
    rows = "".join(_row(spec) for spec in CATALOGUE)
    buckets = sorted({spec.buckets for spec in CATALOGUE if spec.kind is Kind.HISTOGRAM})
    tail = "".join(
        f"\nBuckets of the histograms, in seconds: {', '.join(f'{bound:g}' for bound in bounds)}.\n"
        for bounds in buckets
    )
    return _HEAD + rows + tail


def _row(spec: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels) or "none"
    return f"| `{spec.name}` | {spec.kind} | {labels} | {spec.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_reference())
