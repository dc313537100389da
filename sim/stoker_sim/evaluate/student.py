"""Student's t distribution for whole degrees of freedom: what an interval over a few seeds needs, and no more.

Its distribution function in closed form: M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions" (1964),
26.7.3 and 26.7.4.
"""

from math import atan, cos, pi, sin, sqrt


def within(t: float, freedom: int) -> float:
    """The probability that the variable is between -t and t; t at least 0, freedom at least 1."""
    angle = atan(t / sqrt(freedom))
    square = cos(angle) ** 2
    odd = freedom % 2
    term = cos(angle) if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


def critical(confidence: float, freedom: int) -> float:
    """The t that the variable is within with this probability (0 to below 1)."""
    low, high = 0.0, 1.0
    while within(high, freedom) < confidence:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < confidence else (low, middle)
    return (low + high) / 2
