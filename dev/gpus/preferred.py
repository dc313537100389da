"""Which devices the plugin prefers: NVIDIA's spreading by default, and choices that are bad for whoever asks.

The kubelet takes the answer for advice and, unless other devices are already bound to the container, follows it. So
`fullest` puts the next pod on the GPU where it fits worst: what Stoker must notice and heal.
"""

from collections import Counter
from collections.abc import Sequence

from gpus.state import Gpu, NodeState


def device_ids(state: NodeState) -> list[str]:
    """What is advertised: whole GPUs by UUID, shares as `UUID::N`."""
    if state.shares == 1:
        return [gpu.uuid for gpu in state.gpus]
    return [f"{gpu.uuid}::{share}" for gpu in state.gpus for share in range(state.shares)]


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

    def key(index: int, gpu: Gpu) -> int:
        match state.prefer:
            case "packed":
                return free[gpu.uuid]
            case "smallest":
                return gpu.memory_mib
            case "largest":
                return -gpu.memory_mib
            case "fullest":
                return gpu.memory_mib - gpu.used_mib
            case "order":
                return order.index(index) if index in order else len(order)
            case _:
                return -free[gpu.uuid]

    return {gpu.uuid: key(index, gpu) for index, gpu in enumerate(state.gpus)}
