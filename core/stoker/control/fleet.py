"""The replicas of one plan, by pair: which live, which leave already, and which leave by this plan."""

from collections.abc import Iterable

from stoker.control.planning import Pair
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState, ReplicaStatus


class Fleet:
    """An index over replica statuses. `leaving` grows as the plan takes replicas away."""

    def __init__(self, replicas: Iterable[ReplicaStatus], leaving: Iterable[str]) -> None:
        self.by_id = {r.spec.id: r for r in replicas if r.state is not ReplicaState.GONE}
        self.leaving = set(leaving) | {r.spec.id for r in self.by_id.values() if r.state is ReplicaState.DRAINING}
        self._by_pair: dict[Pair, list[ReplicaStatus]] = {}
        for replica in self.by_id.values():
            self._by_pair.setdefault((replica.spec.function, replica.spec.variant), []).append(replica)
        self._pairs = sorted(self._by_pair)
        self.started: dict[Pair, int] = {}
        """Replicas that this plan starts."""

    def pairs(self) -> list[Pair]:
        """Pairs that have a replica of any state."""
        return self._pairs

    def all_of(self, pair: Pair) -> list[ReplicaStatus]:
        """All replicas of a pair that are not gone."""
        return self._by_pair.get(pair, [])

    def live(self, pair: Pair) -> list[ReplicaStatus]:
        """Starting and warm ones that stay."""
        return [r for r in self.all_of(pair) if r.spec.id not in self.leaving]

    def warm(self, pair: Pair) -> list[ReplicaStatus]:
        """Warm ones that stay."""
        return [r for r in self.live(pair) if r.state is ReplicaState.WARM]

    def of_function(self, key: str) -> list[ReplicaStatus]:
        """All replicas of a function that are not gone."""
        return [r for variant in Variant for r in self.all_of((key, variant))]

    def free_ordinal(self, taken: Iterable[str], pair: Pair, revision: str, started: Iterable[int]) -> int:
        """The smallest ordinal that no replica of the pair and revision has, `taken` ids (still ending) included."""
        used = {r.spec.ordinal for r in self.all_of(pair) if r.spec.revision == revision} | set(started)
        prefix = f"{pair[0]}-{revision}-"
        used |= {
            int(tail)
            for identity in taken
            if identity.startswith(prefix) and (tail := identity.rpartition("-")[2]).isdigit()
        }
        ordinal = 0
        while ordinal in used:
            ordinal += 1
        return ordinal
