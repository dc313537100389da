"""What the pool needs of whoever knows where functions are resident: copies on devices, or anything in their place."""

from collections.abc import Callable
from typing import Any, Protocol

from stoker.model.device import Device
from stoker.policies.queueing.interface import SlotView
from stoker_sim.engine.flows import Flow


class Places(Protocol):
    """`take` and `give_back` around each run, `load` between them where the place is not `ready`.

    A place is what a run occupies on a device; it has an attribute `ready` and is its owner's otherwise.
    """

    def open(self, device: Device, flows: list[Flow]) -> None:
        """One more device, for these functions. The order of calls is that of the indexes."""

    def is_warm(self, device: int, key: str) -> bool:
        """Whether a request of the flow had better go there than elsewhere."""

    def view(self, device: int) -> SlotView:
        """Who may use a free slot of the device now."""

    def take(self, device: int, flow: Flow) -> Any:
        """A place for one more request of a flow that the view holds."""

    def load(self, place: Any, then: Callable[[Any], None]) -> None:
        """Make it ready; `then` is called at that time."""

    def give_back(self, place: Any) -> None:
        """The request that took it ended."""
