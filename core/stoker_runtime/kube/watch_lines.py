"""The wire form of a watch: pieces of bytes into lines, lines into events. Pure; knows no connection and no cache."""

from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from stoker_runtime.kube.decoding import Broken, broken_of, decoder_of
from stoker_runtime.kube.errors import Status, error_of_status
from stoker_runtime.kube.objects import KubeObject

T = TypeVar("T", bound=KubeObject)

MAX_LINE_BYTES = 32 * 1024 * 1024
"""etcd takes objects of 1.5 MiB; a line longer than this comes from something that is no API server."""


class BadStream(Exception):  # noqa: N818  the name states the fact
    """What came is no event. Whatever it was, an event may be lost: the watch must go on from before it."""


class Change(Struct, Generic[T], frozen=True):
    """An object was added or modified, or is gone. `version` is where a watch that continues goes on from."""

    object: T
    gone: bool
    version: str


class Bookmark(Struct, frozen=True):
    """Nothing happened up to `version`."""

    version: str


class Unfit(Struct, frozen=True):
    """An event whose object does not fit its struct; it happened all the same."""

    broken: Broken
    gone: bool
    version: str


class Lines:
    """Cuts pieces into whole lines; what is after the last one waits for more, and is dropped with this object."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are whole now. Raises BadStream for one that never ends."""
        if b"\n" not in piece:
            self._rest += piece
            if len(self._rest) > MAX_LINE_BYTES:
                raise BadStream(f"a line of more than {MAX_LINE_BYTES} bytes")
            return []
        first, *lines = piece.split(b"\n")
        lines.insert(0, bytes(self._rest) + first)
        self._rest = bytearray(lines.pop())
        return [line for line in lines if line]


class _Event(Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Version(Struct, frozen=True, rename="camel"):
    resource_version: str


class _Versioned(Struct, frozen=True):
    metadata: _Version


_EVENT = msgspec.json.Decoder(_Event)
_VERSIONED = msgspec.json.Decoder(_Versioned)


def read_event(line: bytes, kind: type[T], what: str) -> Change[T] | Bookmark | Unfit:
    """One line. Raises BadStream, and ApiError (Gone among them) for an ERROR event."""
    try:
        event = _EVENT.decode(line)
        if event.type in {"ADDED", "MODIFIED", "DELETED"}:
            return _change(event, kind)
        if event.type == "BOOKMARK":
            return Bookmark(_VERSIONED.decode(event.object).metadata.resource_version)
        if event.type == "ERROR":
            said: Any = decoder_of(Status).decode(event.object)
            raise error_of_status(what, said)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadStream(f"{line[:80]!r} is no event: {exc}") from exc
    raise BadStream(f"an event of the unknown type {event.type[:40]!r}")


def _change(event: _Event, kind: type[T]) -> Change[T] | Unfit:
    gone = event.type == "DELETED"
    try:
        content: T = decoder_of(kind).decode(event.object)
    except msgspec.ValidationError as exc:
        version = _VERSIONED.decode(event.object).metadata.resource_version
        return Unfit(broken_of(event.object, exc), gone, version)
    if not content.metadata.name or not content.metadata.resource_version:
        raise BadStream("an object without a name or a resourceVersion")
    return Change(content, gone, content.metadata.resource_version)
