"""A function's variant as the engine sees it: its flow, how long its requests really take, and what policies are told.

Reality (Behaviour) and what a policy may know are side by side here and nowhere else: make() writes only what the
setup says is known into a request.
"""

from array import array

from stoker.model.device import Device, DeviceKind
from stoker.model.function import Function, Variant
from stoker.model.request import QueuedRequest
from stoker.names import flow_of
from stoker.prediction import Predictions
from stoker_sim.engine.setup import Knowledge
from stoker_sim.workload import Behaviour, SimFunction


class Flow:
    """See the module."""

    __slots__ = (
        "_ratios",
        "behaviour",
        "concurrency",
        "definition",
        "example",
        "index",
        "interference",
        "key",
        "latency_us",
        "memory_mib",
        "millicores",
        "predicted_us",
        "product",
        "start_us",
        "timeout_us",
        "variant",
    )

    def __init__(self, index: int, function: SimFunction, variant: Variant) -> None:
        definition = function.definition
        spec = definition.spec
        self.index = index
        self.definition: Function = definition
        self.behaviour: Behaviour = function.behaviour
        self.variant = variant
        self.key = flow_of(definition.key, variant, definition.primary)
        self.latency_us = spec.slo.latency_us
        self.timeout_us = spec.timeout_us
        self.concurrency = definition.concurrency_of(variant)
        self.interference = function.behaviour.interference
        container = definition.container_of(variant)
        on_gpu = variant is Variant.GPU
        self.memory_mib = spec.gpu[0].memory_mib if on_gpu else container.memory_mib or 0
        self.millicores = 0 if on_gpu else container.cpu_millis
        self.example = QueuedRequest(
            id="",
            flow=self.key,
            variant=variant,
            arrival_us=0,
            objective_us=self.latency_us,
            timeout_us=self.timeout_us,
            predicted_exec_us=1,
            priority=spec.priority,
            percentile=spec.slo.percentile,
            memory_mib=self.memory_mib,
        )
        """What is the same of all its requests."""
        self._ratios: dict[str, float] = {}
        self.product: str | None = None
        """The one product that it may run on; None: several."""
        self.predicted_us = 1
        self.start_us = 0
        """Predicted time until it is resident where it is not; 0 where it is everywhere."""

    def place(self, devices: list[Device]) -> None:
        """These are the devices that it may run on."""
        products = list(dict.fromkeys(device.product for device in devices))
        self.product = products[0] if len(products) == 1 else None
        times_us = [self.behaviour.exec_on(product) or 0 for product in products]
        self.predicted_us = max(1, sum(times_us) // len(times_us)) if times_us else 1

    def could_run_on(self, device: Device) -> bool:
        """Whether the variant is for such a device and its requests have a time there."""
        on_gpu = device.kind is DeviceKind.GPU
        return on_gpu is (self.variant is Variant.GPU) and self.behaviour.exec_on(device.product) is not None

    def is_reference(self, product: str) -> bool:
        """Whether work_us() on the product is what it is given."""
        return self.behaviour.exec_on(product) == self.behaviour.median_us

    def work_us(self, exec_us: int, product: str) -> int:
        """What a request of `exec_us` on the reference product takes alone on another one; as Workload.exec_on()."""
        ratio = self._ratios.get(product)
        if ratio is None:
            behaviour = self.behaviour
            ratio = self._ratios[product] = (behaviour.exec_on(product) or 0) / behaviour.median_us
        return exec_us if ratio == 1.0 else max(1, round(exec_us * ratio))


class Requests:
    """Makes what policies queue."""

    __slots__ = ("_exec_us", "_fixed", "_knowledge", "_predictions", "_slo_us")

    def __init__(
        self, exec_us: "array[int]", slo_us: "array[int]", knowledge: Knowledge, predictions: Predictions
    ) -> None:
        self._exec_us = exec_us
        self._slo_us = slo_us
        self._knowledge = knowledge
        self._fixed = knowledge is Knowledge.PROFILE
        self._predictions = predictions

    def predicted_us(self, index: int, flow: Flow, product: str | None, in_flight: int | None = None) -> int:
        """What policies are told of its execution time. `product`: the one that it will run on, where there is one;
        `in_flight`: executions there with it, where they are counted.
        """
        if self._knowledge is Knowledge.PROFILE:
            return flow.predicted_us
        if self._knowledge is Knowledge.EXACT:
            return flow.work_us(self._exec_us[index], product or flow.behaviour.reference)
        return self._predictions.exec_us(flow.definition, flow.variant, product, in_flight).us

    def make(self, index: int, flow: Flow, now_us: int) -> QueuedRequest:
        """The request as it comes to the policy now."""
        # 0.27 us; the constructor with so many names takes 0.37 us, and copy.copy() 0.41 us.
        request: QueuedRequest = flow.example.__copy__()  # type: ignore[attr-defined]
        request.id = str(index)
        request.arrival_us = now_us
        request.objective_us = now_us + self._slo_us[index]
        request.timeout_us = now_us + flow.timeout_us
        request.predicted_exec_us = flow.predicted_us if self._fixed else self.predicted_us(index, flow, flow.product)
        request.start_us = flow.start_us
        return request
