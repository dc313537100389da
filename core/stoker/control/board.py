"""Where a replica goes: the free devices, and what is claimed for whom. A board for one plan.

Best fit: an exclusive replica takes the smallest free device that holds it, a shared one goes to a device that is
shared already before it opens another; but not to one whose slots its own function fills already, where it would add
nothing, while there is another. All devices of a replica are in one node. Devices that are alike are one class,
judged once, so that thousands of them cost little; and a need that found no place is not looked for again, because
within a plan devices only fill up.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from stoker.control.capacity import Need, Needs
from stoker.control.device_share import share_of
from stoker.control.occupancy import Occupancy, is_shared_by_pods
from stoker.control.planning import Claim, Pair
from stoker.model.device import Device, DeviceKind, Reservation
from stoker.model.function import Sharing, Variant
from stoker.names import parse_replica_id

NOWHERE: frozenset[str] = frozenset()
_Fit = tuple[bool, bool, int, str]
_Free = tuple[_Fit, str, str]
"""How well a device fits, its node, its id."""


class Board(Occupancy):
    """Devices with their promises and claims, changed as the plan goes."""

    def __init__(
        self,
        devices: Sequence[Device],
        reservations: Iterable[Reservation],
        claims: Iterable[Claim],
        *,
        placed: Mapping[str, tuple[str, ...]] | None = None,
        cross_tenant: frozenset[str] = frozenset(),
        nodes: Mapping[Pair, frozenset[str]] | None = None,
    ) -> None:
        super().__init__(devices, reservations, placed=placed or {}, cross_tenant=cross_tenant)
        self._nodes = nodes or {}
        self._classes: dict[tuple[object, ...], int] = {}
        self._examples: list[Device] = []
        self._class_of: dict[str, int] = {}
        self._vacant: list[list[str]] = []
        """By class, the healthy devices that nobody holds, by id."""
        self._shared: list[list[str]] = []
        """By class, the healthy devices that somebody holds and that take more."""
        self._by_node: dict[str, list[Device]] = {}
        self._verdicts: dict[Needs, frozenset[int]] = {}
        self._full: set[tuple[object, ...]] = set()
        self.order: dict[str, int] = {}
        for index, device in enumerate(devices):
            self.order[device.id] = index
            self._add(device)
        self.claims: list[Claim] = []
        self._claims_of: dict[Pair, list[Claim]] = {}
        self.set_claims(claims)

    def _add(self, device: Device) -> None:
        alike = (device.kind, device.product, device.memory_mib, device.millicores, bool(device.node), device.mode)
        number = self._classes.setdefault((*alike, device.shares), len(self._examples))
        if number == len(self._examples):
            self._examples.append(device)
            self._vacant.append([])
            self._shared.append([])
        self._class_of[device.id] = number
        self._by_node.setdefault(device.node, []).append(device)
        if device.healthy:
            if not self.held[device.id]:
                insort(self._vacant[number], device.id)
            elif _takes_more(device):
                self._shared[number].append(device.id)

    def node_of(self, device_id: str) -> str:
        """The node of a device; of one that is not known (any more), the one in its id."""
        device = self.devices.get(device_id)
        return device.node if device is not None else device_id.partition("/")[0] if "/" in device_id else ""

    def usual_share(self, need: Need) -> float:
        """Which part of a device a replica would keep from others, wherever it went."""
        return share_of(need, [device for device in self._examples if need.could_use(device)])

    def devices_in(self, node: str) -> Sequence[Device]:
        """All devices of a node."""
        return self._by_node.get(node, ())

    def class_of(self, device_id: str) -> int:
        """The class of a device; -1 for one that is not known (any more)."""
        return self._class_of.get(device_id, -1)

    def classes_for(self, needs: Needs) -> frozenset[int]:
        """Classes whose devices would do for one of the needs, empty and healthy."""
        return self._suited(needs)

    def suits(self, needs: Needs, device_id: str) -> bool:
        """Whether the device would do for one of the needs, empty and healthy."""
        return self._class_of.get(device_id, -1) in self._suited(needs)

    def usable(self, needs: Needs) -> list[Device]:
        """Devices that would do for one of the needs, empty and healthy."""
        suited = self._suited(needs)
        return [device for device in self.devices.values() if self._class_of[device.id] in suited]

    def could_ever(self, needs: Needs) -> bool:
        """Whether some node has the devices for one of the needs, were they all empty."""
        for need in needs:
            suited = self._suited((need,))
            if need.count == 1 and suited:
                return True
            if need.count > 1 and suited:
                in_node = Counter(d.node for d in self.devices.values() if self._class_of[d.id] in suited)
                if max(in_node.values()) >= need.count:
                    return True
        return False

    def _suited(self, needs: Needs) -> frozenset[int]:
        found = self._verdicts.get(needs)
        if found is None:
            found = frozenset(
                number
                for number, example in enumerate(self._examples)
                if any(need.could_use(example) for need in needs)
            )
            self._verdicts[needs] = found
        return found

    def may_go(self, pair: Pair, node: str, avoid: Collection[str] = NOWHERE) -> bool:
        """Whether pods of the pair may go to the node."""
        allowed = self._nodes.get(pair)
        return node not in avoid and (allowed is None or node in allowed)

    def place(self, need: Need, pair: Pair, avoid: frozenset[str] = NOWHERE) -> tuple[str, ...] | None:
        """The devices to start on now; None when they are not free. Claims of other pairs are respected."""
        tenant = pair[0].partition("/")[0] if self.shared_gpus and need.sharing is Sharing.SHARED else ""
        search = (need, tenant, self._nodes.get(pair), avoid)
        has_claim = pair in self._claims_of
        if not has_claim and search in self._full:
            return None
        free = self._free(need, pair, avoid)
        chosen = _best(free, need.count)
        if chosen is None and not has_claim:
            self._full.add(search)
        return chosen

    def _free(self, need: Need, pair: Pair, avoid: frozenset[str]) -> list[_Free]:
        """Devices to choose from, as (fit, node, id): all that are free, or where one is enough the best ones."""
        found = []
        passes: dict[str, bool] = {}
        for number in self._suited((need,)):
            some = iter(self._vacant[number])
            for device in self._open(some, need, pair, avoid, passes):
                found.append((self._fit(device, need, pair), device.node, device.id))
                if need.count == 1:
                    break  # the vacant ones of a class are alike, and come by id
            if need.sharing is Sharing.SHARED:
                more = self._open(self._shared[number], need, pair, avoid, passes)
                found.extend((self._fit(device, need, pair), device.node, device.id) for device in more)
        return found

    def _open(
        self, ids: Iterable[str], need: Need, pair: Pair, avoid: frozenset[str], passes: dict[str, bool]
    ) -> Iterator[Device]:
        for device_id in ids:
            device = self.devices[device_id]
            if not self.may_go(pair, device.node, avoid):
                continue
            if is_shared_by_pods(device):
                if device.node not in passes:
                    passes[device.node] = self.node_passes(device.node, need, pair)
                if passes[device.node] and self._has_share(device, ()):
                    yield device
            elif self.is_free(device, need, pair):
                yield device

    def _fit(self, device: Device, need: Need, pair: Pair) -> _Fit:
        """The less, the better: it adds slots, it opens no other device, it leaves less memory unused."""
        held = self.held[device.id]
        left_mib = device.memory_mib - sum(r.memory_mib for r in held)
        shared = need.sharing is Sharing.SHARED
        crowded = shared and device.kind is DeviceKind.GPU and _of_function(pair[0], held) >= device.slots
        return (crowded, shared and not held, left_mib, device.id)

    def is_viable(self, claim: Claim, leaving: Collection[str]) -> bool:
        """Whether the claimed devices will fit the claimant when all that leave have gone."""
        pair = (claim.function, claim.variant)
        kind = DeviceKind.GPU if claim.variant is Variant.GPU else DeviceKind.CPU
        need = Need(kind=kind, memory_mib=claim.memory_mib, millicores=claim.millicores, sharing=claim.sharing)
        return all(
            (device := self.devices.get(device_id)) is not None
            and device.healthy
            and self.may_go(pair, device.node)
            and self.is_free(device, need, pair, leaving)
            for device_id in claim.devices
        )

    def set_claims(self, claims: Iterable[Claim]) -> None:
        """The claims that stand; one a device at most."""
        before = len(self.claims)
        self.claims = list(claims)
        self.claim_on = {device_id: claim for claim in self.claims for device_id in claim.devices}
        self._claims_of = {}
        for claim in self.claims:
            self._claims_of.setdefault((claim.function, claim.variant), []).append(claim)
        if len(self.claims) < before:
            self._full.clear()

    def claims_of(self, pair: Pair) -> Sequence[Claim]:
        """The claims of one pair."""
        return self._claims_of.get(pair, ())

    def is_claimed(self, device_id: str) -> bool:
        """Whether anybody waits for the device."""
        return device_id in self.claim_on

    def claim(self, pair: Pair, need: Need, devices: tuple[str, ...]) -> None:
        """Keep the devices for the pair."""
        new = Claim(
            function=pair[0],
            variant=pair[1],
            devices=devices,
            memory_mib=need.memory_mib,
            millicores=need.millicores,
            sharing=need.sharing,
        )
        self.set_claims([*self.claims, new])

    def gpus_wanted(self, namespace: str, pair: Pair) -> int:
        """GPUs that a namespace holds or has claimed, without the claims of `pair`, which are its own turn to use."""
        claimed = sum(
            len(claim.devices)
            for claim in self.claims
            if claim.variant is Variant.GPU
            and (claim.function, claim.variant) != pair
            and claim.function.partition("/")[0] == namespace
        )
        return self.gpus.get(namespace, 0) + claimed

    def take(self, replica_id: str, need: Need, devices: tuple[str, ...], pair: Pair) -> tuple[Reservation, ...]:
        """Promise the devices to a replica. One claim of the pair is used up: the one on these devices, if any."""
        taken = tuple(
            Reservation(
                replica_id=replica_id,
                device_id=device_id,
                memory_mib=need.memory_mib,
                millicores=need.millicores,
                sharing=need.sharing,
            )
            for device_id in devices
        )
        for reservation in taken:
            self._fill(self.devices[reservation.device_id])
            self.promise(reservation, floats=True)
        own = self.claims_of(pair)
        if own:
            used = next((c for c in own if set(c.devices) & set(devices)), own[0])
            self.set_claims([claim for claim in self.claims if claim is not used])
        return taken

    def _fill(self, device: Device) -> None:
        """The device is about to be held: it is not vacant any more."""
        if self.held[device.id]:
            return
        number = self._class_of[device.id]
        vacant = self._vacant[number]
        index = bisect_left(vacant, device.id)
        if index < len(vacant) and vacant[index] == device.id:
            del vacant[index]
            if _takes_more(device):
                self._shared[number].append(device.id)


def _takes_more(device: Device) -> bool:
    """Whether a device that somebody holds may take others too."""
    return not device.node or device.kind is DeviceKind.CPU or is_shared_by_pods(device)


def _of_function(key: str, held: Iterable[Reservation]) -> int:
    """How many of the reservations are of replicas of the function."""
    own = (r.replica_id for r in held if r.replica_id.startswith(f"{key}-"))
    return sum(parse_replica_id(replica_id).function == key for replica_id in own)


def _best(free: list[_Free], count: int) -> tuple[str, ...] | None:
    """The best `count` devices of one node: of several nodes, the one that has the fewest to spare."""
    if count == 1:
        return (min(free)[2],) if free else None
    by_node: dict[str, list[_Free]] = {}
    for entry in free:
        by_node.setdefault(entry[1], []).append(entry)
    enough = [entries for entries in by_node.values() if len(entries) >= count]
    if not enough:
        return None
    entries = min(enough, key=lambda some: (len(some), some[0][1]))
    return tuple(device_id for _, _, device_id in sorted(entries)[:count])
