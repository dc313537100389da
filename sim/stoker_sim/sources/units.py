"""Amounts as a scenario writes them (`5s`, `40Gi`) and as integers: types of their own for the decoder."""

from enum import Enum
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

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


def as_written(value: Any) -> Any:
    """A form as a file would say it, without what it leaves open: reading that gives the form again."""
    match value:
        case Micros():
            return next(f"{value // size}{unit}" for size, unit in _UNITS if value % size == 0)
        case Mebibytes():
            return f"{value:d}Mi"
        case Enum():
            return value.value
        case Struct():
            found = {field.encode_name: as_written(getattr(value, field.name)) for field in fields(value)}
            config = value.__struct_config__
            kind = {} if config.tag_field is None else {config.tag_field: config.tag}
            return {**kind, **{name: said for name, said in found.items() if said is not None}}
        case tuple() | list():
            return [as_written(part) for part in value]
        case dict():
            return {name: as_written(part) for name, part in value.items()}
    return value


_UNITS = ((3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us"))


def _written(text: Any) -> str:
    return text if isinstance(text, str) else repr(text)
