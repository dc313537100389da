"""How good a node is for a replica: the predicted time until it serves there against the objective, then packing.

One integer from 0 to 10, as kube-scheduler takes them: 0 to 8 for the lateness, in octaves, and 0 to 2 for packing,
so that a node that serves twice as soon always wins and a tighter fit decides among equals. Spread among equals is
left to kube-scheduler's own plugins. The scale is ours; the order (warm before cached before cold, then fit) is that
of DESIGN 5. Pure.
"""

from enum import StrEnum

from msgspec import Struct

from stoker.placement.filtering import Fit
from stoker.placement.view import NodeView, Pace, Wanted

_TIME_POINTS = 8
_FIRST_OCTAVE_US = 250_000
"""Lateness up to this costs nothing; each doubling of it costs one point."""
_WARM_START_SHARE = 0.5
"""Beside a warm replica of the same function the files are in the page cache: ours, until D measures it by state."""


class Warmth(StrEnum):
    """What of the function is on a node already, the warmest that applies."""

    WARM = "warm"
    """A warm replica of it: what it reads at start is in memory."""
    CACHED = "cached"
    """Its image, kept there by a prefetch pod."""
    IMAGE = "image"
    """Its image, until the kubelet collects it."""
    COLD = "cold"


class Score(Struct, frozen=True, kw_only=True):
    """A score and all that it came from, for `explain`."""

    points: int
    warmth: Warmth
    ready_us: int
    """Predicted time from now until the node serves one request of the function."""
    late_us: int
    """How much of that is beyond the objective."""
    packing: int


def warmth_of(wanted: Wanted, node: NodeView) -> Warmth:
    """How warm the node is for the function."""
    if wanted.function in node.warm:
        return Warmth.WARM
    if wanted.image in node.promised:
        return Warmth.CACHED
    return Warmth.IMAGE if wanted.image in node.images else Warmth.COLD


def score_node(wanted: Wanted, node: NodeView, fit: Fit, pace: Pace) -> Score:
    """The score of a node that passed the filter."""
    warmth = warmth_of(wanted, node)
    start_us = pace.start_us
    if warmth is Warmth.COLD:
        start_us += pace.pull_us
    elif warmth is Warmth.WARM:
        start_us = round(start_us * _WARM_START_SHARE)
    ready_us = start_us + pace.wait_us
    late_us = max(0, ready_us - wanted.objective_us)
    packing = _packing(fit)
    return Score(
        points=max(0, _TIME_POINTS - _octaves(late_us)) + packing,
        warmth=warmth,
        ready_us=ready_us,
        late_us=late_us,
        packing=packing,
    )


def _octaves(late_us: int) -> int:
    return (late_us // _FIRST_OCTAVE_US).bit_length()


def _packing(fit: Fit) -> int:
    """2: it fills what is open already, or fills well. 0: it opens a device, or may land on one that does not fit."""
    if not fit.all_fit or fit.opens_device:
        return 0
    return 2 if fit.left_share < 1 / 3 else 1
