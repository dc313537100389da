"""A storm of everything that clients and replicas can do wrong, and what must be true when it is over."""

import asyncio
import random
from typing import Any

import pytest
from platform_under_test import Platform, function

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

PATHS = ("/", "/sleep?ms=20", "/sleep?ms=100", "/garbage", "/status?code=500", "/status?code=204", "/sse?n=3&ms=10")
BODY = b"x" * 300_000
HEAD = "Host: localhost\r\nConnection: close\r\n"


def requests_of(path: str) -> dict[str, bytes]:
    """How a client may ask, by what is wrong with it."""
    get = f"GET {path} HTTP/1.1\r\n{HEAD}"
    post = f"POST {path} HTTP/1.1\r\n{HEAD}"
    return {
        "nothing": f"{get}\r\n".encode(),
        "a deadline that cannot be met": f"{get}Stoker-Deadline-Ms: 5\r\n\r\n".encode(),
        "an unknown class": f"{get}Stoker-Class: none\r\n\r\n".encode(),
        "an unknown function": f"GET /default/nobody/ HTTP/1.1\r\n{HEAD}\r\n".encode(),
        "a large body": f"{post}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY,
        "half a body": f"{post}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:100_000],
        "broken framing": f"{post}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n".encode(),
        "two framings": f"{post}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n".encode(),
    }


async def test_after_a_storm_every_request_is_counted_once_and_nothing_is_left(platform: Platform) -> None:
    one: dict[str, Any] = {"slo": {"latency": "500ms"}, "timeout": "2s"}
    platform.apply(function("steady", scaling={"minReplicas": 1, "maxReplicas": 2, "concurrency": 4}, **one))
    platform.apply(function("cold", env={"START_S": "0.3"}, scaling={"maxReplicas": 1, "concurrency": 4}, **one))
    platform.apply(function("gives-up", cancelOnDisconnect=True, idempotent=True, **one))
    await platform.start(gpus="4xA100-40GB")
    await platform.until_warm("steady")
    before = await platform.metric("stoker_requests_total")
    chance = random.Random(7)
    sent = 0

    async def client(name: str, path: str, wrong: str, leaves_after_s: float | None) -> None:
        nonlocal sent
        await asyncio.sleep(chance.random() * 2)
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
        sent += 1
        try:
            writer.write(requests_of(f"/default/{name}{path}")[wrong])
            if leaves_after_s is None:
                async with asyncio.timeout(10):
                    assert (await reader.read()).startswith(b"HTTP/1.1 ")
            else:
                await asyncio.sleep(leaves_after_s)
        except ConnectionError:
            pass  # The answer broke off, as the replica's did.
        finally:
            writer.close()  # A reset would take back a request that is not read yet: nobody could count it.

    names, wrongs = ("steady", "cold", "gives-up"), tuple(requests_of("/"))
    async with asyncio.TaskGroup() as storm:
        for _ in range(300):
            leaves = chance.choice((None, None, 0.01, 0.1))
            storm.create_task(client(chance.choice(names), chance.choice(PATHS), chance.choice(wrongs), leaves))

    async def at_rest() -> bool:
        gauges = [await platform.metric(f"stoker_requests_{what}") for what in ("held", "queued", "running")]
        return gauges == [0, 0, 0] and await platform.metric("stoker_requests_total") - before >= sent

    await platform.until(at_rest, "nothing is held, queued or running")
    assert await platform.metric("stoker_requests_total") - before == sent
    served = await platform.metric("stoker_requests_total", outcome="served")
    on_time, late = [await platform.metric(f"stoker_requests_{what}_total") for what in ("on_time", "late")]
    assert on_time + late == served
    for name in names:
        assert (await platform.call(name)).status == 200
    assert '"level":"error"' not in platform.output.read_text()
