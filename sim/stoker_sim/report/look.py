"""How all pictures look: reports of the command and published results alike. Knows nothing that is drawn."""

from types import MappingProxyType
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by everybody."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLE: Any = MappingProxyType(
    {
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.family": "sans-serif",
        "font.size": 9.0,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "path.simplify": True,
        "svg.fonttype": "none",
    }
)
"""Settings of matplotlib, whose types know each of them by name."""
