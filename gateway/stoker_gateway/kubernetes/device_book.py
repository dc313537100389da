"""Which functions and variants no node of the cluster could ever hold, were they all empty.

Judged by the ledgers (FunctionNodes). Of thousands of nodes few differ in what they are made of: one of each kind is
looked at. While no ledger is known nothing is judged. Knows no connection.
"""

from collections.abc import Callable, Iterable

import structlog
from msgspec.structs import replace

from stoker.errors import InvalidObject
from stoker.model.device import Device, DeviceKind
from stoker.model.fitting import unplaceable
from stoker.model.function import Function, Variant
from stoker.wire.function_node import decode_status, devices_of
from stoker_runtime.own_kinds import FunctionNode

log = structlog.get_logger(__name__)

_Shape = tuple[Device, ...]


class DeviceBook:
    """`changed` is called when there is another kind of node, or one kind less."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._shapes: dict[str, _Shape] = {}
        self._count: dict[_Shape, int] = {}
        self._changed = changed

    def see_node(self, before: FunctionNode | None, after: FunctionNode | None) -> None:
        """One FunctionNode came, changed or went (None)."""
        node = (after or before).metadata.name  # type: ignore[union-attr]  # one of the two is given
        try:
            shape = None if after is None else _shape(after)
        except InvalidObject as error:
            log.warning("ledger_not_understood", node=node, error=str(error))
            return
        old = self._shapes.get(node)
        if shape == old:
            return
        kinds = len(self._count)
        added = shape is not None and shape not in self._count
        if shape is None:
            del self._shapes[node]
        else:
            self._shapes[node] = shape
            self._count[shape] = self._count.get(shape, 0) + 1
        if old is not None:
            self._count[old] -= 1
            if not self._count[old]:
                del self._count[old]
        if added or len(self._count) != kinds:
            self._changed()

    def unplaceable(self, functions: Iterable[Function]) -> dict[str, dict[Variant, str]]:
        """By function key: its variants that could never be placed, and why."""
        if not self._count:
            return {}
        devices = [replace(device, node=str(number)) for number, shape in enumerate(self._count) for device in shape]
        found = unplaceable(functions, devices)
        if not any(device.kind is DeviceKind.GPU for device in devices):
            for why in found.values():
                if Variant.GPU in why:
                    why[Variant.GPU] = "needs a GPU, and no node of this cluster has one that Stoker may use"
        return found


def _shape(node: FunctionNode) -> _Shape | None:
    """What a node is made of, without what changes while it runs; None while its agent has not said."""
    status = decode_status({"status": node.status})
    if status is None:
        return None
    return tuple(
        sorted(
            (replace(device, id="", node="", healthy=True, reason="") for device in devices_of("", status)),
            key=repr,
        )
    )
