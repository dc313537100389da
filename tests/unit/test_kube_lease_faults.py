"""Leader election where the API server fails, hangs or is slow: never two leaders, and the old one knows first."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from scripted_api import ScriptedApi, failing, hanging, ok

from stoker_runtime.kube.client import KubeClient
from stoker_runtime.kube.lease import Elector, LeaseTiming
from stoker_runtime.kube.transport import Limits

pytestmark = pytest.mark.unit

PATH = "/apis/coordination.k8s.io/v1/namespaces/s/leases"
ONE = f"{PATH}/operator"
TIMING = LeaseTiming(duration_s=1, renew_deadline_s=0.3, retry_s=0.02)
QUICK = Limits(timeout_s=5.0, tries=1)


def lease(holder: str, version: int, transitions: int = 0, duration_s: int = 1) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": duration_s, "leaseTransitions": transitions}
    return {"metadata": {"name": "operator", "resourceVersion": str(version)}, "spec": spec}


def elector(kube: KubeClient, **more: Any) -> Elector:
    return Elector(kube, "operator", "s", identity="me", timing=TIMING, rng=Random(1), **more)


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.002)


async def test_a_missing_lease_is_made_and_renewed_without_reading_it_again() -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", ok(lease("me", 1), 201))
        api.script(f"PATCH {ONE}", ok(lease("me", 2)), ok(lease("me", 3)))
        candidate = elector(kube)
        assert not candidate.is_leader()
        candidate.start()
        await until(lambda: len(api.asked(f"PATCH {ONE}")) >= 2)
        assert candidate.acquired.is_set()
        assert candidate.is_leader()
        age_us = candidate.age_us()
        assert age_us is not None
        assert age_us < 300_000
        assert len(api.asked(f"GET {ONE}")) == 1
        assert [one.json["metadata"]["resourceVersion"] for one in api.asked(f"PATCH {ONE}")[:2]] == ["1", "2"]
        await candidate.stop()
        released = api.requests[-1].json
        assert released["spec"]["holderIdentity"] == ""
        assert not candidate.is_leader()
        assert candidate.age_us() is None


async def test_a_leader_that_cannot_renew_stops_by_its_own_clock_and_says_why() -> None:
    said: list[str] = []
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", ok(lease("me", 1), 201))
        api.script(f"PATCH {ONE}", failing(500, message="etcd is away"))
        candidate = elector(kube, on_lost=said.append)
        candidate.start()
        await candidate.acquired.wait()
        await asyncio.wait_for(candidate.lost.wait(), 2)
        assert not candidate.is_leader()
        assert "could not be renewed for 0.3 s" in said[0]
        assert "etcd is away" in said[0]
        await candidate.stop()
        assert api.requests[-1].json["spec"]["holderIdentity"] == "me", "what is lost is not released"


async def test_a_renewal_that_hangs_does_not_keep_the_leader_believing() -> None:
    now_us = 0
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", ok(lease("me", 1), 201))
        api.script(f"PATCH {ONE}", hanging())
        candidate = elector(kube, clock_us=lambda: now_us)
        candidate.start()
        await candidate.acquired.wait()
        now_us = 299_999
        assert candidate.is_leader()
        now_us = 300_000
        assert not candidate.is_leader(), "whatever the task does"
        await asyncio.wait_for(candidate.lost.wait(), 2)
        await candidate.stop()


async def test_the_age_counts_from_before_the_renewal_was_sent() -> None:
    now_us = 0

    async def slow(request: Any) -> Any:
        nonlocal now_us
        now_us += 200_000
        return await ok(lease("me", 1), 201)(request)

    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", slow)
        api.script(f"PATCH {ONE}", hanging())
        candidate = elector(kube, clock_us=lambda: now_us)
        candidate.start()
        await candidate.acquired.wait()
        assert candidate.age_us() == 200_000
        await candidate.stop()


async def test_another_holder_is_left_alone_until_its_record_stood_still_for_its_own_duration() -> None:
    now_us = 0
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"GET {ONE}", ok(lease("other", 7, transitions=4, duration_s=40)))
        api.script(f"PATCH {ONE}", ok(lease("me", 9, transitions=5)))
        candidate = elector(kube, clock_us=lambda: now_us)
        candidate.start()
        await until(lambda: len(api.requests) >= 2)
        assert candidate.holder == "other"
        now_us = 30_000_000
        api.script(f"GET {ONE}", ok(lease("other", 8, transitions=4, duration_s=40)))  # it renewed
        seen = len(api.requests)
        await until(lambda: len(api.requests) >= seen + 2)
        now_us = 69_000_000
        seen = len(api.requests)
        await until(lambda: len(api.requests) >= seen + 2)
        assert not candidate.acquired.is_set()
        now_us = 71_000_000
        await candidate.acquired.wait()
        taken = api.asked(f"PATCH {ONE}")[0].json
        assert taken["metadata"]["resourceVersion"] == "8"
        assert taken["spec"]["leaseTransitions"] == 5
        assert candidate.transitions == 5
        await candidate.stop()


async def test_a_released_lease_is_taken_at_once() -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"GET {ONE}", ok(lease("", 7, transitions=1, duration_s=1)))
        api.script(f"PATCH {ONE}", ok(lease("me", 8, transitions=2)))
        candidate = elector(kube)
        candidate.start()
        await candidate.acquired.wait()
        await candidate.stop()


@pytest.mark.parametrize("code", [409, 404])
async def test_a_leader_whose_lease_was_taken_or_removed_is_none_at_once(code: int) -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", ok(lease("me", 1), 201))
        api.script(f"GET {ONE}", failing(404, "NotFound"), ok(lease("other", 5)))
        api.script(f"PATCH {ONE}", failing(code, "Conflict"))
        candidate = elector(kube)
        candidate.start()
        await candidate.acquired.wait()
        await asyncio.wait_for(candidate.lost.wait(), 0.25)
        assert ("other holds it" if code == 409 else "somebody removed it") in candidate.lost_because
        await candidate.stop()


async def test_a_renewal_whose_answer_was_lost_is_no_loss() -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"POST {PATH}", ok(lease("me", 1), 201))
        api.script(f"GET {ONE}", failing(404, "NotFound"), ok(lease("me", 5)))
        api.script(f"PATCH {ONE}", failing(409, "Conflict"), ok(lease("me", 6)))
        candidate = elector(kube)
        candidate.start()
        await until(lambda: len(api.asked(f"PATCH {ONE}")) >= 2)
        assert candidate.is_leader()
        assert api.asked(f"PATCH {ONE}")[1].json["metadata"]["resourceVersion"] == "5"
        await candidate.stop()


async def test_a_candidate_waits_out_an_api_that_fails_and_says_why_it_does_not_lead() -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:
        api.script(f"GET {ONE}", failing(403, "Forbidden", "no lease for you"), failing(404, "NotFound"))
        api.script(f"POST {PATH}", failing(409, "AlreadyExists"), ok(lease("me", 1), 201))
        candidate = elector(kube)
        candidate.start()
        await until(lambda: candidate.problem)
        assert "no lease for you" in candidate.problem
        await candidate.acquired.wait()
        await candidate.stop()


async def test_an_election_that_breaks_is_a_loss_and_not_a_silence() -> None:
    async with ScriptedApi() as api, KubeClient(api.config, limits=QUICK) as kube:

        def broken() -> int:
            raise ZeroDivisionError

        candidate = elector(kube, clock_us=broken)
        candidate.start()
        await asyncio.wait_for(candidate.lost.wait(), 2)
        assert "ZeroDivisionError" in candidate.lost_because


def test_times_that_would_allow_two_leaders_are_mistakes() -> None:
    with pytest.raises(ValueError, match="renew_deadline_s < duration_s"):
        LeaseTiming(duration_s=10, renew_deadline_s=10)
