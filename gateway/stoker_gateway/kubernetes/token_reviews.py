"""Proves callers by their service account tokens: one TokenReview per token and minute, shared by all who show it.

A token that is not for Stoker, or is over, is told so without asking. Answers are kept under the SHA-256 of the token,
good ones for a minute and never past its expiry, bad ones for ten seconds. When nobody can be asked, nobody comes in.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import structlog
from msgspec import Struct

from stoker.metrics import TOKEN_REVIEWS, MetricsSink
from stoker.reasons import Reason
from stoker_gateway.access import Caller, Denied
from stoker_runtime.kube.errors import KubeError

AUDIENCE = "stoker"
KEEP_GOOD_S = 60.0
KEEP_BAD_S = 10.0
MAX_KEPT = 10_000
"""Of each sort. Good and bad ones apart: no flood of made-up tokens pushes out those of real callers."""
MAX_ASKED_AT_ONCE = 64
ANSWER_S = 5.0

_Entry = TypeVar("_Entry", tuple[Caller, float], tuple[Denied, float])

log = structlog.get_logger(__name__)


class Review(Struct, frozen=True):
    """What the API server said of a token."""

    authenticated: bool = False
    username: str = ""
    audiences: tuple[str, ...] = ()


Ask = Callable[[str], Awaitable[Review]]
"""Raises KubeError when there is no answer."""


class _Claims(Struct, frozen=True):
    """What a token says of itself: believed only where it makes things worse for who shows it."""

    exp: float
    aud: str | tuple[str, ...] = ()


_CLAIMS = msgspec.json.Decoder(_Claims)
_BAD = "ask for a new one for the audience stoker (a projected serviceAccountToken volume, or kubectl create token)"


class TokenReviews:
    """A stoker_gateway.access.Prover. `now_s` is the wall clock, since expiry is told by it."""

    def __init__(
        self, ask: Ask, now_s: Callable[[], float], metrics: MetricsSink, *, answer_s: float = ANSWER_S
    ) -> None:
        self._ask = ask
        self._now_s = now_s
        self._metrics = metrics
        self._answer_s = answer_s
        self._good: dict[bytes, tuple[Caller, float]] = {}
        self._bad: dict[bytes, tuple[Denied, float]] = {}
        self._asked: dict[bytes, asyncio.Task[Caller | Denied]] = {}

    async def caller(self, token: bytes) -> Caller | Denied:
        """Who showed this token."""
        now_s = self._now_s()
        digest = hashlib.sha256(token).digest()
        for known in (self._good.get(digest), self._bad.get(digest)):
            if known is not None and now_s < known[1]:
                return known[0]
        task = self._asked.get(digest)
        if task is None:
            claims = _claims(token)
            if claims is None:
                return Denied(Reason.UNAUTHENTICATED, f"The token is no service account token: {_BAD}.")
            if claims.exp <= now_s:
                return Denied(Reason.UNAUTHENTICATED, f"The token has expired: {_BAD}.")
            if AUDIENCE not in ((claims.aud,) if isinstance(claims.aud, str) else claims.aud):
                return Denied(Reason.UNAUTHENTICATED, f"The token is not for the audience stoker: {_BAD}.")
            if len(self._asked) >= MAX_ASKED_AT_ONCE:
                return Denied(Reason.CONTROL_PLANE_UNAVAILABLE, "Too many new tokens are being checked; call again.")
            task = asyncio.create_task(self._review(digest, token.decode("ascii"), claims.exp), name="token review")
            self._asked[digest] = task
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
        # Shielded: one that leaves must not take the answer from the others.
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """Wait for no more answers."""
        tasks = tuple(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _review(self, digest: bytes, token: str, expiry_s: float) -> Caller | Denied:
        try:
            async with asyncio.timeout(self._answer_s):
                review = await self._ask(token)
        except (KubeError, TimeoutError) as error:
            log.warning("token_review_failed", error=str(error) or "no answer in time")
            self._metrics.inc(TOKEN_REVIEWS, "failed")
            return Denied(
                Reason.CONTROL_PLANE_UNAVAILABLE, "Who calls cannot be checked now: the API server does not say."
            )
        now_s = self._now_s()
        caller = _caller(review)
        self._metrics.inc(TOKEN_REVIEWS, "refused" if isinstance(caller, Denied) else "authenticated")
        if isinstance(caller, Denied):
            self._good.pop(digest, None)
            _keep(self._bad, digest, (caller, now_s + KEEP_BAD_S))
        else:
            self._bad.pop(digest, None)
            _keep(self._good, digest, (caller, min(now_s + KEEP_GOOD_S, expiry_s)))
        return caller


def _keep(kept: dict[bytes, _Entry], digest: bytes, entry: _Entry) -> None:
    kept.pop(digest, None)
    if len(kept) >= MAX_KEPT:
        del kept[next(iter(kept))]  # the oldest answer
    kept[digest] = entry


def _caller(review: Review) -> Caller | Denied:
    # An API server that knows no audiences authenticates any token and leaves the list empty.
    if not review.authenticated or AUDIENCE not in review.audiences:
        return Denied(Reason.UNAUTHENTICATED, f"The token is not valid: {_BAD}.")
    system, _, account = review.username.partition(":serviceaccount:")
    namespace, _, name = account.partition(":")
    if system != "system" or not namespace or not name or ":" in name:
        return Denied(Reason.ACCESS_DENIED, "The token is not that of a service account; only those can call here.")
    return Caller(namespace, name)


def _claims(token: bytes) -> _Claims | None:
    """The claims of a JWT, unproven; None for something else."""
    parts = token.split(b".")
    if len(parts) != 3 or not all(parts) or not token.isascii():
        return None
    try:
        return _CLAIMS.decode(base64.b64decode(parts[1] + b"=" * (-len(parts[1]) % 4), b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        return None
