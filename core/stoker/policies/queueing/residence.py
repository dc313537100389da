"""What a queueing policy learns of where functions are resident, from what it is shown and what it dispatched.

A policy sees one device at a time, and only while a slot of it is free. What was resident there then, and what was
dispatched there since, is a guess of what is there now. Knows no queue, no order and no clock.
"""

from collections.abc import Collection

from stoker.policies.queueing.flow_memory import FlowMemory


class Residence:
    """All devices that a slot was shown of."""

    def __init__(self) -> None:
        self._seen: dict[str, frozenset[str]] = {}
        """By device, what was resident when a slot of it was free last."""
        self._runs: dict[str, dict[str, tuple[str, int]]] = {}
        """By device, of each request that runs there: its flow, and when it is predicted to end."""
        self._device: dict[str, str] = {}
        """Of each request that runs."""
        self._loaded: dict[str, FlowMemory[bool]] = {}
        """By device, what was loaded there while memory was not tight."""
        self.is_tight = False
        """Whether something was driven out: it was resident somewhere and then it was not, or was loaded once more."""

    def see(self, device: str, resident: Collection[str]) -> None:
        """A slot of the device is free, and this is resident there."""
        now = frozenset(resident)
        if not self.is_tight:
            gone = self._seen.get(device, now) - now
            if gone and not gone <= {flow for flow, _ in self._runs.get(device, {}).values()}:
                self.is_tight = True
        self._seen[device] = now

    def dispatch(self, device: str, request: str, flow: str, end_us: int, *, loads: bool) -> None:
        """A request goes there, predicted to end then; it `loads` its flow or finds it resident."""
        self._runs.setdefault(device, {})[request] = (flow, end_us)
        self._device[request] = device
        if loads and not self.is_tight:
            loaded = self._loaded.setdefault(device, FlowMemory())
            self.is_tight = loaded.get(flow, default=False)
            loaded.put(flow, value=True)

    def end(self, request: str) -> None:
        """A request ended; nothing happens where it was not dispatched here."""
        device = self._device.pop(request, None)
        if device is not None:
            del self._runs[device][request]

    def elsewhere_us(self, flow: str, device: str, now_us: int) -> int | None:
        """When another device that has the flow can take a request of it, if predictions are right; None: none has."""
        least: int | None = None
        for other, resident in self._seen.items():
            if other == device:
                continue
            runs = self._runs.get(other, {}).values()
            if flow in resident or any(run[0] == flow for run in runs):
                free_us = max(now_us, min((end_us for _, end_us in runs), default=now_us))
                least = free_us if least is None else min(least, free_us)
        return least
