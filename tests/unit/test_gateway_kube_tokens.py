"""Tokens are checked once, believed for a while, and never when nobody can check them."""

import asyncio
import base64
import json
from typing import Any

import pytest
from gateway_fake_agent import CountingSink

from stoker.reasons import Reason
from stoker_gateway.access import Caller, Denied
from stoker_gateway.kubernetes import token_reviews
from stoker_gateway.kubernetes.token_reviews import Review, TokenReviews
from stoker_runtime.kube.errors import Unreachable

pytestmark = pytest.mark.unit

GOOD = Review(True, "system:serviceaccount:team:robot", ("stoker",))


def token(aud: Any = ("stoker",), exp: float = 10_000, **more: Any) -> bytes:
    def part(content: dict[str, Any]) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    return b".".join((part({"alg": "RS256"}), part({"aud": aud, "exp": exp, **more}), b"c2lnbmVk"))


class Bench:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.asked: list[str] = []
        self.review = GOOD
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.metrics = CountingSink()
        self.reviews = TokenReviews(self._ask, lambda: self.now_s, self.metrics, answer_s=0.5)

    async def _ask(self, token: str) -> Review:
        self.asked.append(token)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.review

    async def reason(self, shown: bytes) -> Reason | None:
        caller = await self.reviews.caller(shown)
        return caller.reason if isinstance(caller, Denied) else None


async def test_a_good_token_names_its_account_and_is_asked_about_once_a_minute() -> None:
    b = Bench()
    shown = token()
    for _ in range(5):
        assert await b.reviews.caller(shown) == Caller("team", "robot")
        b.now_s += 11
    assert b.asked == [shown.decode()]
    b.now_s += 10
    await b.reviews.caller(shown)
    assert len(b.asked) == 2


async def test_a_good_token_is_not_believed_past_its_expiry() -> None:
    b = Bench()
    shown = token(exp=1010)
    assert await b.reason(shown) is None
    b.now_s = 1010.5
    assert await b.reason(shown) is Reason.UNAUTHENTICATED
    assert len(b.asked) == 1


@pytest.mark.parametrize(
    "shown",
    [
        b"x",
        b"a.b.c",
        b"..",
        b"a.e30.c",
        token(exp=999),
        token(aud="https://kubernetes.default.svc"),
        token(aud=["other"]),
        token(aud=7),
        b"a.\xff\xfe.c",
    ],
)
async def test_a_token_that_cannot_be_good_is_refused_without_asking(shown: bytes) -> None:
    b = Bench()
    assert await b.reason(shown) is Reason.UNAUTHENTICATED
    assert b.asked == []


@pytest.mark.parametrize(
    ("review", "reason"),
    [
        (Review(False), Reason.UNAUTHENTICATED),
        (Review(True, GOOD.username, ()), Reason.UNAUTHENTICATED),
        (Review(True, GOOD.username, ("other",)), Reason.UNAUTHENTICATED),
        (Review(True, "jane", ("stoker",)), Reason.ACCESS_DENIED),
        (Review(True, "system:serviceaccount:team", ("stoker",)), Reason.ACCESS_DENIED),
        (Review(True, "system:serviceaccount:team:a:b", ("stoker",)), Reason.ACCESS_DENIED),
        (Review(True, "system:serviceaccount::a", ("stoker",)), Reason.ACCESS_DENIED),
    ],
)
async def test_a_bad_answer_is_kept_for_ten_seconds(review: Review, reason: Reason) -> None:
    b = Bench()
    b.review = review
    shown = token(aud="stoker")
    assert [await b.reason(shown) for _ in range(3)] == [reason] * 3
    assert len(b.asked) == 1
    b.now_s += 10.1
    b.review = GOOD
    assert await b.reason(shown) is None


async def test_a_good_token_that_turned_bad_is_bad() -> None:
    b = Bench()
    shown = token()
    assert await b.reason(shown) is None
    b.now_s += 61
    b.review = Review(False)
    assert await b.reason(shown) is Reason.UNAUTHENTICATED
    assert await b.reason(shown) is Reason.UNAUTHENTICATED
    assert len(b.asked) == 2


async def test_many_at_once_are_one_question() -> None:
    b = Bench()
    b.gate.clear()
    shown = token()
    callers = [asyncio.create_task(b.reviews.caller(shown)) for _ in range(20)]
    await asyncio.sleep(0)
    callers[0].cancel()
    await asyncio.sleep(0)
    b.gate.set()
    assert await asyncio.gather(*callers[1:]) == [Caller("team", "robot")] * 19
    assert len(b.asked) == 1
    assert b.reviews._asked == {}


async def test_when_nobody_answers_nobody_comes_in_and_nothing_is_kept() -> None:
    b = Bench()
    shown = token()
    b.error = Unreachable("no")
    assert await b.reason(shown) is Reason.CONTROL_PLANE_UNAVAILABLE
    b.error = None
    assert await b.reason(shown) is None
    b.now_s += 61
    b.error = Unreachable("no")
    assert await b.reason(shown) is Reason.CONTROL_PLANE_UNAVAILABLE


async def test_questions_to_the_api_server_are_counted_by_their_result_and_answers_from_memory_are_not() -> None:
    b = Bench()
    for _ in range(3):
        await b.reason(token())
    await b.reason(token(exp=1))
    b.review = Review(False)
    await b.reason(token(sub="another"))
    b.error = Unreachable("no")
    await b.reason(token(sub="a-third"))
    results = {
        result: b.metrics.values["stoker_token_reviews_total", result] for result in ("authenticated", "refused")
    }
    assert results == {"authenticated": 1, "refused": 1}
    assert b.metrics.values["stoker_token_reviews_total", "failed"] == 1


async def test_an_answer_that_does_not_come_is_no_answer() -> None:
    b = Bench()
    b.gate.clear()
    b.reviews._answer_s = 0.02
    assert await b.reason(token()) is Reason.CONTROL_PLANE_UNAVAILABLE


async def test_made_up_tokens_push_out_no_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_reviews, "MAX_KEPT", 3)
    b = Bench()
    real = token()
    assert await b.reason(real) is None
    b.review = Review(False)
    for number in range(10):
        await b.reason(token(jti=number))
    assert (len(b.reviews._good), len(b.reviews._bad)) == (1, 3)
    assert await b.reason(real) is None
    assert len(b.asked) == 11


async def test_only_so_many_questions_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_reviews, "MAX_ASKED_AT_ONCE", 2)
    b = Bench()
    b.gate.clear()
    waiting = [asyncio.create_task(b.reviews.caller(token(jti=number))) for number in range(2)]
    await asyncio.sleep(0)
    assert await b.reason(token(jti=9)) is Reason.CONTROL_PLANE_UNAVAILABLE
    await b.reviews.stop()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert b.reviews._asked == {}
