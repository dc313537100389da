"""Who may call what: judged before the body and before anything wakes, and never on the way of an open function."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from gateway_fake_agent import Start, function, request, starting

from stoker.admission import queue_full
from stoker.model.function import Access, Function, QueueBounds, Variant, Visibility
from stoker.reasons import Outcome, Reason
from stoker_gateway.access import Caller, Denied, open_to_all, refusal_of

pytestmark = pytest.mark.unit
start = pytest.fixture(starting)


class Prover:
    """Knows tokens that are written `NAMESPACE/ACCOUNT`."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answered = asyncio.Event()
        self.answered.set()
        self.denies: Denied | None = None

    async def caller(self, token: bytes) -> Caller | Denied:
        self.asked.append(token)
        await self.answered.wait()
        if self.denies is not None:
            return self.denies
        namespace, _, account = token.decode().partition("/")
        return Caller(namespace, account)


def guarded(visibility: Visibility = Visibility.NAMESPACE, *allow: str, **spec: Any) -> Function:
    return function(access=Access(visibility=visibility, allow=allow), **spec)


def bearer(token: str) -> str:
    return f"stoker-authorization: Bearer {token}\r\n"


@pytest.mark.parametrize(
    ("visibility", "allow", "is_open"),
    [
        (Visibility.CLUSTER, (), True),
        (Visibility.CLUSTER, ("team",), False),
        (Visibility.NAMESPACE, (), False),
        (Visibility.NAMESPACE, ("team",), False),
        (Visibility.PUBLIC, (), True),
        (Visibility.PUBLIC, ("team",), True),
    ],
)
def test_what_has_to_be_proved(visibility: Visibility, allow: tuple[str, ...], is_open: bool) -> None:
    assert open_to_all(guarded(visibility, *allow)) is is_open


@pytest.mark.parametrize(
    ("caller", "served"),
    [
        (Caller("ns", "any"), True),
        (Caller("team", "any"), True),
        (Caller("other", "robot"), True),
        (Caller("other", "default"), False),
        (Caller("nss", "any"), False),
        (Caller("robot", "other"), False),
    ],
)
def test_the_own_namespace_and_who_is_allowed_is_served(caller: Caller, served: bool) -> None:
    denied = refusal_of(guarded(Visibility.NAMESPACE, "team", "other/robot"), caller)
    assert (denied is None) is served
    assert denied is None or denied.reason is Reason.ACCESS_DENIED


async def test_a_proved_caller_is_served_and_its_token_stays_here(start: Start) -> None:
    prover = Prover()
    g = await start(guarded(), prover=prover)
    answer = await g.call(headers=bearer("ns/robot") + "authorization: Bearer for-the-function\r\n")
    assert answer.status == 200
    assert prover.asked == [b"ns/robot"]
    sent = g.agent.runs[0].headers
    assert ("authorization", "Bearer for-the-function") in sent
    assert not any("ns/robot" in value or name == "stoker-authorization" for name, value in sent)


async def test_without_a_token_the_caller_is_told_how_to_prove_itself(start: Start) -> None:
    g = await start(guarded(), prover=Prover(), warm=False)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (401, "Unauthenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="stoker"'
    assert "Stoker-Authorization: Bearer" in answer.problem().detail
    record = await g.ended()
    assert (record.outcome, record.reason, record.on_time) == (Outcome.REFUSED, Reason.UNAUTHENTICATED, None)
    assert g.metrics.values["stoker_requests_total", "ns", "f", "", "refused", "Unauthenticated"] == 1


@pytest.mark.parametrize(
    ("headers", "status"), [("", 401), (bearer("other/robot"), 403), ("stoker-authorization: Basic eA==\r\n", 400)]
)
async def test_who_may_not_call_wakes_nothing(start: Start, headers: str, status: int) -> None:
    g = await start(guarded(), prover=Prover(), warm=False)
    demand_calls = g.demand_calls
    assert (await g.call(headers=headers)).status == status
    assert g.gateway.demand() == {}
    assert g.demand_calls == demand_calls
    assert g.at_rest()


async def test_a_caller_that_cannot_be_checked_stays_outside(start: Start) -> None:
    prover = Prover()
    prover.denies = Denied(Reason.CONTROL_PLANE_UNAVAILABLE, "nobody to ask")
    g = await start(guarded(), prover=prover)
    answer = await g.call(headers=bearer("ns/robot"))
    assert (answer.status, answer.problem().reason) == (503, "ControlPlaneUnavailable")
    assert "retry-after" in answer.headers
    assert not g.agent.runs


async def test_the_body_is_not_awaited_before_the_judgement(start: Start) -> None:
    g = await start(guarded(), prover=Prover())
    client = await g.client()
    await client.send(request(method="POST", headers=bearer("other/x") + "content-length: 1000000\r\n"))
    assert (await client.answer()).status == 403


@pytest.mark.parametrize("visibility", [Visibility.CLUSTER, Visibility.PUBLIC])
async def test_nobody_is_asked_about_callers_of_an_open_function(start: Start, visibility: Visibility) -> None:
    prover = Prover()
    g = await start(guarded(visibility), prover=prover)
    assert (await g.call(headers=bearer("other/x"))).status == 200
    assert (await g.call()).status == 200
    assert prover.asked == []


async def test_allow_makes_a_cluster_function_ask(start: Start) -> None:
    g = await start(guarded(Visibility.CLUSTER, "team"), prover=Prover())
    assert [(await g.call(headers=h)).status for h in ("", bearer("other/x"), bearer("team/x"))] == [401, 403, 200]


async def test_embedded_everybody_may_call_everything(start: Start) -> None:
    g = await start(guarded())
    assert (await g.call()).status == 200


async def test_a_client_that_leaves_while_it_is_checked_is_let_go(start: Start) -> None:
    prover = Prover()
    prover.answered.clear()
    g = await start(guarded(), prover=prover, warm=False)
    client = await g.client()
    await client.send(request(headers=bearer("ns/x")))
    await g.until(lambda: bool(prover.asked))
    client.hang_up()
    assert (await g.ended()).reason is Reason.CLIENT_GONE
    assert g.at_rest()
    assert g.gateway.demand() == {}


async def test_the_timeout_counts_while_a_caller_is_checked(start: Start) -> None:
    prover = Prover()
    prover.answered.clear()
    g = await start(guarded(timeout_us=30_000), prover=prover)
    answer = await g.call(headers=bearer("ns/x"))
    assert (answer.status, answer.problem().reason) == (504, "Timeout")
    assert g.at_rest()


async def test_a_function_that_is_deleted_while_its_caller_is_checked_is_gone(start: Start) -> None:
    prover = Prover()
    prover.answered.clear()
    g = await start(guarded(), prover=prover)
    calling = asyncio.create_task(g.call(headers=bearer("ns/x")))
    await g.until(lambda: bool(prover.asked))
    g.gateway.set_functions({})
    prover.answered.set()
    assert (await calling).status == 404


@pytest.mark.parametrize(("gateways", "share"), [(1, 10), (2, 5), (3, 4), (100, 1)])
async def test_each_gateway_lets_in_its_share_of_the_queue(start: Start, gateways: int, share: int) -> None:
    g = await start(function(queue=QueueBounds(max_requests=10)), warm=False)
    g.gateway.set_gateways(gateways)
    state = g.gateway._states["ns/f"]
    for _ in range(share):
        client = await g.client()
        await client.send(request())
    await g.until(lambda: state.undispatched == share)
    answer = await g.call()
    assert (answer.status, answer.problem().reason) == (429, "QueueFull")
    await g.warm()
    for client in g.clients[:share]:
        assert (await client.answer()).status == 200


def test_a_body_that_the_whole_queue_could_take_comes_in_when_it_is_empty() -> None:
    from stoker_gateway.visit import FunctionState

    bounds = QueueBounds(max_requests=10, max_bytes=1000)
    state = FunctionState(function(queue=bounds))
    assert not queue_full(bounds, state.crowd(4), 900)
    assert queue_full(bounds, state.crowd(4), 1001)
    state.undispatched, state.undispatched_bytes = 1, 200
    assert queue_full(bounds, state.crowd(4), 60)
    assert not queue_full(bounds, state.crowd(4), 50)


async def test_wakes_are_told_as_long_as_they_matter_and_then_forgotten(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    g = await start(warm=False)
    client = await g.client()
    await client.send(request())
    await g.until(lambda: bool(g.gateway.demand()))
    client.hang_up()
    await g.until(lambda: g.gateway.demand()["ns/f"][Variant.GPU].in_system == 0)
    assert g.gateway.demand()["ns/f"][Variant.GPU].last_wake_us is not None
    now: Callable[[], int] = g.gateway._clock_us
    monkeypatch.setattr(g.gateway._demand, "_clock_us", lambda: now() + 3600 * 10**6)
    assert g.gateway.demand() == {}
    assert g.gateway._demand._called == {}


async def test_load_of_a_warm_function_is_told_apart_from_a_wake(start: Start) -> None:
    g = await start(function("f"), function("cold"), warm=False)
    told: list[str] = []
    g.gateway.on_demand(lambda: told.append("wake"), lambda: told.append("load"))
    await g.warm("ns/f")
    assert (await g.call()).status == 200
    assert told == ["load"]
    client = await g.client()
    await client.send(request("/ns/cold/"))
    await g.until(lambda: "wake" in told)
