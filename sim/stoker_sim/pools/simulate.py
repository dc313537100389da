"""simulate_pool(): tenants and a KaaS pool in, what became of every request out. Composes the parts, nothing else."""

from enum import StrEnum
from itertools import islice

from msgspec import Struct

from stoker.model.device import Device, DeviceKind
from stoker.prediction import Predictions
from stoker_sim.engine.agenda import Agenda
from stoker_sim.engine.book import Book
from stoker_sim.engine.clients import Clients
from stoker_sim.engine.policies import make_policy
from stoker_sim.engine.pool import Pool
from stoker_sim.engine.residence_log import ResidenceLog
from stoker_sim.engine.setup import BadSetup, Form, Setup
from stoker_sim.outcomes import Outcomes
from stoker_sim.pools.affinity import assigned
from stoker_sim.pools.buffers import Reserve
from stoker_sim.pools.executors import Executors, buffer_bytes
from stoker_sim.pools.footprint import CONTEXT_MIB, MARGIN_MIB, UNKNOWN, Footprint
from stoker_sim.pools.rules import Exclusive, Static
from stoker_sim.pools.workers import WorkerPool
from stoker_sim.traces.kaas import DEVICE_MIB, GPUS, PRODUCT
from stoker_sim.workload import Workload


class PoolKind(StrEnum):
    """As in KaaS."""

    BALANCE = "balance"
    """Shared executors, any request to any, by arrival."""
    AFFINITY = "affinity"
    """Shared executors, fair by virtual time, tenants preferring devices. What KaaS ended with."""
    EXCLUSIVE = "exclusive"
    """Workers of one tenant, started and killed as requests come."""
    STATIC = "static"
    """Workers of one tenant, fixed from the start, one on each device; as many tenants as devices at most."""


_QUEUEING = {PoolKind.BALANCE: "fcfs", PoolKind.AFFINITY: "cfs-affinity"}


class PoolSetup(Struct, frozen=True, kw_only=True):
    """What is simulated besides the workload."""

    kind: PoolKind
    gpus: int = GPUS
    product: str = PRODUCT
    device_mib: int = DEVICE_MIB
    footprint: Footprint = UNKNOWN
    """Of a request of every tenant; shared executors only."""
    reserve: Reserve = Reserve.WHOLE
    bytes_per_s: int = 12_000_000_000
    """Of the bus of each device. Ours: PCIe 3.0 x16 in practice."""


class PoolOutcomes(Struct, frozen=True, eq=False):
    """What became of the requests, and of workers and buffers."""

    requests: Outcomes
    cold_starts: int = 0
    killed: int = 0
    capacity_misses: int = 0
    """Buffers that had been on the device and had to come again."""


def simulate_pool(workload: Workload, setup: PoolSetup) -> PoolOutcomes:
    """Play the workload to its horizon, and on until every request has its outcome.

    Raises BadSetup for what the pool refuses. Deterministic: equal arguments, equal bytes.
    """
    agenda, book = Agenda(), Book(workload)
    devices = tuple(
        Device(id=f"gpu-{at}", kind=DeviceKind.GPU, product=setup.product, memory_mib=setup.device_mib)
        for at in range(setup.gpus)
    )
    log = ResidenceLog([device.id for device in devices])
    workers: WorkerPool | None = None
    executors: Executors | None = None
    if setup.kind in _QUEUEING:
        executors = _executors(workload, setup, devices, agenda, log)
        engine = Setup(devices=devices, form=Form.LATE_BINDING, queueing=_QUEUEING[setup.kind], serve_late=False)
        policy = make_policy(workload, engine, len(devices))
        arrive = Pool(
            workload,
            engine,
            agenda=agenda,
            book=book,
            policy=policy,
            predictions=Predictions(),
            residency=executors,
        ).arrive
    else:
        rules = Exclusive(list(workload.keys)) if setup.kind is PoolKind.EXCLUSIVE else Static()
        workers = WorkerPool(workload, devices, rules, agenda=agenda, book=book, log=log)
        if setup.kind is PoolKind.STATIC:
            _open_all(workers, len(workload.functions), len(devices))
        arrive = workers.arrive
    if workload.closed:
        book.answered = Clients(workload, agenda, book, arrive).answered
    horizon_us = workload.horizon_us

    def goes_on(time_us: int) -> bool:
        return time_us < horizon_us or book.open > 0

    agenda.play(islice(book.arrival_us, book.offered), arrive, goes_on)
    requests = book.close(workload.keys, tuple(d.id for d in devices), log, max(horizon_us, agenda.now_us))
    return PoolOutcomes(
        requests,
        cold_starts=workers.cold_starts if workers else 0,
        killed=workers.killed if workers else 0,
        capacity_misses=sum(cache.capacity_misses for cache in executors.caches) if executors else 0,
    )


def _executors(
    workload: Workload, setup: PoolSetup, devices: tuple[Device, ...], agenda: Agenda, log: ResidenceLog
) -> Executors:
    preferred = None
    if setup.kind is PoolKind.AFFINITY:
        memory_mib = {f.key: f.definition.spec.gpu[0].memory_mib for f in workload.functions}
        preferred = assigned(memory_mib, [device.id for device in devices], setup.device_mib)
    return Executors(
        agenda,
        log,
        setup.footprint,
        capacity=buffer_bytes(setup.device_mib, CONTEXT_MIB, MARGIN_MIB),
        bytes_per_s=setup.bytes_per_s,
        reserve=setup.reserve,
        preferred=preferred,
    )


def _open_all(workers: WorkerPool, tenants: int, devices: int) -> None:
    """One worker on each device, dealt out to the tenants in turn."""
    if tenants > devices:
        raise BadSetup(f"a static pool has one device for each tenant: {tenants} tenants want {devices} devices")
    for at in range(devices):
        workers.open(at % tenants)
