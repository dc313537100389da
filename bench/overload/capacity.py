"""The highest load with so many requests on time, by bisection over short runs. Pure: a callback makes the runs."""

from collections.abc import Callable

LEAST_ON_TIME = 0.99
STEPS = 6
GIVE = 0.97
"""Where a longer run does not confirm what the bisection found, so much of it is tried next."""
CONFIRMATIONS = 5


def bisected(attainment: Callable[[float], float], low: float, high: float, steps: int = STEPS) -> float:
    """The highest of the loads that were tried with LEAST_ON_TIME; `low` where none was.

    `attainment` runs at a load. That `low` would do and `high` would not is taken for granted.
    """
    for _ in range(steps):
        middle = (low + high) / 2
        if attainment(middle) >= LEAST_ON_TIME:
            low = middle
        else:
            high = middle
    return low


def confirmed(attainment: Callable[[float], float], load: float) -> tuple[float, float]:
    """A load that a run at it confirms, at most `load`, and what was on time there. The last one tried where none does,
    so that nothing is measured for ever: its attainment says so.
    """
    found = attainment(load)
    for _ in range(CONFIRMATIONS):
        if found >= LEAST_ON_TIME:
            break
        load *= GIVE
        found = attainment(load)
    return load, found
