"""Counters of the platform (its /metrics), as sums over the series that have given labels. Pure."""

import re
from collections.abc import Mapping

_LINE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? ([0-9.eE+-]+)$")
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Counters:
    """What /metrics said at one instant."""

    def __init__(self, text: str) -> None:
        self._series: list[tuple[str, Mapping[str, str], float]] = []
        for line in text.splitlines():
            found = _LINE.match(line)
            if found is not None:
                self._series.append((found[1], dict(_LABEL.findall(found[2] or "")), float(found[3])))

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of that name whose labels have these values; 0 where there is none."""
        return sum(
            value
            for found, its, value in self._series
            if found == name and all(its.get(label) == wanted for label, wanted in labels.items())
        )

    def knows(self, name: str) -> bool:
        """Whether there is any series of that name."""
        return any(found == name for found, _, _ in self._series)

    def labels(self, name: str, label: str) -> list[str]:
        """Values that a label has in the series of that name, sorted."""
        return sorted({its[label] for found, its, _ in self._series if found == name and label in its})


def grown(before: Counters, after: Counters, name: str, **labels: str) -> float:
    """By how much a sum grew between two instants."""
    return after.total(name, **labels) - before.total(name, **labels)
