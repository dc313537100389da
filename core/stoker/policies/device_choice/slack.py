"""`slack` (ours): the GPU, unless the request is predicted to miss its objective there and to meet it on the CPU.

The rule that acts live for `onPredictedMiss: [Divert, ServeLate]` (stoker.admission; DESIGN section 3). A request that
is late on both goes to the GPU, where it ends sooner as a rule and takes no core from those that need one. It does not
foresee: of a warm variant the agent knows better than any view of it, so the agent's refusal is the prediction.
"""

from typing import ClassVar

from stoker.model.function import Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams


class Slack:
    """Divert what only the CPU can still serve on time."""

    name: ClassVar[str] = "slack"
    foresees: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    crosses: ClassVar[bool] = True
    sees_load: ClassVar[bool] = False

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        """No parameter matters here."""

    def choose(self, arrival: Arrival) -> Variant:
        cpu = arrival.cpu
        if cpu is None or arrival.gpu.finish_us <= arrival.remaining_us or cpu.finish_us > arrival.remaining_us:
            return Variant.GPU
        return Variant.CPU
