"""`python -m bench.reality.client PLAN ANSWERS`: sends each request at its time, whatever became of those before.

A process of its own, so that its timers wait for nobody. Open loop: one task for each request, connections are kept.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from stoker_runtime.http_client import ConnectFailed, ConnectionLost, HttpPool, request_head

LEAD_S = 0.3
"""Before the first request."""


class Asked(Struct, frozen=True):
    at_us: int
    """After the begin."""
    target: str


class Plan(Struct, frozen=True):
    port: int
    requests: list[Asked]


class Answered(Struct, frozen=True):
    """One request; instants are microseconds of CLOCK_MONOTONIC."""

    sent_us: int
    answered_us: int
    status: int
    """0: the connection was lost."""
    timing: str = ""
    """Server-Timing."""
    cold: bool = False


class Answers(Struct, frozen=True):
    begin_us: int
    requests: list[Answered]
    """In the order of the plan; each carried its index as its id."""


def now_us() -> int:
    return time.monotonic_ns() // 1000


async def ask(pool: HttpPool, head: bytes) -> Answered:
    sent_us = now_us()
    try:
        connection = await pool.acquire()
        connection.start(head)
        while (answer := await connection.head()).status < 200:
            pass
        while await connection.read():
            pass
    except (ConnectFailed, ConnectionLost):
        return Answered(sent_us, now_us(), 0)
    answered_us = now_us()
    connection.release()
    timing = (answer.get(b"server-timing") or b"").decode()
    return Answered(sent_us, answered_us, answer.status, timing, answer.get(b"stoker-cold-start") == b"1")


async def play(plan: Plan) -> Answers:
    loop = asyncio.get_running_loop()
    pool = HttpPool("127.0.0.1", plan.port, max_idle=1024)
    begin_us, begin_s = now_us() + round(LEAD_S * 1e6), loop.time() + LEAD_S
    tasks: list[asyncio.Task[Answered]] = []
    for number, asked in enumerate(plan.requests):
        head = request_head(
            b"GET", asked.target.encode(), [(b"host", b"127.0.0.1"), (b"stoker-request-id", b"r%d" % number)]
        )
        due_s = begin_s + asked.at_us / 1e6
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        tasks.append(loop.create_task(ask(pool, head)))
    answers = await asyncio.gather(*tasks)
    await pool.close()
    return Answers(begin_us, list(answers))


def main() -> None:
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(asyncio.run(play(plan))))


if __name__ == "__main__":
    main()
