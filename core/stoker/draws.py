"""Whole numbers drawn in a sequence that its seed fixes: for policies that draw, since core has no other randomness.

SplitMix64: G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014). Its
state is one number, so a copy draws the same again and an event log replays. Not for secrets.
"""

_MASK = (1 << 64) - 1


class Draws:
    """One sequence. Every seed, negative or beyond 64 bits too, is a valid one; the lowest 64 bits count."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def bits(self) -> int:
        """64 random bits."""
        self._state = word = (self._state + 0x9E3779B97F4A7C15) & _MASK
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
        return word ^ (word >> 31)

    def below(self, bound: int) -> int:
        """One of 0 .. bound - 1, each as likely as the others; ValueError unless 1 <= bound <= 2**64."""
        if not 1 <= bound <= _MASK + 1:
            raise ValueError(f"no number can be drawn below {bound}")
        # What is above the last whole multiple of the bound would favour the small numbers.
        limit = _MASK + 1 - (_MASK + 1) % bound
        while (word := self.bits()) >= limit:
            pass
        return word % bound
