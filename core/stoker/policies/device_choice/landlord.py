"""`landlord`: functions rent the GPU, and are let in and out by the time that it saves them.

Source: Iluvatar FaaS (Fuerst et al.; public code, landlord.rs, its policy `LL`), after N. E. Young, "On-line file
caching" (SODA 1998). A request is worth opp = max(finish, execution on the CPU) - finish on the GPU * (1 + 0.05 *
active functions). A resident function collects what is positive of it and goes to the GPU while its credit outweighs a
loss. A request of any other charges the residents opp as rent, by the execution time that they have queued,
ends those without credit, and then:
1. with probability 1 / (1 + times that its function was on the GPU) it is let in: so that every function is tried;
2. at low load (GPU time that runs or waits, over `size`) it is let in if opp is positive;
3. where it would take more than 6 times its execution it is not, and the poorest resident with nothing queued goes too
   if the residents are more than fit: overload;
4. else it is let in if that resident has no more credit than the function has been refused by now; that one goes then.
Constants are those of the published scripts: size 20 s, low load below 5 sizes, slowdown 6, 5 % for an active function.

What differs: predictions come from the caller, so the filter that the published code puts over its own is left out;
rent is not charged where nobody has anything queued (theirs divides by zero); ties go by name.
"""

from typing import ClassVar

from stoker.draws import Draws
from stoker.model.function import Variant
from stoker.policies.device_choice.interface import DEFAULTS, Arrival, ChoiceParams

SIZE_US = 20_000_000
LOW_LOAD = 5
SLOWDOWN = 6
PER_FLOW = 0.05
_WORD = 1 << 64


class Landlord:
    """One object for each place that decides: it remembers credits and draws."""

    name: ClassVar[str] = "landlord"
    compares: ClassVar[bool] = True
    crosses: ClassVar[bool] = True
    sees_load: ClassVar[bool] = True

    def __init__(self, params: ChoiceParams = DEFAULTS) -> None:
        self._draws = Draws(params.seed)
        self._credits_us: dict[str, float] = {}
        """Of the residents."""
        self._exec_us: dict[str, int] = {}
        """Their execution times on the GPU as last told."""
        self._refused_us: dict[str, float] = {}
        """What functions that were not let in would have saved."""
        self._times: dict[str, int] = {}
        """How often a function went to the GPU."""

    def choose(self, arrival: Arrival) -> Variant:
        if arrival.cpu is None:
            return Variant.GPU
        function = arrival.function
        saved_us = max(arrival.cpu.finish_us, arrival.cpu.exec_us) - arrival.gpu.finish_us * (
            1 + PER_FLOW * len(arrival.flows)
        )
        if function in self._credits_us:
            self._credits_us[function] += max(0.0, saved_us)
            goes = self._credits_us[function] + min(0.0, saved_us) > 0
        else:
            self._charge(saved_us, arrival)
            goes = self._lets_in(saved_us, arrival)
            if goes:
                self._credits_us[function] = saved_us
                self._refused_us.pop(function, None)
        if not goes:
            return Variant.CPU
        self._exec_us[function] = arrival.gpu.exec_us
        self._times[function] = self._times.get(function, 0) + 1
        return Variant.GPU

    def _charge(self, rent_us: float, arrival: Arrival) -> None:
        if rent_us <= 0:
            return
        queued_us = {key: flow.count * flow.exec_us for key in self._credits_us if (flow := arrival.flows.get(key))}
        total_us = sum(queued_us.values())
        if total_us:
            for key, own_us in queued_us.items():
                self._credits_us[key] -= rent_us * own_us / total_us
        self._credits_us = {key: credit_us for key, credit_us in self._credits_us.items() if credit_us > 0}

    def _lets_in(self, saved_us: float, arrival: Arrival) -> bool:
        function = arrival.function
        refused_us = self._refused_us[function] = self._refused_us.get(function, 0.0) + saved_us
        if self._draws.bits() * (1 + self._times.get(function, 0)) < _WORD:
            return True
        if arrival.load_us < LOW_LOAD * SIZE_US:
            return saved_us > 0
        victim = min(
            ((credit_us, key) for key, credit_us in self._credits_us.items() if not _queued(arrival, key)), default=None
        )
        if arrival.gpu.finish_us > SLOWDOWN * arrival.gpu.exec_us:
            if victim is not None and sum(self._exec_us[key] for key in self._credits_us) >= SIZE_US:
                del self._credits_us[victim[1]]
            return False
        if victim is None or victim[0] > refused_us:
            return False
        del self._credits_us[victim[1]]
        return True


def _queued(arrival: Arrival, key: str) -> int:
    flow = arrival.flows.get(key)
    return 0 if flow is None else flow.count
