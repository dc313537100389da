"""How good a node is for a replica: the predicted time until it serves there against the objective, then packing.

One integer from 0 to 10 each, as kube-scheduler takes them, of the nodes of one call against one another: 8 for the
soonest and 3 less for each octave of lateness beyond its, which is more than the 0 to 2 for packing. So a node that
serves twice as soon always wins, however late all are, and a tighter fit decides among equals. Spread among equals is
left to kube-scheduler's own plugins. The scale is ours; the order (warm before cached before cold, then fit) is that
of DESIGN 5. Pure.
"""

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from stoker.placement.filtering import Fit
from stoker.placement.view import NodeView, Pace, Wanted

_TIME_POINTS = 8
_POINTS_AN_OCTAVE = 3
_FIRST_OCTAVE_US = 250_000
"""Lateness up to this costs nothing; each doubling of it is one octave more."""
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


class Outlook(Struct, frozen=True, kw_only=True):
    """What is to be expected of a node, whatever others are like."""

    warmth: Warmth
    ready_us: int
    """Predicted time from now until the node serves one request of the function."""
    late_us: int
    """How much of that is beyond the objective."""
    start_samples: int = 0
    """Measurements behind the start-up in it; 0: assumed."""
    packing: int


class Score(Outlook, frozen=True, kw_only=True):
    """An outlook with its points, for `explain`."""

    points: int


def warmth_of(wanted: Wanted, node: NodeView) -> Warmth:
    """How warm the node is for the function."""
    if wanted.function in node.warm:
        return Warmth.WARM
    if wanted.image in node.promised:
        return Warmth.CACHED
    return Warmth.IMAGE if wanted.image in node.images else Warmth.COLD


def outlook_of(wanted: Wanted, node: NodeView, fit: Fit, pace: Pace) -> Outlook:
    """The outlook on a node that passed the filter."""
    warmth = warmth_of(wanted, node)
    start_us = pace.start_us
    if warmth is Warmth.COLD:
        start_us += pace.pull_us
    elif warmth is Warmth.WARM:
        start_us = round(start_us * _WARM_START_SHARE)
    ready_us = start_us + pace.wait_us
    return Outlook(
        warmth=warmth,
        ready_us=ready_us,
        late_us=max(0, ready_us - wanted.objective_us),
        start_samples=pace.start_samples,
        packing=_packing(fit),
    )


def points_of(outlooks: Sequence[Outlook]) -> list[int]:
    """The points of the nodes of one call, in their order."""
    if not outlooks:
        return []
    best = min(outlooks, key=lambda outlook: outlook.late_us)
    best_octaves = _octaves(best.late_us)
    pull_tells = best.warmth is not Warmth.COLD
    points = []
    for outlook in outlooks:
        behind = _octaves(outlook.late_us) - best_octaves
        if pull_tells and outlook.warmth is Warmth.COLD and outlook.late_us > best.late_us:
            # That it has to pull is a fact and how long that takes a guess: beside a long start-up it would not tell.
            behind += 1
        time_points = _TIME_POINTS - _POINTS_AN_OCTAVE * behind
        # Of those that are far behind none gets as much for its packing as a nearer one has in any case.
        points.append(time_points + outlook.packing if time_points > 0 else min(1, outlook.packing))
    return points


def _octaves(late_us: int) -> int:
    return (late_us // _FIRST_OCTAVE_US).bit_length()


def _packing(fit: Fit) -> int:
    """2: it fills what is open already, or fills well. 0: it opens a device, or may land on one that does not fit."""
    if not fit.all_fit or fit.opens_device:
        return 0
    return 2 if fit.left_share < 1 / 3 else 1
