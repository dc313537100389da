"""From a document to a resource struct, or one InvalidObject that says where it is wrong. Knows no kind."""

from typing import Any, TypeVar

import msgspec

from stoker.errors import InvalidObject

_T = TypeVar("_T")


def convert(document: Any, kind: type[_T]) -> _T:
    """The document as `kind`. Raises InvalidObject with the path of what is wrong."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise InvalidObject(path.strip("`").removeprefix("."), message.replace("`", "")) from None
