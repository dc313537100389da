"""Figures of `keep-alive` over those of a fixed 10 minutes, and which setting of a policy is the one that counts.

Settings are chosen on the functions of even number and reported on the others, as the constants of the policies are.
"""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from stoker_sim.keep_alive.gaps import Gaps
from stoker_sim.keep_alive.optimum import cold_at, foreseen, frontier
from stoker_sim.results.keep_alive_study import MIB_US, PROFILES, Case, is_even
from stoker_sim.results.keep_alive_ways import BASE
from stoker_sim.traces.spread import Spread

WANTED = 0.3
"""Of the cold starts of the fixed time, at no more memory."""

Key = tuple[str, str]
Of = Callable[[Gaps], bool]


class Ratio(Struct, frozen=True):
    """To the fixed time."""

    cold: float
    memory: float

    @property
    def reaches(self) -> bool:
        return self.cold <= WANTED and self.memory <= 1

    @property
    def short(self) -> float:
        """How far from the target; 1 or less where it is reached."""
        return max(self.cold / WANTED, self.memory)


class Group(Struct, frozen=True):
    """One way of spreading and one memory: a case, or one for each draw of profiles."""

    spread: Spread
    memory: str
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        return f"{self.spread.value} arrivals, {'GPU models' if self.memory == PROFILES else 'memory of the trace'}"

    @property
    def keys(self) -> list[Key]:
        """Ways that all of its cases have."""
        return [way.key for way in self.cases[-1].ways]

    def ratio(self, key: Key, of: Of) -> Ratio:
        """Of a way, over the functions that are meant; the mean over draws."""
        pairs = [ratio(case, key, of) for case in self.cases]
        return Ratio(float(np.mean([p.cold for p in pairs])), float(np.mean([p.memory for p in pairs])))

    def chosen(self, families: Sequence[str]) -> Key:
        """The setting that comes nearest to the target, or furthest inside, on the even functions."""
        keys = [key for key in self.keys if key[0] in families]
        return min(keys, key=lambda key: self.ratio(key, is_even).short)

    def optimum(self, of: Of) -> Ratio:
        """Of one who knows every gap, as much memory, and no pre-warming."""
        pairs = [optimum(case, of) for case in self.cases]
        return Ratio(float(np.mean([p.cold for p in pairs])), 1.0)

    def foreseen(self, of: Of) -> float:
        """Memory of one who pre-warms at the last moment, and has no cold start."""
        return float(np.mean([_foreseen(case, of) for case in self.cases]))


def groups(cases: Sequence[Case]) -> list[Group]:
    """In the order of the cases."""
    names = dict.fromkeys((case.spread, case.memory) for case in cases)
    return [Group(*name, tuple(case for case in cases if (case.spread, case.memory) == name)) for name in names]


def ratio(case: Case, key: Key, of: Of) -> Ratio:
    """Of one way in one case."""
    chosen = case.chosen(of)
    (cold, memory), (base_cold, base_memory) = case.total(key, chosen), case.total(BASE, chosen)
    return Ratio(cold / max(1, base_cold), memory / base_memory)


def optimum(case: Case, of: Of) -> Ratio:
    """Of one who knows every gap, as much memory, and no pre-warming."""
    chosen = case.chosen(of)
    cold, memory = case.total(BASE, chosen)
    fewest = cold_at(case.costs(chosen), memory * MIB_US)
    # The fixed time itself holds so little.
    assert fewest is not None
    return Ratio(fewest / max(1, cold), 1.0)


def optimal_line(case: Case, of: Of, points: int = 24) -> list[Ratio]:
    """The whole frontier of the optimum without pre-warming, thinned."""
    chosen = case.chosen(of)
    cold, memory = case.total(BASE, chosen)
    held, left = frontier(case.costs(chosen))
    over = held / MIB_US / memory
    at = np.unique(np.searchsorted(over, np.linspace(over[0], min(2.0, over[-1]), points)))
    return [Ratio(float(left[i] / max(1, cold)), float(over[i])) for i in at if i < len(over)]


def _foreseen(case: Case, of: Of) -> float:
    chosen = case.chosen(of)
    return foreseen(case.costs(chosen)) / MIB_US / case.total(BASE, chosen)[1]
