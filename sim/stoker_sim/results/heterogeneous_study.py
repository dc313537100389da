"""What `heterogeneous` is made of: each mix at each load under each device choice, on the same requests.

Two GPUs of different speed and price and the cores of one node, the form `replicas`, execution times learned. Load is
the GPU time asked for over what both GPUs have; functions share it by the root of their execution times, so that short
ones come more often and long ones ask for more. Plain figures; the page is
stoker_sim.results.heterogeneous.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stoker.model.device import Device, DeviceKind
from stoker_sim.engine.setup import Form, Knowledge, Setup
from stoker_sim.engine.simulate import simulate
from stoker_sim.generate.exec_times import Lognormal
from stoker_sim.generate.poisson import poisson
from stoker_sim.outcomes import VARIANTS, Outcomes
from stoker_sim.results.heterogeneous_mixes import FAST, MIXES, PRICES, SLOW, Member, Mix, function_of
from stoker_sim.workload import CPU, Workload

OURS = "slack"
CHOICES = ("gpu-only", "cpu-only", OURS, "speed-up", "landlord")
LOADS = (0.9, 2.0)
SEEDS = (1, 2)
S = 1_000_000
SPREAD = 1.3
"""99th percentile of an execution over its median. Ours."""
CORES, KEPT_MILLICORES = 8, 500
"""Of the node; of them for the platform (docs/concepts/policies.md)."""
WARM_UP_US, COUNTED_US = 10 * S, 20 * S


class Cell(Struct, frozen=True, kw_only=True):
    """One run, without its warm-up but for the money."""

    mix: str
    load: float
    seed: int
    choice: str
    offered: tuple[int, ...]
    on_time: tuple[int, ...]
    on_time_cpu: tuple[int, ...]
    """By function."""
    useful_s: float
    """GPU time that the requests on time would have taken on the faster GPU, wherever they ran, a second."""
    cost: float
    """Price x held time of all replicas, warm-up included."""
    devices_cost: float
    """Price x time of all devices, until the last request had ended."""
    ran: int
    """Requests on time, of the whole run: what the cost was for."""

    @property
    def attainment(self) -> float:
        return sum(self.on_time) / max(1, sum(self.offered))

    @property
    def missed(self) -> int:
        return sum(self.offered) - sum(self.on_time)

    @property
    def cost_per_thousand(self) -> float:
        """Of requests on time."""
        return 1000 * self.cost / max(1, self.ran)


def study(
    *,
    mixes: Sequence[Mix] = MIXES,
    loads: Sequence[float] = LOADS,
    seeds: Sequence[int] = SEEDS,
    choices: Sequence[str] = CHOICES,
) -> Iterator[Cell]:
    """All cells; those of one mix, load and seed meet the same requests."""
    for mix in mixes:
        for load in loads:
            for seed in seeds:
                work = workload(mix, load, seed)
                for choice in choices:
                    yield told(mix, load, seed, choice, simulate(work, setup(choice, seed)))


def workload(mix: Mix, load: float, seed: int, horizon_us: int = WARM_UP_US + COUNTED_US) -> Workload:
    """Poisson arrivals."""
    rates = rates_of(mix.members, load)
    return poisson([function_of(member) for member in mix.members], rates, horizon_us, seed, Lognormal(SPREAD))


def rates_of(members: Sequence[Member], load: float) -> list[float]:
    """Requests a second of each, such that both GPUs together are asked for `load` times of what they have."""
    # A GPU does one request in its own time: both together so many a second.
    most = [1000 / one.fast_ms + 1000 / one.slow_ms for one in members]
    asked = [each**-0.5 for each in most]
    return [load * share / sum(asked) * each for share, each in zip(asked, most, strict=True)]


def setup(choice: str, seed: int) -> Setup:
    """The platform."""
    gpus = [
        Device(id=product.lower(), kind=DeviceKind.GPU, product=product, memory_mib=16_000) for product in (FAST, SLOW)
    ]
    cores = Device(
        id="cpu",
        kind=DeviceKind.CPU,
        product=CPU,
        memory_mib=256_000,
        millicores=1000 * CORES - KEPT_MILLICORES,
    )
    return Setup(
        devices=(*gpus, cores),
        form=Form.REPLICAS,
        queueing="least-slack",
        knowledge=Knowledge.LEARNED,
        device_choice=choice,
        prices=PRICES,
        seed=seed,
    )


def told(mix: Mix, load: float, seed: int, choice: str, result: Outcomes) -> Cell:
    """The figures of a run."""
    counted = result.arrival_us >= WARM_UP_US
    on_time, count = result.on_time & counted, len(mix.members)
    on_cpu = result.variant == VARIANTS.index(VARIANTS[1])
    charges = result.charges
    assert charges is not None
    return Cell(
        mix=mix.name,
        load=load,
        seed=seed,
        choice=choice,
        offered=_by_function(result, counted, count),
        on_time=_by_function(result, on_time, count),
        on_time_cpu=_by_function(result, on_time & on_cpu, count),
        useful_s=float(result.exec_us[on_time].sum()) / COUNTED_US,
        cost=sum(account.total for account in charges.accounts.values()) / 1e6,
        devices_cost=charges.total / 1e6,
        ran=int(result.on_time.sum()),
    )


def _by_function(result: Outcomes, chosen: NDArray[np.bool_], count: int) -> tuple[int, ...]:
    return tuple(np.bincount(result.function[chosen], minlength=count).tolist())
