"""Growing, jittered pauses between tries: a thousand agents must not knock in step on a server that comes back."""

from random import Random

from msgspec import Struct


class Backoff(Struct, frozen=True, kw_only=True):
    """The pause before try number n (from 0) is drawn between half and all of `first_s * factor ** n`, at most
    `most_s`.
    """

    first_s: float = 0.2
    factor: float = 2.0
    most_s: float = 15.0

    def pause_s(self, failures: int, rng: Random) -> float:
        """The pause after so many failures before this one."""
        # The exponent is bounded: a float overflows after a thousand doublings, an outage may last that long.
        whole = min(self.most_s, self.first_s * self.factor ** min(failures, 64))
        return whole * rng.uniform(0.5, 1.0)
