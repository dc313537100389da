"""Who gives way to whom when no device is free: idle replicas by value, and turns under constant backlog.

Two rules. (1) An idle replica of another function, above its minReplicas and not needed for that function's own
demand, gives way; the allocation policy says which is worth least, and to whom it does. (2) The quantum rule (DESIGN
4): nobody is idle under constant backlog, so when a function without a replica has waited longer than max(3 x its
start-up, quantum), a replica that has itself been warm for the quantum, of the function that the policy calls greediest
(most replica-seconds / weight, if it says nothing else) and above its minReplicas, gives way. A policy of shares lets
functions trade turns before that, to even shares out. Work in flight always runs to its end.

Replica-seconds decay exponentially (PlanParams.usage_memory_us): an hour of quiet use is forgotten in minutes, and a
function that waits loses its claim to be the greediest. Service is charged by replica, whatever it is used for,
because a held device is what others lack.
"""

import math
from collections.abc import Collection, Sequence

from msgspec import Struct

from stoker.control.board import NOWHERE, Board
from stoker.control.capacity import Need
from stoker.control.occupancy import is_shared_by_pods, tenant_of
from stoker.control.planning import Credit, Pair, Usage
from stoker.model.device import Device
from stoker.model.replica import ReplicaStatus
from stoker.reasons import Reason


class Candidate(Struct, frozen=True, kw_only=True):
    """A replica that may be taken away, and what that costs."""

    replica_id: str
    rank: int
    """0: idle; 1: an old revision of the waiter itself; 2: its turn is over. Lower ranks go first."""
    cost: float
    """Within a rank: the policy's value of an idle one; minus usage / weight where a turn is over."""
    reason: Reason


Price = tuple[int, int, float]
"""Turns cut short, own old replicas drained, and the costs of the worst rank in all."""


class Eviction(Struct, frozen=True, kw_only=True):
    """Devices that will be free for the waiter once the victims have gone (none: others are leaving anyway)."""

    need: Need
    devices: tuple[str, ...]
    victims: tuple[Candidate, ...]
    price: Price
    order: int
    """Place of its first device among all, for ties."""


def grow_usage(usage: Usage, held: int, now_us: int, memory_us: int) -> Usage:
    """Charge `usage.held` replicas for the time since `usage.at_us`; `held` are charged from now on."""
    elapsed_us = max(0, now_us - usage.at_us) if usage.at_us else 0
    kept = math.exp(-elapsed_us / memory_us)
    value_us = usage.value_us * kept + usage.held * memory_us * (1 - kept)
    return Usage(value_us=value_us, at_us=now_us, held=held)


def grow_credit(credit: Credit, replicas: Sequence[ReplicaStatus], clock: float) -> Credit:
    """Count what the pair's replicas served since the last plan; without replicas the frequency starts again."""
    served = {r.spec.id: (r.started_us, r.served) for r in replicas}
    new = 0
    for identity, (started_us, count) in served.items():
        before = credit.served.get(identity)
        new += count - before[1] if before is not None and before[0] == started_us else count
    if not replicas:
        return Credit(frequency=0, clock=clock)
    in_use = new > 0 or any(r.in_flight for r in replicas) or not credit.served
    since_us = credit.since_us if credit.served else min(r.started_us for r in replicas)
    return Credit(
        frequency=credit.frequency + new, since_us=since_us, clock=clock if in_use else credit.clock, served=served
    )


def find_eviction(  # noqa: PLR0917  the facts of one want
    board: Board,
    need: Need,
    pair: Pair,
    candidates: Sequence[Candidate],
    leaving: Collection[str],
    freed: Collection[str],
    avoid: frozenset[str] = NOWHERE,
    *,
    tenant: str | None = None,
) -> Eviction | None:
    """The cheapest way to free devices for one replica of `pair`; None when the candidates do not suffice.

    `freed` are the devices of those that leave anyway. Nothing in nodes of `avoid`. With a `tenant`, devices on which
    nothing of that namespace goes do not count: it must hold fewer of them, wherever others are free.
    """
    here: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        for device_id in board.devices_of(candidate.replica_id):
            here.setdefault(device_id, []).append(candidate)
    best: Eviction | None = None
    for devices in _places(board, need, {*here, *freed}):
        if not board.may_go(pair, devices[0].node, avoid):
            continue
        options = []
        for device in devices:
            if board.is_claimed(device.id) or not board.suits((need,), device.id):
                continue
            together = board.shared_gpus[device.node] if is_shared_by_pods(device) else (device,)
            residents = list({c.replica_id: c for d in together for c in here.get(d.id, ())}.values())
            gone = {r.replica_id for d in together for r in board.held[d.id] if r.replica_id in leaving}
            victims = _victims(board, need, pair, device, residents, gone)
            if victims is None or (tenant is not None and not _frees(board, device.id, victims, leaving, tenant)):
                continue
            options.append((_price(victims), board.order[device.id], device.id, victims))
        found = _eviction(need, options)
        if found is not None and (best is None or (found.price, found.order) < (best.price, best.order)):
            best = found
    return best


def _places(board: Board, need: Need, stirred: set[str]) -> list[Sequence[Device]]:
    """Groups of devices to look at, each of one node. Only where something goes can anything become free; what a
    replica on several devices needs besides may be free already.
    """
    known = [board.devices[device_id] for device_id in stirred if device_id in board.devices]
    if need.count > 1:
        return [board.devices_in(node) for node in {device.node for device in known}]
    alone: list[Sequence[Device]] = [(device,) for device in known if not is_shared_by_pods(device)]
    return alone + [board.shared_gpus[node] for node in {d.node for d in known if is_shared_by_pods(d)}]


def _eviction(need: Need, options: list[tuple[Price, int, str, list[Candidate]]]) -> Eviction | None:
    """The cheapest devices of one node."""
    if len(options) < need.count:
        return None
    chosen = sorted(options, key=lambda option: option[:2])[: need.count]
    victims = tuple({v.replica_id: v for _, _, _, some in chosen for v in some}.values())
    devices = tuple(device_id for _, _, device_id, _ in chosen)
    return Eviction(need=need, devices=devices, victims=victims, price=_price(victims), order=chosen[0][1])


def _frees(board: Board, device_id: str, victims: Sequence[Candidate], leaving: Collection[str], tenant: str) -> bool:
    """Whether something of the tenant goes from the device."""
    return bool(victims) or any(r.replica_id in leaving and tenant_of(r) == tenant for r in board.held[device_id])


def _victims(  # noqa: PLR0917  the facts of one device
    board: Board, need: Need, pair: Pair, device: Device, residents: list[Candidate], leaving: set[str]
) -> list[Candidate] | None:
    """Those of `residents` that must go for the device to be free; None where even all do not suffice."""
    if not device.healthy:
        return None
    taken: list[Candidate] = []
    gone = set(leaving)
    for candidate in sorted(residents, key=lambda c: (c.rank, c.cost, c.replica_id)):
        if board.is_free(device, need, pair, gone):
            break
        gone.add(candidate.replica_id)
        taken.append(candidate)
    if not board.is_free(device, need, pair, gone):
        return None
    # Spare the dearest ones that turn out not to be needed (a small one went first, a large one made the room).
    for candidate in reversed(taken[:-1]):
        if board.is_free(device, need, pair, gone - {candidate.replica_id}):
            gone.discard(candidate.replica_id)
            taken.remove(candidate)
    return taken


def _price(victims: Sequence[Candidate]) -> Price:
    turns = sum(v.rank == 2 for v in victims)
    own = sum(v.rank == 1 for v in victims)
    worst = max((v.rank for v in victims), default=0)
    return (turns, own, sum(v.cost for v in victims if v.rank == worst))
