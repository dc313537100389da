"""When those may try again who were refused and got no place: one after the other, as fast as work is done.

Told the same instant they would all come at once, and all but one be refused again. Pure; it is told the time, and what
it spreads over is the caller's to know.
"""


class Turns:
    """One for each queue that refuses."""

    __slots__ = ("_last_us",)

    def __init__(self) -> None:
        self._last_us = 0

    def next_us(self, from_us: int, until_us: int, step_us: int) -> int:
        """The instant to tell the next one: `step_us` (at least 1) after the one told before, from `from_us` on. Behind
        `until_us` it begins again: nobody is told to wait for longer than there is work.
        """
        at_us = max(from_us, self._last_us + max(1, step_us))
        if at_us > until_us:
            at_us = from_us
        self._last_us = at_us
        return at_us
