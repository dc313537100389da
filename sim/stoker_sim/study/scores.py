"""What rows of a study come to: a value for each replication of a family, means, and the best setting of each policy.

A family's value in one replication is the mean over its points, which count alike.
"""

from collections.abc import Iterable, Sequence

from stoker_sim.study.runs import Row

ATTAINMENT = "attainment"
"""By request: what settings are chosen by, and what is judged."""


class Scores:
    """Rows by family and policy."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._values: dict[tuple[str, str], dict[int, dict[int, dict[str, float | None]]]] = {}
        for row in rows:
            by_replication = self._values.setdefault((row.family, row.policy), {})
            by_replication.setdefault(row.replication, {})[row.point] = row.values

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(family for family, _ in self._values))

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(policy for _, policy in self._values))

    def has(self, family: str, policy: str) -> bool:
        return (family, policy) in self._values

    def replications(self, family: str, policy: str, figure: str = ATTAINMENT) -> tuple[float | None, ...]:
        """One value each, in their order; None where a point has none."""
        return tuple(
            _mean([values.get(figure) for _, values in sorted(points.items())])
            for _, points in sorted(self._values[family, policy].items())
        )

    def mean(self, family: str, policy: str, figure: str = ATTAINMENT) -> float | None:
        """Over the replications that have a value."""
        told = [value for value in self.replications(family, policy, figure) if value is not None]
        return sum(told) / len(told) if told else None

    def points(self, family: str, policy: str, figure: str = ATTAINMENT) -> tuple[float | None, ...]:
        """The mean over replications at each point."""
        by_replication = self._values[family, policy]
        places = sorted({point for points in by_replication.values() for point in points})
        return tuple(
            _mean([points[place].get(figure) for _, points in sorted(by_replication.items()) if place in points])
            for place in places
        )

    def best(self, family: str, policies: Sequence[str]) -> str:
        """The one with the highest mean attainment; the first of equal ones."""
        return max(policies, key=lambda policy: self.mean(family, policy) or 0.0)

    def over(self, families: Sequence[str], policy: str) -> float | None:
        """Mean attainment over families that count alike."""
        return _mean([self.mean(family, policy) for family in families])


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told and len(told) == len(values) else None
