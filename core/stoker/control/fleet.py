"""The replicas of one plan, by pair: which live, which leave already, which leave by this plan, which only block.

A blocker is a replica that got a device that it may not use: it will never be warm, and stays only so that nobody else
gets that device before its replacement has a good one (stoker.control.unfit).
"""

from collections.abc import Iterable

from stoker.control.planning import Pair
from stoker.model.function import Variant
from stoker.model.replica import ReplicaState, ReplicaStatus

_VARIANTS = tuple(Variant)


class Fleet:
    """An index over replica statuses. `leaving` grows as the plan takes replicas away."""

    def __init__(self, replicas: Iterable[ReplicaStatus], leaving: Iterable[str]) -> None:
        self.by_id: dict[str, ReplicaStatus] = {}
        self._used: dict[str, set[int]] = {}
        """Ordinals in use by the id without them. A pod that has ended has its name until it is removed."""
        for replica in replicas:
            self._use(replica.spec.id)
            if replica.state is not ReplicaState.GONE:
                self.by_id[replica.spec.id] = replica
        for identity in leaving:
            self._use(identity)
        self.leaving = set(leaving) | {r.spec.id for r in self.by_id.values() if r.state is ReplicaState.DRAINING}
        self._by_pair: dict[Pair, list[ReplicaStatus]] = {}
        for replica in self.by_id.values():
            self._by_pair.setdefault((replica.spec.function, replica.spec.variant), []).append(replica)
        self._pairs = sorted(self._by_pair)
        self._blocking = {pair for pair, held in self._by_pair.items() if any(is_blocker(r) for r in held)}
        self.blocked_functions = {pair[0] for pair in self._blocking}
        """Keys of the functions that have a blocker."""
        self.started: dict[Pair, int] = {}
        """Replicas that this plan starts."""

    def pairs(self) -> list[Pair]:
        """Pairs that have a replica of any state."""
        return self._pairs

    def all_of(self, pair: Pair) -> list[ReplicaStatus]:
        """All replicas of a pair that are not gone."""
        return self._by_pair.get(pair, [])

    def staying(self, pair: Pair) -> list[ReplicaStatus]:
        """All that are not on their way out, blockers too."""
        held = self._by_pair.get(pair)
        return [r for r in held if r.spec.id not in self.leaving] if held else []

    def live(self, pair: Pair) -> list[ReplicaStatus]:
        """Starting and warm ones that stay."""
        staying = self.staying(pair)
        return [r for r in staying if not is_blocker(r)] if pair in self._blocking else staying

    def warm(self, pair: Pair) -> list[ReplicaStatus]:
        """Warm ones that stay."""
        return [r for r in self.live(pair) if r.state is ReplicaState.WARM] if pair in self._by_pair else []

    def blocking(self) -> list[Pair]:
        """Pairs that have a blocker."""
        return sorted(self._blocking)

    def blockers(self, pair: Pair) -> list[ReplicaStatus]:
        """Those that got an unfit device and stay, the longest there first."""
        if pair not in self._blocking:
            return []
        return sorted((r for r in self.staying(pair) if is_blocker(r)), key=lambda r: (r.started_us, r.spec.id))

    def of_function(self, key: str) -> list[ReplicaStatus]:
        """All replicas of a function that are not gone."""
        return [r for variant in _VARIANTS for r in self._by_pair.get((key, variant), ())]

    def new_ordinal(self, stem: str) -> int:
        """The smallest free ordinal of the ids `STEM-ORDINAL`, now used; ending and ended replicas keep theirs."""
        used = self._used.setdefault(stem, set())
        ordinal = 0
        while ordinal in used:
            ordinal += 1
        used.add(ordinal)
        return ordinal

    def _use(self, identity: str) -> None:
        stem, _, tail = identity.rpartition("-")
        if tail.isdecimal():
            self._used.setdefault(stem, set()).add(int(tail))


def is_blocker(replica: ReplicaStatus) -> bool:
    """Whether it got a device that it may not use, and so never gets warm."""
    return bool(replica.unfit) and replica.state is ReplicaState.STARTING
