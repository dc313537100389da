"""What the figures of one simulation are made of: its requests after the warm-up, and the devices they were for.

Requests that came during the warm-up are in no figure of requests; what devices did is cut to the measured time, which
is from the end of the warm-up to the horizon. Knows no figure.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from stoker.errors import StokerError
from stoker.model.device import Device, DeviceKind
from stoker.model.function import Variant
from stoker.reasons import Reason
from stoker_sim.outcomes import REASONS, VARIANTS, Outcomes
from stoker_sim.workload import CPU, SimFunction, Workload

Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]
Reals = NDArray[np.float64]

CPU_CODE = VARIANTS.index(Variant.CPU)
_CLIENT_GONE = REASONS.index(Reason.CLIENT_GONE)


class NothingMeasured(StokerError):  # noqa: N818  the name states the fact
    """The warm-up takes the whole workload. The text says so."""


class Sample(Struct, frozen=True, eq=False, kw_only=True):
    """See the module. Times are microseconds."""

    functions: tuple[SimFunction, ...]
    devices: tuple[Device, ...]
    begin_us: int
    end_us: int
    """The measured time: the end of the warm-up, and the horizon."""
    whole: Outcomes
    """All requests, those of the warm-up too, for what devices did."""
    requests: Outcomes
    """Those that came in the measured time, but for the cancelled."""
    cancelled: int
    """Requests whose client left before the objective was missed: they are no figure but this."""
    tenants: tuple[str, ...]
    """Namespaces, sorted."""
    tenant_of: NDArray[np.int32]
    """By function."""
    tenant_weights: Reals
    function_weights: Reals
    """Fair shares: of namespaces, and of functions inside theirs."""

    @property
    def seconds(self) -> float:
        return (self.end_us - self.begin_us) / 1e6

    def of_functions(self, values: Sequence[int]) -> Counts:
        """For each request that of its function."""
        return np.array(values, np.int64)[self.requests.function]

    def on_gpu(self, part: Outcomes) -> Flags:
        """Which of the requests ran on a GPU."""
        return self.of_kind(part, DeviceKind.GPU)

    def of_kind(self, part: Outcomes, kind: DeviceKind) -> Flags:
        """Which of the requests ran on devices of the kind."""
        kinds = np.array([device.kind is kind for device in self.devices])
        return np.asarray((part.device >= 0) & kinds[np.maximum(part.device, 0)], np.bool_)

    def isolated_us(self, part: Outcomes) -> Counts:
        """What each request takes alone and warm where it ran; on the reference product where it did not run."""
        products = [CPU if device.kind is DeviceKind.CPU else device.product for device in self.devices]
        ratios = np.ones((len(self.functions), len(products) + 1))
        for row, function in enumerate(self.functions):
            behaviour = function.behaviour
            for column, product in enumerate(products):
                ratios[row, column] = (behaviour.exec_on(product) or behaviour.median_us) / behaviour.median_us
        # Where it never ran `device` is -1: the last column, which is the reference product.
        return np.maximum(np.rint(part.exec_us * ratios[part.function, part.device]), 1).astype(np.int64)


def check_warm_up(workload: Workload, warm_up_us: int) -> None:
    """Raises NothingMeasured when the warm-up leaves no time."""
    if not 0 <= warm_up_us < workload.horizon_us:
        raise NothingMeasured(
            f"a warm-up of {warm_up_us / 1e6:g} s leaves nothing of a workload of {workload.horizon_us / 1e6:g} s"
        )


def sample_of(
    workload: Workload,
    devices: tuple[Device, ...],
    outcomes: Outcomes,
    *,
    warm_up_us: int = 0,
    namespace_weights: Mapping[str, int] | None = None,
) -> Sample:
    """The measured part of a simulation. Raises NothingMeasured when the warm-up leaves no time."""
    check_warm_up(workload, warm_up_us)
    left = outcomes.finish_us - outcomes.arrival_us < outcomes.slo_us
    cancelled = np.logical_and(np.equal(outcomes.reason, _CLIENT_GONE), left)
    measured = outcomes.arrival_us >= warm_up_us
    kept = np.flatnonzero(measured & ~cancelled)
    spaces = [function.definition.namespace for function in workload.functions]
    tenants = tuple(sorted(set(spaces)))
    weights = namespace_weights or {}
    return Sample(
        functions=workload.functions,
        devices=devices,
        begin_us=warm_up_us,
        end_us=workload.horizon_us,
        whole=outcomes,
        requests=replace(outcomes, **{name: column[kept] for name, column in outcomes.columns().items()}),
        cancelled=int((measured & cancelled).sum()),
        tenants=tenants,
        tenant_of=np.array([tenants.index(space) for space in spaces], np.int32),
        tenant_weights=np.array([weights.get(tenant, 1) for tenant in tenants], float),
        function_weights=np.array([f.definition.spec.fair_share for f in workload.functions], float),
    )
