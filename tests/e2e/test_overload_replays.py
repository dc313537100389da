"""What an overloaded platform decided is decided again from its log: refusals, tickets, what gave way, margins, bodies
that came late, clients that left, and a GpuPolicy that changed meanwhile.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from platform_under_test import Platform, function

from stoker.replay.lines import records_of
from stoker.replay.records import Exchanged, Finished, Judged
from stoker.replay.replayer import replay

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

POLICY = {"apiVersion": "stoker.dev/v1alpha1", "kind": "GpuPolicy", "metadata": {"name": "default"}}
SHARED: dict[str, Any] = {
    "gpu": {"memory": "4Gi", "sharing": "Shared"},
    "slo": {"latency": "300ms"},
    "onPredictedMiss": ["Refuse"],
    "scaling": {"minReplicas": 1, "maxReplicas": 1, "concurrency": 1},
}
NAMES = ("batch", "critical", "late")
PHASES: tuple[dict[str, Any], ...] = (
    {"profile": "LatencyFirst"},
    {"profile": "FairShare"},
    {"profile": "LatencyFirst", "admission": {"mode": "Observe"}},
    {"profile": "LatencyFirst", "queueing": "edf"},
    {"profile": "Throughput"},
)


class Crowd:
    """Clients of all functions, many more than can be served, half of which come back with what they were told."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self._platform = platform
        self._chance = random.Random(seed)
        self.answers: Counter[tuple[str, int, str]] = Counter()
        self.left = 0

    async def come(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        name = self._chance.choice(NAMES)
        path = f"/sleep?ms={self._chance.choice((5, 20, 40, 120))}"
        body = b"x" * self._chance.choice((0, 0, 100, 200_000))
        call = asyncio.ensure_future(self._platform.call(name, path, method="POST", data=body))
        if self._chance.random() < 0.05:
            _, waiting = await asyncio.wait((call,), timeout=0.05)
            if waiting:
                call.cancel()
                self.left += 1
                return
        answer = await call
        self._count(name, answer)
        ticket = answer.headers.get("Stoker-Ticket")
        if answer.status == 429 and self._chance.random() < 0.5:
            await asyncio.sleep(int(answer.headers["Stoker-Retry-After-Ms"]) / 1000)
            headers = {"Stoker-Ticket": ticket} if ticket else {}
            self._count(name, await self._platform.call(name, path, headers=headers))

    def _count(self, name: str, answer: Any) -> None:
        self.answers[name, answer.status, answer.problem["reason"] if answer.status == 429 else ""] += 1


async def test_all_that_was_decided_under_overload_is_decided_again(platform: Platform) -> None:
    platform.apply(
        function("batch", **SHARED, priority="Batch"),
        function("critical", **SHARED, priority="Critical"),
        function("late", **SHARED | {"onPredictedMiss": ["ServeLate"]}),
        file="functions.yaml",
    )
    platform.apply({**POLICY, "spec": PHASES[0]}, file="policy.yaml")
    log = platform.folder / "decisions.log"
    files = {"STOKER_EVENT_LOG_MIB": "1", "STOKER_EVENT_LOG_FILES": "50"}
    await platform.start("--event-log", str(log), gpus="1xA100-40GB", env=files)
    await asyncio.gather(*(platform.until_warm(name) for name in NAMES))
    crowds = []
    for number, spec in enumerate(PHASES):
        platform.apply({**POLICY, "spec": spec}, file="policy.yaml")
        crowd = Crowd(platform, number)
        crowds.append(crowd)
        await asyncio.gather(*(crowd.come(1.5 * each / 180) for each in range(180)))
    assert await platform.stop() == 0
    first = crowds[0].answers
    assert sum(first[name, 429, reason] for name in NAMES for reason in ("PredictedMiss", "OverShare")) > 20
    assert sum(crowd.left for crowd in crowds) > 0
    assert_replays(sorted(log.parent.glob("decisions.log*")))


def assert_replays(files: list[Path]) -> None:
    compared: Counter[str] = Counter()
    kinds: Counter[type] = Counter()
    shed = 0
    for file in files:
        with file.open("rb") as lines:
            found = replay(lines)
        assert found.difference is None, (file.name, found.difference)
        compared.update(found.compared)
        with file.open("rb") as lines:
            for _, record in records_of(lines):
                kinds[type(record)] += 1
                if isinstance(record, Judged):
                    shed += len(record.verdict.shed)
    assert len(files) > 1, "a new file goes on from the state of the one before"
    for kind in ("judge", "margin", "estimate", "pop", "offer", "redeem", "call-back"):
        assert compared[kind] > 0, (kind, compared)
    assert kinds[Finished] > 100
    assert kinds[Exchanged] >= len(PHASES) - 2
    assert shed > 0, "something gave way"
