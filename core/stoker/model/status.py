"""What a function's state is, in conditions and plain sentences: for `top`, `explain` and answers that say why.

Conditions follow kstatus (Ready, Reconciling, Stalled) plus Active. Values only; plan() fills them in.
"""

from msgspec import Struct

from stoker.model.function import Variant
from stoker.model.replica import ReplicaState
from stoker.reasons import Reason


class Condition(Struct, frozen=True, kw_only=True, rename="camel"):
    """One condition. `message` is one sentence for a person, complete without the reason."""

    type: str
    """`Ready`, `Active`, `Reconciling` or `Stalled`."""
    status: bool
    reason: Reason
    message: str


class ReplicaCounts(Struct, frozen=True, kw_only=True, rename="camel"):
    """Replicas of one variant by state."""

    warm: int = 0
    starting: int = 0
    draining: int = 0


class Placement(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where one replica is."""

    replica: str
    variant: Variant
    revision: str
    device: str
    """Labels of its devices, joined by `+`."""
    state: ReplicaState
    node: str = ""
    """Kubernetes: where they are."""


class FunctionStatus(Struct, frozen=True, kw_only=True, rename="camel"):
    """The state of one function at the last plan."""

    function: str
    revision: str
    """The revision that serves, or that starts next."""
    updating: str | None = None
    """The revision that is on its way to replace `revision`; None at rest."""
    conditions: tuple[Condition, ...]
    replicas: dict[Variant, ReplicaCounts] = {}
    placements: tuple[Placement, ...] = ()
    why_waiting: str = ""
    """Why a request for it waits now, in one sentence; what to expect where nothing waits."""

    def condition(self, name: str) -> Condition:
        """The condition of that type. Raises KeyError for another name."""
        for condition in self.conditions:
            if condition.type == name:
                return condition
        raise KeyError(name)
