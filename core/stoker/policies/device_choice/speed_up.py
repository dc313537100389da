"""`speed-up`: the GPU for functions that gain enough from it, whatever waits there.

Source: Iluvatar FaaS (Fuerst et al.; public code, queueing_dispatcher.rs, policy Speedup): GPU where the execution time
on CPUs is more than 4 times that on the GPU.
"""

from typing import ClassVar

from stoker.model.function import Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams

ENOUGH = 4
"""As published."""


class SpeedUp:
    """By the ratio of execution times."""

    name: ClassVar[str] = "speed-up"
    compares: ClassVar[bool] = True
    crosses: ClassVar[bool] = True
    sees_load: ClassVar[bool] = False

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def choose(self, arrival: Arrival) -> Variant:
        cpu = arrival.cpu
        return Variant.GPU if cpu is None or cpu.exec_us > ENOUGH * arrival.gpu.exec_us else Variant.CPU
