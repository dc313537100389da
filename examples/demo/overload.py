"""The same open-loop overload under one GpuPolicy and then the next; what is counted is what the client saw.

Open loop: each request is sent at its own time, whatever became of the earlier ones. All runs draw the same arrivals
from the same seed, and all begin with no replica.
"""

import asyncio
import random
import time
from dataclasses import dataclass

from calling import Answer, Client

SECONDS = 10.0
PRODUCT = "A100-80GB"
"""Of the GPU that both functions share, and nobody else."""
STARTS, BUSY = "stoker_replica_starts_total", "stoker_device_busy_seconds_total"
SEED = 2026


@dataclass(frozen=True)
class Stream:
    """Requests of one function: how many a second, and how long each takes its device."""

    function: str
    per_second: float
    busy_ms: int


STREAMS = (Stream("chat", 30, 40), Stream("report", 11, 120))
OFFERED = sum(stream.per_second * stream.busy_ms / 1000 for stream in STREAMS)
"""Work that arrives in each second, in seconds of the one slot: above 1 is an overload."""


@dataclass
class Count:
    """What became of the requests of one function."""

    offered: int = 0
    on_time: int = 0
    late: int = 0
    """Answered 200 after the objective, or not within the timeout."""
    refused: int = 0
    """Answered 429 or 503."""
    told_when: int = 0
    """Those of them that were told when to come back (Retry-After)."""
    failed: int = 0
    cold_starts: int = 0

    def add(self, answer: Answer, objective_s: float) -> None:
        self.offered += 1
        if answer.status == 200:
            self.on_time += answer.seconds <= objective_s
            self.late += answer.seconds > objective_s
        elif answer.status in (429, 503):
            self.refused += 1
            self.told_when += "retry-after" in answer.headers
        elif answer.status == 504:
            self.late += 1
        else:
            self.failed += 1


def arrivals() -> list[tuple[float, Stream]]:
    """Times in seconds from the start, in order; always the same."""
    times: list[tuple[float, Stream]] = []
    for stream in STREAMS:
        draw = random.Random(f"{SEED}/{stream.function}")
        at = draw.expovariate(stream.per_second)
        while at < SECONDS:
            times.append((at, stream))
            at += draw.expovariate(stream.per_second)
    return sorted(times, key=lambda arrival: arrival[0])


@dataclass(frozen=True)
class Run:
    """One run of everything."""

    counts: dict[str, Count]
    gpu_seconds: float
    """That its requests held the slot of the GPU."""

    def total(self, name: str) -> int:
        return sum(getattr(count, name) for count in self.counts.values())

    @property
    def gpu_ms_per_useful(self) -> float:
        """GPU time for each answer that was on time."""
        return 1000 * self.gpu_seconds / max(1, self.total("on_time"))


async def overload(client: Client, objectives_s: dict[str, float]) -> Run:
    """One run: sends everything, waits for every answer, counts."""
    counts = {stream.function: Count() for stream in STREAMS}
    starts_before = {name: await client.metric(STARTS, function=name) for name in counts}
    busy_before = await client.metric(BUSY, product=PRODUCT)
    begin = time.perf_counter()

    async def one(stream: Stream) -> None:
        answer = await client.call(stream.function, query=f"?ms={stream.busy_ms}")
        counts[stream.function].add(answer, objectives_s[stream.function])

    async with asyncio.TaskGroup() as group:
        for at, stream in arrivals():
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            group.create_task(one(stream))
    for name, count in counts.items():
        count.cold_starts = round(await client.metric(STARTS, function=name) - starts_before[name])
    await client.idle([stream.function for stream in STREAMS])
    return Run(counts, await client.metric(BUSY, product=PRODUCT) - busy_before)
