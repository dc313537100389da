"""Amounts as a scenario writes them (`5s`, `40Gi`) and as integers: types of their own for the decoder."""

from typing import Any

from stoker.errors import InvalidObject
from stoker.model.quantity import parse_duration_us, parse_memory_mib


class Micros(int):
    """Microseconds; written as a duration, as in `250ms`."""


class Mebibytes(int):
    """MiB; written as an amount of memory, as in `40Gi`."""


def decode_unit(kind: type, text: Any) -> Any:
    """The hook of msgspec.convert for both. Raises ValueError with a sentence."""
    try:
        if kind is Micros:
            return Micros(parse_duration_us(_written(text)))
        return Mebibytes(parse_memory_mib(_written(text)))
    except InvalidObject as error:
        raise ValueError(str(error)) from None


def _written(text: Any) -> str:
    return text if isinstance(text, str) else repr(text)
