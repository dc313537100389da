"""Amounts as the API server writes them in a Node: any decimal with any suffix of Kubernetes' quantities.

Users' own amounts (stoker.model.quantity) are a small part of these.
"""

import re
from decimal import Decimal

_QUANTITY = re.compile(
    r"(?P<number>[0-9]{1,20}(?:\.[0-9]{0,9})?)(?P<suffix>[eE][0-9]{1,2}|[KMGTPE]i|[numkMGTPE])?", re.ASCII
)
_FACTORS = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix + "i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def quantity(text: str) -> Decimal:
    """`15990m` -> 15.99, `24518340Ki` -> the bytes. ValueError for what is no quantity."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a quantity")
    suffix = match["suffix"] or ""
    # `E` alone is exa, with digits it is an exponent.
    factor = (
        Decimal(10) ** int(suffix[1:]) if suffix[:1] in ("e", "E") and len(suffix) > 1 and suffix[1:] != "i" else None
    )
    return Decimal(match["number"]) * (factor if factor is not None else _FACTORS.get(suffix, Decimal(1)))


def millicores(text: str) -> int:
    """CPU as whole millicores, rounded down."""
    return int(quantity(text) * 1000)


def mebibytes(text: str) -> int:
    """Memory as whole MiB, rounded down."""
    return int(quantity(text) / (1 << 20))
