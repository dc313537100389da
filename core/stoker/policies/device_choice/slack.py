"""`slack` (ours): the GPU for those that gain most from it, where how much is enough moves with the slack that is left.

On each side a request has slack, the time to its objective that execution leaves, and waiting takes a part of it. It
goes to the GPU where a core takes more than ENOUGH times as long there as the GPU, times the part of the slack that
waiting leaves on the CPU over the part that it leaves on the GPU: so the side that fills up becomes dearer, and never
the one that would be late. Late on both: the GPU, where it ends sooner as a rule and takes no core from those that need
one. With nothing waiting this is `speed-up` (Iluvatar) with another threshold; that a threshold on the ratio of the
times shares unlike requests among unlike servers, and that it has to move with what waits, is the c-mu rule for
parallel servers (A. Mandelbaum and A. L. Stolyar, Operations Research 52(6), 2004).

Predictions of a gateway are a moment old and have no margin: an agent that knows better refuses, and the walk of
onPredictedMiss goes on from there. What it is worth: docs/results/heterogeneous.md.
"""

from typing import ClassVar

from stoker.model.function import Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams

ENOUGH = 8
"""Tried on the mixes of the study that say so: 4, 8, 16, and to the CPU whatever is on time there."""


class Slack:
    """See the module."""

    name: ClassVar[str] = "slack"
    compares: ClassVar[bool] = True
    crosses: ClassVar[bool] = True
    sees_load: ClassVar[bool] = False

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def choose(self, arrival: Arrival) -> Variant:
        gpu, cpu, remaining_us = arrival.gpu, arrival.cpu, arrival.remaining_us
        if cpu is None or cpu.finish_us > remaining_us:
            return Variant.GPU
        if gpu.finish_us > remaining_us:
            return Variant.CPU
        # Products instead of quotients, so that there is nothing to round and nothing to divide by.
        on_gpu = gpu.exec_us * (remaining_us - cpu.finish_us) * (remaining_us - gpu.exec_us)
        on_cpu = cpu.exec_us * (remaining_us - gpu.finish_us) * (remaining_us - cpu.exec_us)
        return Variant.GPU if on_cpu > ENOUGH * on_gpu else Variant.CPU
