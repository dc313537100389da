"""The device choice of one gateway: which variant a request is sent to first, by a policy that can be exchanged live.

Functions that may not use the other variant (one variant, or no Divert in onPredictedMiss) are never asked about: they
go to their primary one whatever the policy. So do requests where there is nothing to choose: a variant of which no
agent has spoken yet, or that no device could hold.

Two rules are ours. A policy that compares is asked once both variants were measured: the GPU is measured first, then
the CPU variant is woken and tried with one request at a time, since it may be far too slow for the objective. And
nobody waits for a start while something is warm: where the CPU variant is wanted and only the GPU is warm, that one
serves and the other is woken.

What is chosen here is only where a request goes first; a predicted miss is dealt with by stoker.admission. Pure but for
what a policy remembers: one object for each gateway, so that a `landlord` counts what came by its own gateway only.
"""

from stoker.admission import Course, Forecast, Forecasts, may_choose
from stoker.agents_choice import GpuCrowd
from stoker.model.function import Function, Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams, Side
from stoker.policies.device_choice.registry import make_device_choice

NOBODY = GpuCrowd()


class DeviceChooser:
    """See the module."""

    def __init__(self, name: str, params: ChoiceParams = DEFAULTS) -> None:
        """Raises UnknownName, listing what there is."""
        self._policy = make_device_choice(name, params)
        self._home = Course(crosses=self._policy.crosses)

    @property
    def name(self) -> str:
        """Of the policy that acts."""
        return self._policy.name

    @property
    def sees_load(self) -> bool:
        """Whether course() wants to know what is on the GPUs."""
        return self._policy.sees_load

    def exchange(self, name: str, params: ChoiceParams = DEFAULTS) -> None:
        """A fresh policy decides from now on. Raises UnknownName, and leaves the old one."""
        self._policy = make_device_choice(name, params)
        self._home = Course(crosses=self._policy.crosses)

    def course(
        self, function: Function, forecasts: Forecasts, remaining_us: int, *, wakes: bool, crowd: GpuCrowd = NOBODY
    ) -> Course:
        """Where a request goes first. Ask once for each: it goes there. `remaining_us` is the time left to the
        objective of a warm one; a path that wakes nothing goes to the CPU only where that is warm.
        """
        gpu, cpu = forecasts.get(Variant.GPU), forecasts.get(Variant.CPU)
        if gpu is None or cpu is None or not may_choose(function):
            return self._home
        if gpu.unplaceable or cpu.unplaceable or not (wakes or cpu.warm):
            return self._home
        if not self._compares or (gpu.measured and cpu.measured):
            on_cpu = self._choose(function, gpu, cpu, remaining_us, crowd) is Variant.CPU
        else:
            on_cpu = gpu.measured and not cpu.busy
        if not on_cpu:
            return self._home
        if self._home.crosses and gpu.warm and not cpu.warm:
            return Course(crosses=True, wakes_cpu=True)
        return Course(Variant.CPU, self._home.crosses)

    def _choose(self, function: Function, gpu: Forecast, cpu: Forecast, remaining_us: int, crowd: GpuCrowd) -> Variant:
        arrival = Arrival(
            function=function.key,
            gpu=_side(gpu),
            cpu=_side(cpu),
            remaining_us=remaining_us,
            load_us=crowd.load_us,
            flows=crowd.flows,
        )
        return self._policy.choose(arrival)

    @property
    def _compares(self) -> bool:
        return self._policy.compares


def _side(forecast: Forecast) -> Side:
    return Side(max(1, forecast.exec_us), max(1, forecast.finish_us))
