"""Writes docs/reference/metrics.md from the catalogue: `python -m stoker_cli.reference > docs/reference/metrics.md`."""

import sys

from stoker.metrics import CATALOGUE, Kind, MetricSpec

_HEAD = """# Metrics

Generated from `core/stoker/metrics.py` by `python -m stoker_cli.reference`; a test holds the two together.

`stoker serve` shows these on its internal listener (public port + 1) at `/metrics`, in Prometheus' text format; on
Kubernetes every process does on port 9090. A process shows only what it counts. Durations are seconds, memory is bytes.
Labels are bounded: no request and no replica is a label; beyond 5,000 series per metric (`STOKER_MAX_SERIES`) further
ones are counted together under `_other`. The series of a function go when it is deleted. CPU time, memory and open
files of the process itself are there as `stoker_process_*`.

`namespace` is the function's: scrape with `honorLabels` (`honor_labels`), or it is renamed. No metric says which node
or pod it comes from; that is for who scrapes. [dashboards.md](dashboards.md) has the details.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def metrics_reference() -> str:
    """The whole page."""
    rows = "".join(_row(spec) for spec in CATALOGUE)
    by_buckets: dict[tuple[float, ...], list[str]] = {}
    for spec in CATALOGUE:
        if spec.kind is Kind.HISTOGRAM:
            by_buckets.setdefault(spec.buckets, []).append(f"`{spec.name}`")
    tail = "".join(
        f"- {', '.join(names)}: {', '.join(f'{bound:g}' for bound in bounds)}\n" for bounds, names in by_buckets.items()
    )
    return f"{_HEAD}{rows}\nBuckets of the histograms, in seconds:\n\n{tail}"


def _row(spec: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels) or "none"
    return f"| `{spec.name}` | {spec.kind} | {labels} | {spec.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_reference())
