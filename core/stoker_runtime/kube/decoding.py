"""Bytes of the API into the structs of the caller: objects, and pages of lists in which one object may not fit.

Knows no request and no connection.
"""

from typing import Any, Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct, field

from stoker_runtime.kube.errors import Unreachable

log = structlog.get_logger(__name__)

T = TypeVar("T")

_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}
"""Making a decoder costs more than decoding with it. As many as there are types in the program."""


class Broken(Struct, frozen=True):
    """An object that does not fit its struct, named as far as it could be."""

    namespace: str
    name: str
    error: str


class Page(Struct, Generic[T], frozen=True):
    """Some of a list. All pages of one list show the same moment, `resource_version`."""

    items: tuple[T, ...]
    resource_version: str
    broken: tuple[Broken, ...] = ()
    rest: str = ""
    """Token that the next page is asked for with; empty on the last one."""


class _ListMeta(Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    rest: str = field(default="", name="continue")


class _Envelope(Struct, Generic[T], frozen=True):
    metadata: _ListMeta
    items: tuple[T, ...] | None = None  # Go writes an empty list as null


class _Name(Struct, frozen=True):
    name: str = ""
    namespace: str = ""


class _Named(Struct, frozen=True):
    metadata: _Name = _Name()


def decoder_of(kind: Any) -> "msgspec.json.Decoder[Any]":
    """The decoder for a type, made once."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return decoder


def decode(data: bytes | msgspec.Raw, kind: type[T], what: str) -> T:
    """One answer. Raises Unreachable where it is not what was asked for: something else may stand in between."""
    try:
        value: T = decoder_of(kind).decode(data)
    except msgspec.ValidationError as exc:
        raise Unreachable(f"{what}: the answer does not fit {getattr(kind, '__name__', kind)}: {exc}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Unreachable(f"{what}: the answer is not JSON: {exc}.") from exc
    return value


def decode_page(data: bytes, kind: type[T], what: str) -> Page[T]:
    """One page; objects that do not fit are apart, so that they never hide the others. Raises Unreachable."""
    try:
        whole: _Envelope[T] = decoder_of(_Envelope[kind]).decode(data)  # type: ignore[valid-type]
    except msgspec.ValidationError:
        pass  # found out below which ones
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Unreachable(f"{what}: the list is not JSON: {exc}.") from exc
    else:
        return Page(whole.items or (), whole.metadata.resource_version, (), whole.metadata.rest)
    raw: _Envelope[msgspec.Raw] = decode(data, _Envelope[msgspec.Raw], what)
    items: list[T] = []
    broken: list[Broken] = []
    for one in raw.items or ():
        try:
            items.append(decoder_of(kind).decode(one))
        except msgspec.ValidationError as exc:
            broken.append(broken_of(one, exc))
    return Page(tuple(items), raw.metadata.resource_version, tuple(broken), raw.metadata.rest)


def broken_of(data: msgspec.Raw, error: Exception) -> Broken:
    """What can be said of an object that does not fit. Logged here, since its content is gone afterwards."""
    try:
        named = decoder_of(_Named).decode(data).metadata
    except msgspec.DecodeError:
        named = _Name()
    log.warning("kube_object_does_not_fit", namespace=named.namespace, name=named.name, error=str(error))
    return Broken(named.namespace, named.name, str(error))
