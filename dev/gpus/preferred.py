"""Which devices the plugin prefers: NVIDIA's spreading by default, and choices that are bad for whoever asks.

The kubelet takes the answer for advice and, unless other devices are already bound to the container, follows it. So
`fullest` puts the next pod on the GPU where it fits worst: what Stoker must notice and heal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gpus.state import Gpu, NodeState

RESOURCE = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Card:
    """What is given away: a whole GPU, or a MIG instance of one."""

    uuid: str
    resource: str
    index: int
    """Of the GPU."""
    gpu: Gpu
    memory_mib: int
    used_mib: int


def cards(state: NodeState, base: str = RESOURCE) -> list[Card]:
    """All of them. `base` is the resource of whole GPUs, and of MIG instances too where the strategy is `single`."""
    found = []
    for index, gpu in enumerate(state.gpus):
        if not gpu.mig_mode:
            found.append(Card(gpu.uuid, base, index, gpu, gpu.memory_mib, gpu.used_mib))
        for one in gpu.mig if gpu.mig_mode else ():
            mixed = f"{base.partition('/')[0]}/mig-{one.profile.replace('+', '.')}"
            resource = mixed if state.mig_strategy == "mixed" else base
            found.append(Card(one.uuid, resource, index, gpu, one.memory_mib, one.used_mib))
    return found


def device_ids(state: NodeState, resource: str | None = None, base: str = RESOURCE) -> list[str]:
    """What is advertised, of one resource or of all: cards by UUID, shares of them as `UUID::N`."""
    chosen = [card.uuid for card in cards(state, base) if resource in (None, card.resource)]
    if state.shares == 1:
        return chosen
    return [f"{card}::{share}" for card in chosen for share in range(state.shares)]


def card_of(device_id: str) -> str:
    return device_id.partition("::")[0]


def preferred(state: NodeState, available: Sequence[str], must: Sequence[str], size: int) -> list[str]:
    """`size` of the available ids, best first by the node's preference; those that must be among them included."""
    listed = {device_id: rank for rank, device_id in enumerate(device_ids(state))}
    chosen = [device_id for device_id in must if device_id in listed]
    left = [device_id for device_id in available if device_id in listed and device_id not in chosen]
    while left and len(chosen) < size:
        keys = _keys(state, Counter(card_of(device_id) for device_id in left))
        chosen.append(min(left, key=lambda device_id: (keys[card_of(device_id)], listed[device_id])))
        left.remove(chosen[-1])
    return chosen[:size]


def _keys(state: NodeState, free: Counter[str]) -> dict[str, int]:
    """A number for each card: the smaller, the sooner it is given away. `free` are its shares not yet chosen."""
    order = [int(part) for part in state.order.split(",") if part]

    def key(card: Card) -> int:
        match state.prefer:
            case "packed":
                return free[card.uuid]
            case "smallest":
                return card.memory_mib
            case "largest":
                return -card.memory_mib
            case "fullest":
                return card.memory_mib - card.used_mib
            case "order":
                return order.index(card.index) if card.index in order else len(order)
            case _:
                return -free[card.uuid]

    return {card.uuid: key(card) for card in cards(state)}
