"""An instance of the offline problem: all requests known beforehand, and which schedules of them are feasible.

docs/concepts/yardstick.md states the rules in words; `schedule.py` checks them. They are the most permissive that a
policy could live under, so that no policy beats the optimum: a start-up needs memory but no slot and may begin before
the request that it is for, eviction takes no time, and nothing slows anything else. Knows no policy and no solver.

Times are integer microseconds from 0, where the horizon begins. A cost is an integer number of 1e-12 of the currency:
a price of one micro per second is one of these per microsecond.
"""

from collections.abc import Mapping
from math import gcd

from msgspec import Struct

from stoker.errors import StokerError
from stoker.model.device import DeviceKind


class BadInstance(StokerError):  # noqa: N818  the name states the fact
    """The instance contradicts itself. The text says where."""


class InstanceDevice(Struct, frozen=True, kw_only=True):
    """One device for the whole horizon."""

    id: str
    kind: DeviceKind
    product: str
    """What execution and start-up times are looked up by; `cpu` for cores."""
    memory_mib: int = 0
    """GPU: what residences may hold together."""
    millicores: int = 0
    """CPU: the same; host memory is not looked at."""
    slots: int
    """Concurrent executions, over all residences."""
    price_per_s_micro: int = 0
    """Millionths of the currency for each second that the whole device is held."""

    @property
    def capacity(self) -> int:
        """What residences may hold together: MiB of a GPU, millicores of the CPU device."""
        return self.memory_mib if self.kind is DeviceKind.GPU else self.millicores


class InstanceFunction(Struct, frozen=True, kw_only=True):
    """A function, and what one residence (a replica on one device) of it needs."""

    key: str
    memory_mib: int
    exclusive: bool = False
    """Whether a residence holds its whole GPU, whatever its memory."""
    start_us: Mapping[str, int]
    """By product: the least time in which it can become resident: of a hibernated replica the swap, where there is
    hibernation, else the cold start. 0 makes residence free."""
    cold_us: int = 0
    """No residence but those that are there at 0 is ready before this: where `start_us` is that of a swap, the first
    start of all is a cold one."""
    resident_at_0: frozenset[str] = frozenset()
    """Ids of devices that hold one residence when the horizon begins."""
    concurrency: int = 1
    """Executions that one residence takes at once."""
    cpu: bool = False
    """Whether it may run on CPU devices."""
    cpu_millis: int = 1000
    """What a residence holds of a CPU device."""
    cpu_concurrency: int = 1


class InstanceRequest(Struct, frozen=True, kw_only=True):
    """One request. It is on time when it ends at or before `deadline_us`; else it is worth nothing."""

    id: str
    function: int
    """Index into the functions."""
    arrival_us: int
    deadline_us: int
    weight: int = 1
    exec_us: Mapping[str, int]
    """By product; it cannot run on a product that is not named."""


class Instance(Struct, frozen=True, kw_only=True):
    """The whole problem. Raises BadInstance when it contradicts itself."""

    devices: tuple[InstanceDevice, ...]
    functions: tuple[InstanceFunction, ...]
    requests: tuple[InstanceRequest, ...]

    def __post_init__(self) -> None:
        self._check_names()
        for device in self.devices:
            if device.slots < 1 or device.capacity < 0 or device.price_per_s_micro < 0:
                raise BadInstance(f"device {device.id} needs a slot, and no negative capacity or price")
            held = sum(self.holds(f, device) for f in self.functions if device.id in f.resident_at_0)
            if held > device.capacity:
                raise BadInstance(f"device {device.id} begins with {held} held of {device.capacity}")
        for function in self.functions:
            amounts = (function.memory_mib, function.cpu_millis, function.cold_us, *function.start_us.values())
            if min(amounts) < 0 or min(function.concurrency, function.cpu_concurrency) < 1:
                raise BadInstance(f"function {function.key} needs a concurrency of 1, and no negative amount")
        for request in self.requests:
            if not 0 <= request.function < len(self.functions):
                raise BadInstance(f"request {request.id} is to function {request.function}, which is not there")
            if request.arrival_us < 0 or request.weight < 1 or min(request.exec_us.values(), default=1) < 1:
                raise BadInstance(f"request {request.id} needs an arrival from 0, and weight and executions from 1")

    def _check_names(self) -> None:
        for kind, names in (
            ("device", [device.id for device in self.devices]),
            ("function", [function.key for function in self.functions]),
            ("request", [request.id for request in self.requests]),
        ):
            if len(set(names)) < len(names):
                raise BadInstance(f"two {kind}s have the same name")

    @staticmethod
    def holds(function: InstanceFunction, device: InstanceDevice) -> int:
        """What a residence of the function holds of the device's capacity."""
        if device.kind is DeviceKind.CPU:
            return function.cpu_millis
        return device.memory_mib if function.exclusive else function.memory_mib

    @staticmethod
    def concurrency(function: InstanceFunction, device: InstanceDevice) -> int:
        """Executions at once of one residence of the function on the device."""
        return function.cpu_concurrency if device.kind is DeviceKind.CPU else function.concurrency

    def start_us(self, function: InstanceFunction, device: InstanceDevice) -> int | None:
        """How long it takes to become resident on the device; None where it never can."""
        if device.kind is DeviceKind.CPU and not function.cpu:
            return None
        return function.start_us.get(device.product) if self.holds(function, device) <= device.capacity else None

    def exec_us(self, request: InstanceRequest, device: InstanceDevice) -> int | None:
        """How long the request takes on the device; None where it cannot run."""
        if self.start_us(self.functions[request.function], device) is None:
            return None
        return request.exec_us.get(device.product)

    def rate(self, function: InstanceFunction, device: InstanceDevice) -> int:
        """Cost of a residence for each microsecond: its share of the device's price, rounded down."""
        return device.price_per_s_micro * self.holds(function, device) // max(1, device.capacity)

    def earliest_us(self, request: InstanceRequest, device: InstanceDevice) -> int | None:
        """When the request could begin if it were alone; None where it cannot run or could not be on time."""
        function = self.functions[request.function]
        exec_us, start_us = self.exec_us(request, device), self.start_us(function, device)
        if exec_us is None or start_us is None:
            return None
        ready_us = 0 if device.id in function.resident_at_0 else max(start_us, function.cold_us)
        begin_us = max(request.arrival_us, ready_us)
        return begin_us if begin_us + exec_us <= request.deadline_us else None

    def tick_us(self) -> int:
        """The largest unit that every time of the instance is a multiple of; there is an optimum on its grid."""
        times = [time for r in self.requests for time in (r.arrival_us, r.deadline_us, *r.exec_us.values())]
        return gcd(*times, *(time for f in self.functions for time in (f.cold_us, *f.start_us.values()))) or 1
