"""What a YAML scalar means, as Kubernetes reads it (sigs.k8s.io/yaml: YAML 1.1 booleans and octals, dates are text)."""

import math
import re

_PREFIX = "tag:yaml.org,2002:"
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    form: value
    for value, words in ((True, ("y", "yes", "true", "on")), (False, ("n", "no", "false", "off")))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(?:0b[01]+|0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_A_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_KINDS: dict[str, tuple[type, ...]] = {
    _PREFIX + "null": (type(None),),
    _PREFIX + "bool": (bool,),
    _PREFIX + "int": (int,),
    _PREFIX + "float": (int, float),
}
_MAX_NUMBER_LENGTH = 64
_EXACT = 2**53


class NotJson(ValueError):  # noqa: N818  the name states the fact
    """A scalar that has no JSON value; the text says why and how to write it."""


def resolve(text: str, tag: str | None, *, plain: bool) -> str | int | float | bool | None:
    """The JSON value of a scalar. `plain`: neither quoted nor tagged. Raises NotJson."""
    if "\0" in text:
        raise NotJson("contains a NUL character; remove it")
    if tag in ("!", _PREFIX + "str") or (tag is None and not plain):
        return text
    value = _plain(text)
    if tag is None:
        return value
    kinds = _KINDS.get(tag)
    if kinds is None:
        raise NotJson(f"the tag {tag[:64]} is not read; leave it out")
    if type(value) not in kinds:
        raise NotJson(f"{text[:64]!r} does not fit its tag {tag[:64]}")
    return value


def _plain(text: str) -> str | int | float | bool | None:
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if len(digits) > _MAX_NUMBER_LENGTH:
        return text
    if _NOT_A_NUMBER.fullmatch(digits):
        raise NotJson(f"{text} is not a number that JSON has; write a finite one")
    if _INTEGER.fullmatch(digits):
        return _integer(digits, text)
    if _FLOAT.fullmatch(digits):
        number = float(digits)
        if not math.isfinite(number):
            raise NotJson(f"{text} is too large a number")
        # As in JSON, 3.0 and 3 are one number.
        return int(number) if number.is_integer() and abs(number) < _EXACT else number
    return text


def _integer(digits: str, text: str) -> int:
    sign, body = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
    if body[:2] in ("0b", "0x", "0o"):
        number = sign * int(body, 0)
    else:
        number = sign * int(body, 8 if body.startswith("0") else 10)
    if not -(2**63) <= number < 2**63:
        raise NotJson(f"{text} is too large a number")
    return number
