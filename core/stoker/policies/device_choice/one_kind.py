"""`gpu-only` and `cpu-only`: the two ends, against which every other choice is measured."""

from typing import ClassVar

from stoker.model.function import Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams


class GpuOnly:
    """Everything on GPUs."""

    name: ClassVar[str] = "gpu-only"
    compares: ClassVar[bool] = False
    crosses: ClassVar[bool] = False
    sees_load: ClassVar[bool] = False

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def choose(self, arrival: Arrival) -> Variant:  # noqa: ARG002  the same for all
        return Variant.GPU


class CpuOnly:
    """Everything that can on CPUs."""

    name: ClassVar[str] = "cpu-only"
    compares: ClassVar[bool] = False
    crosses: ClassVar[bool] = False
    sees_load: ClassVar[bool] = False

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def choose(self, arrival: Arrival) -> Variant:
        return Variant.GPU if arrival.cpu is None else Variant.CPU
