"""Makes and changes the key that the gateways share for tickets (stoker.tickets): the Secret `stoker-tickets`.

A new key is handed out for an hour before anything is sealed by it, and the one before stays good until the next
change: gateways read the Secret every minute, so each opens at any time what any other sealed. Deleting the Secret
makes a new key at once; tickets given by then are void, which is no error of a request. Only the leader calls ensure().
"""

import base64
import datetime as dt
import secrets
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import structlog
from msgspec import Struct

from stoker.tickets import KEY_BYTES
from stoker.wire.cluster import (
    FIELD_MANAGER,
    K_TICKET_CURRENT,
    K_TICKET_OTHER,
    L_NAME,
    NAME,
    TICKET_SECRET,
)
from stoker_operator.authority import SecretStore
from stoker_runtime.identity import SECRETS, Secret
from stoker_runtime.kube.errors import AlreadyExists, NotFound
from stoker_runtime.kube.objects import Seen

CHANGE_EVERY = dt.timedelta(days=30)
"""Ours: a key is as good as its secrecy, and changing it costs nothing."""
SPREAD = dt.timedelta(hours=1)
"""How long a new key is only good before anything is sealed by it."""
_K_STEP, _K_SINCE = "step", "since"

_LONG_AGO = dt.datetime.min.replace(tzinfo=dt.UTC)

log = structlog.get_logger(__name__)


class Step(StrEnum):
    """Where a change of keys stands."""

    SETTLED = "settled"
    """The other key is the one before, or there is none."""
    SPREADING = "spreading"
    """The other key is the one to come."""


class KeyPair(Struct, frozen=True):
    """What the Secret holds."""

    current: bytes
    other: bytes
    step: Step
    since: dt.datetime


def next_pair(pair: KeyPair | None, now: dt.datetime, draw: Callable[[], bytes]) -> KeyPair:
    """What the keys should be now: the same where nothing is due."""
    if pair is None:
        return KeyPair(draw(), b"", Step.SETTLED, now)
    if pair.step is Step.SETTLED and now - pair.since >= CHANGE_EVERY:
        return KeyPair(pair.current, draw(), Step.SPREADING, now)
    if pair.step is Step.SPREADING and now - pair.since >= SPREAD:
        return KeyPair(pair.other, pair.current, Step.SETTLED, now)
    return pair


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _draw() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


class TicketKeyMaker:
    """`await ensure()` at once after becoming the leader, then now and then. Raises KubeError; the next call heals."""

    def __init__(
        self,
        kube: SecretStore,
        namespace: str,
        now: Callable[[], dt.datetime] = _now,
        draw: Callable[[], bytes] = _draw,
    ) -> None:
        """`now` is the wall clock, in UTC; `draw` gives KEY_BYTES that nobody can guess."""
        self._kube = kube
        self._namespace = namespace
        self._now = now
        self._draw = draw

    async def ensure(self) -> None:
        """Create the key, and change it when that is due."""
        now = self._now()
        try:
            seen: Secret | None = await self._kube.get(SECRETS, TICKET_SECRET, self._namespace)
        except NotFound:
            seen = None
        known = None if seen is None else _pair_in(seen.data or {}, now)
        pair = next_pair(known, now, self._draw)
        if pair == known:
            return
        body = self._manifest(pair)
        if seen is None:
            try:
                await self._kube.create(SECRETS, body, self._namespace)
            except AlreadyExists:
                return  # Another one was first: its key is ours.
        else:
            # Over what was read only: a key that another one made meanwhile must not be lost.
            await self._kube.apply(
                SECRETS,
                TICKET_SECRET,
                body,
                self._namespace,
                manager=FIELD_MANAGER,
                force=True,
                seen=Seen.of(seen, unchanged=True),
            )
        log.info("ticket_key_changed", secret=TICKET_SECRET, step=pair.step.value, first=known is None)

    def _manifest(self, pair: KeyPair) -> dict[str, Any]:
        content = {
            K_TICKET_CURRENT: pair.current,
            K_TICKET_OTHER: pair.other,
            _K_STEP: pair.step.value.encode(),
            _K_SINCE: pair.since.isoformat().encode(),
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": TICKET_SECRET,
                "namespace": self._namespace,
                "labels": {L_NAME: NAME, "app.kubernetes.io/managed-by": FIELD_MANAGER},
            },
            "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
        }


def _pair_in(data: Mapping[str, bytes], now: dt.datetime) -> KeyPair | None:
    """What the Secret holds; None where that can seal nothing, which is then replaced."""
    current, other = data.get(K_TICKET_CURRENT, b""), data.get(K_TICKET_OTHER, b"")
    if len(current) < KEY_BYTES:
        return None
    try:
        step, since = Step(data[_K_STEP].decode()), dt.datetime.fromisoformat(data[_K_SINCE].decode())
        sound = since <= now and (step is Step.SETTLED or len(other) >= KEY_BYTES)
    except (KeyError, ValueError, TypeError):
        sound = False
    if sound:
        return KeyPair(current, other, step, since)
    # Somebody wrote something else beside a key that is good: it stays, and is changed in order.
    return KeyPair(current, other, Step.SETTLED, _LONG_AGO)
