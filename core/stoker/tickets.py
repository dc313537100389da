"""Tickets: a place at an agent (stoker.slots.places), sealed so that only a gateway can have made it.

A client carries it from the gateway that refused it to any other that shares the key. It is opaque to the client: the
base64url (RFC 4648) of a version, what is to be known of the place, and the first half of an HMAC-SHA256 over both
(RFC 2104 permits the half). It is bound to the function, whose key names the tenant. A ticket that is not good is no
error: what is read of it is a TicketOutcome, and the request is treated as any other.

Pure: keys, instants and names are given. Wall-clock times here are only for telling a ticket that nobody needs to try
any more; whether it comes early or late is the agent's to say, by its own clock.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from hashlib import blake2b, sha256
from hmac import compare_digest, digest

from msgspec import Struct

from stoker.model.function import Variant

VERSION = 1
MAX_CHARS = 512
"""Longer ones are not ours."""
KEY_BYTES = 32
_PART = struct.Struct(">B8s8sBQI")
_TAG_BYTES = 16
_MARK_BYTES = 8
_VARIANTS = (Variant.GPU, Variant.CPU)


class TicketOutcome(StrEnum):
    """What came of a ticket that a client showed. The label of the metric, and what `explain` says."""

    HONOURED = "honoured"
    EARLY = "early"
    LATE = "late"
    USED = "used"
    UNKNOWN = "unknown"
    """The agent does not know the place (any more): it was given back, or the agent was restarted."""
    FORGED = "forged"
    """It is no ticket, or of another key."""
    FOREIGN = "foreign"
    """It is for another function."""
    AGENT_GONE = "agent_gone"
    """Its agent cannot be reached, or has no warm replica any more."""


class TicketKeys(Struct, frozen=True):
    """By which tickets are sealed, and which other key is good too: the one before, or the one to come."""

    current: bytes
    other: bytes = b""


class Ticket(Struct, frozen=True):
    """A place, as gateways know it."""

    agent: bytes
    """agent_mark() of the agent."""
    place: str
    """The agent's id of it."""
    variant: Variant
    at_ms: int
    """From when on it is good: milliseconds since the epoch."""
    window_ms: int
    """For so long."""

    def is_late(self, wall_ms: int) -> bool:
        """Whether it is void by now."""
        return wall_ms > self.at_ms + self.window_ms


def agent_mark(host: str, port: int) -> bytes:
    """A short name of an agent, from which a client does not read an address."""
    return blake2b(f"{host} {port}".encode(), digest_size=_MARK_BYTES).digest()


def seal(keys: TicketKeys, ticket: Ticket, function: str) -> str:
    """The ticket for a client of the function (by key). ValueError for a place whose id is longer than 255 bytes."""
    place = ticket.place.encode()
    if len(place) > 255:
        raise ValueError("the id of the place is longer than 255 bytes")
    variant = _VARIANTS.index(ticket.variant)
    at_ms, window_ms = max(0, ticket.at_ms), max(0, min(ticket.window_ms, 2**32 - 1))
    part = _PART.pack(VERSION, ticket.agent, _function_mark(function), variant, at_ms, window_ms) + place
    return urlsafe_b64encode(part + _tag(keys.current, part)).rstrip(b"=").decode()


def unseal(keys: TicketKeys, text: str, function: str) -> Ticket | TicketOutcome:
    """What a client showed with a request to the function; FORGED or FOREIGN where it is not good for it."""
    if len(text) > MAX_CHARS:
        return TicketOutcome.FORGED
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return TicketOutcome.FORGED
    part, tag = data[:-_TAG_BYTES], data[-_TAG_BYTES:]
    good = [key for key in (keys.current, keys.other) if key and compare_digest(tag, _tag(key, part))]
    if not good or len(part) < _PART.size:
        return TicketOutcome.FORGED
    version, agent, mark, variant, at_ms, window_ms = _PART.unpack_from(part)
    if version != VERSION or variant >= len(_VARIANTS):
        return TicketOutcome.FORGED
    if mark != _function_mark(function):
        return TicketOutcome.FOREIGN
    return Ticket(agent, part[_PART.size :].decode("utf-8", "replace"), _VARIANTS[variant], at_ms, window_ms)


def _tag(key: bytes, part: bytes) -> bytes:
    return digest(key, b"stoker ticket\0" + part, sha256)[:_TAG_BYTES]


def _function_mark(function: str) -> bytes:
    return blake2b(function.encode(), digest_size=_MARK_BYTES).digest()
