"""The settings that each policy may be tuned to: at most BUDGET, with the same choices beside the queueing for all.

Tuned are the policy's own constants, who leaves a device when memory is needed, and whether late requests lose their
turn (ServeLate). With policies that keep late ones in turn, as their authors have it, one eviction is tried: under
overload they serve little but late requests. A keep-alive time is not tuned: holding memory costs nothing in
attainment, so evicting before memory is needed can only lose.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from stoker.errors import UnknownName
from stoker.policies.queueing.lean_slack import LeanSlack
from stoker.policies.queueing.registry import POLICIES
from stoker_sim.scenario import PolicyChoice

OURS = LeanSlack.name
BUDGET = 30
EVICTIONS = ("greedy-dual", "slack-value", "lru", "light-first")

_Tunings = tuple[dict[str, int], ...]
_DEFAULT: _Tunings = ({},)
_TUNINGS: Mapping[str, _Tunings] = MappingProxyType(
    {
        "cfs-affinity": ({}, {"penalty": 2}, {"penalty": 50}),
        "lazy-slack": ({}, {"smallUs": 1_000_000}, {"smallUs": 3_600_000_000}),
        OURS: ({}, {"slackPercent": 10}, {"holdPercent": 200}),
        "mqfq": ({}, {"overrunPercent": 200}, {"overrunPercent": 1_000}),
        "mqfq-sticky": ({}, {"overrunPercent": 200}, {"overrunPercent": 1_000}),
        "paella-srpt": ({}, {"threshold": 5}, {"threshold": 250}),
        "rrc": ({}, {"keepPercent": 90}, {"rise": 10}),
    }
)
"""Constants that are not as by default; the first of each policy is as published."""


class Ablation(Struct, frozen=True, kw_only=True):
    """Ours without one of its parts."""

    name: str
    what: str
    """What is missing."""
    tuning: dict[str, int] = {}
    serve_late: bool | None = None
    eviction: str | None = None

    def applied(self, choice: PolicyChoice) -> PolicyChoice:
        """The tuned policy without the part."""
        return replace(
            choice,
            name=self.name,
            tuning={**choice.tuning, **self.tuning},
            serve_late=choice.serve_late if self.serve_late is None else self.serve_late,
            eviction=choice.eviction if self.eviction is None else self.eviction,
        )


ABLATIONS: tuple[Ablation, ...] = (
    Ablation(name="no slack", what="slack in the order", tuning={"slackPercent": 0}),
    Ablation(name="no hold", what="holding back what is resident elsewhere", tuning={"holdPercent": 0}),
    Ablation(name="no window", what="the bound on unfairness", tuning={"windowUs": 3_600_000_000}),
    Ablation(name="no room", what="the discount on starts while memory is not tight", tuning={"roomHalvings": 0}),
    Ablation(name="no early drop", what="ServeLate around it", serve_late=False),
    Ablation(name="lru", what="the tuned eviction (the least recently used leaves)", eviction="lru"),
)
"""One part each."""


def published() -> tuple[str, ...]:
    """The policies that ours is judged against, by name."""
    return tuple(name for name in sorted(POLICIES) if name != OURS)


def settings_of(policy: str) -> tuple[PolicyChoice, ...]:
    """All settings of a policy, the default first. Raises UnknownName."""
    if policy not in POLICIES:
        raise UnknownName(f"no queueing policy is named {policy!r}; choose one of {', '.join(sorted(POLICIES))}")
    tunings = _TUNINGS.get(policy, _DEFAULT)
    return tuple(
        PolicyChoice(queueing=policy, tuning=tuning, serve_late=serve_late, eviction=eviction)
        for serve_late, evictions in ((True, EVICTIONS), (False, EVICTIONS[:1]))
        for tuning in tunings
        for eviction in evictions
    )
