"""What became of every request, and what was resident where: columns, so that a million requests stay small.

The one result of a simulation; figures are made of it elsewhere. Times are integer microseconds since the begin of the
workload, -1 where something never happened. Requests are in the order of the workload, those that closed-loop clients
sent after them in the order in which they came.
"""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.function import Variant
from stoker.reasons import Outcome, Reason
from stoker_sim.charges import Charges

OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
"""By their code in `Outcomes.outcome`."""
REASONS: tuple[Reason, ...] = tuple(Reason)
"""By their code in `Outcomes.reason`."""
VARIANTS: tuple[Variant, ...] = (Variant.GPU, Variant.CPU)
"""By their code in the columns `variant`."""


class Residence(Struct, frozen=True, eq=False):
    """Who held device memory, and when: one row for each replica or copy and each of its devices, by `begin_us`."""

    function: NDArray[np.int32]
    variant: NDArray[np.int8]
    device: NDArray[np.int32]
    begin_us: NDArray[np.int64]
    warm_us: NDArray[np.int64]
    """When it could serve first; -1: never."""
    end_us: NDArray[np.int64]
    """When the memory was given back, at the latest the end of the simulation."""
    memory_mib: NDArray[np.int64]
    exclusive: NDArray[np.bool_]
    """Whether nobody else could use the device meanwhile."""

    def __len__(self) -> int:
        return len(self.begin_us)


class Outcomes(Struct, frozen=True, eq=False, kw_only=True):
    """See the module."""

    functions: tuple[str, ...]
    """Keys, by the index in `function`."""
    devices: tuple[str, ...]
    """Ids, by the index in `device`."""
    end_us: int
    """When the simulation ended: the workload's horizon, or the last event if that was later."""
    function: NDArray[np.int32]
    arrival_us: NDArray[np.int64]
    exec_us: NDArray[np.int64]
    """Isolated warm execution time on the reference product of its function."""
    slo_us: NDArray[np.int64]
    """slo.latency, which attainment is counted by."""
    dispatch_us: NDArray[np.int64]
    """When it got its slot."""
    finish_us: NDArray[np.int64]
    """When it was answered, refused and expired ones too."""
    start_us: NDArray[np.int64]
    """Time that its slot spent on making its function resident."""
    occupied_us: NDArray[np.int64]
    """Time that it held its slot, start included; to its true end where it expired meanwhile."""
    held_us: NDArray[np.int64]
    """Time in the gateway until a replica was warm."""
    device: NDArray[np.int16]
    variant: NDArray[np.int8]
    outcome: NDArray[np.int8]
    reason: NDArray[np.int8]
    """-1 where it was served."""
    cold: NDArray[np.bool_]
    """It waited for a start, in the gateway or in its slot."""
    promised: NDArray[np.bool_]
    """It was admitted as on time."""
    residence: Residence
    charges: Charges | None = None
    """In the form of replicas with prices: what the meter says."""

    def __len__(self) -> int:
        return len(self.arrival_us)

    @property
    def served(self) -> NDArray[np.bool_]:
        """Those that got their answer from the function."""
        return np.equal(self.outcome, OUTCOMES.index(Outcome.SERVED))

    @property
    def on_time(self) -> NDArray[np.bool_]:
        """Those that got it within slo.latency of their arrival."""
        return np.logical_and(self.served, self.finish_us - self.arrival_us <= self.slo_us)

    @property
    def wait_us(self) -> NDArray[np.int64]:
        """Arrival to dispatch of those that were dispatched, -1 of the others."""
        return np.where(self.dispatch_us >= 0, self.dispatch_us - self.arrival_us, -1)

    def columns(self) -> dict[str, NDArray[np.generic]]:
        """All that is kept for each request, by name, in a fixed order."""
        names = (
            "function arrival_us exec_us slo_us dispatch_us finish_us start_us occupied_us held_us device variant "
            "outcome reason cold promised"
        )
        return {name: getattr(self, name) for name in names.split()}
